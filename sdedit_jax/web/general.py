"""The settings of all tabs: prior, class, seed, samples and strength."""

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from sdedit_jax.web import canvas
from sdedit_jax.web.controls import Controls, Wiring, line
from sdedit_jax.web.first import Priors
from sdedit_jax.web.settings import Settings

MOST_SAMPLES = 8
ANY = ("any", "")
"""The class of a prior where none is chosen."""
CARRIED = ("sample", "preset", "sampler", "id", "output")
"""Fields without a component: those of a restored result."""


def add(priors: Priors, settings: Settings) -> Controls:
    """The controls."""
    errors, names = {}, list(priors.editor.priors)
    with gr.Row(elem_classes="sd-fields"):
        with gr.Column(min_width=150):
            prior = gr.Dropdown(names, value=settings.prior, label="Prior", elem_id="prior")
            errors["prior"] = line()
        with gr.Column(min_width=150):
            cond = classes(priors.classes(settings.prior))
            errors["cond"] = line()
        with gr.Column(min_width=150):
            t0 = gr.Slider(0, 1, settings.t0, step=0.01, label="Strength", elem_id="t0")
            errors["t0"] = line()
        with gr.Column(min_width=150):
            seed = gr.Number(settings.seed, precision=0, label="Seed", elem_id="seed")
            errors["seed"] = line()
        with gr.Column(min_width=150):
            samples = gr.Slider(
                1, MOST_SAMPLES, settings.samples, step=1, label="Samples", elem_id="samples"
            )
            errors["samples"] = line()
    carried = gr.State({})
    components = [prior, cond, t0, seed, samples, carried]

    def read(values: Sequence[Any]) -> Mapping[str, Any]:
        found = dict(zip(("prior", "cond", "t0", "seed", "samples"), values[:-1], strict=True))
        return {**values[-1], **found, "cond": found["cond"] or ""}

    def show(s: Settings) -> Sequence[Any]:
        more = {name: getattr(s, name) for name in CARRIED}
        return [s.prior, gr.Dropdown(value=s.cond, **listed(priors.classes(s.prior))), s.t0,
                s.seed, s.samples, more]  # fmt: skip

    def wire(wiring: Wiring) -> None:
        def changed(name: str, text: str) -> tuple[Any, Any, dict]:
            props = {"size": list(priors.size(name)), "palette": list(priors.palette(name))}
            if not canvas.is_touched(text):
                props["value"] = canvas.shown(priors.example(name), edit=False, undo=False)
            found = gr.Dropdown(value="", **listed(priors.classes(name)))
            return gr.HTML(**props), found, {}

        outputs = [wiring.canvas, cond, carried]
        wiring.again(prior.input(changed, [prior, wiring.canvas], outputs, queue=False).then)

    live = [t0.release, seed.submit, seed.blur, cond.input]
    return Controls(components, read, show, errors, live, wire)


def classes(names: Sequence[str]) -> gr.Dropdown:
    """The choice of a class."""
    return gr.Dropdown(value="", label="Class", elem_id="cond", **listed(names))


def listed(names: Sequence[str]) -> dict[str, Any]:
    """The choices of a class; hidden where there are none."""
    return {"choices": [ANY, *((name, name) for name in names)], "visible": bool(names)}
