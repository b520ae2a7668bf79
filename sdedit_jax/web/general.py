"""The settings of all tabs: prior, class, seed and samples."""

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
CARRIED = ("task", "sample", "preset", "sampler", "id", "output")
"""Fields of a restored result that have no component; they hold for its task."""


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
            seed = gr.Number(settings.seed, precision=0, label="Seed", elem_id="seed")
            errors["seed"] = line()
        with gr.Column(min_width=150):
            samples = gr.Slider(
                1, MOST_SAMPLES, settings.samples, step=1, label="Samples", elem_id="samples"
            )
            errors["samples"] = line()
    carried = gr.State({})
    components = [prior, cond, seed, samples, carried]

    def read(values: Sequence[Any]) -> Mapping[str, Any]:
        found = dict(zip(("prior", "cond", "seed", "samples", "carried"), values, strict=True))
        return {**found, "cond": found["cond"] or ""}

    def show(s: Settings) -> Sequence[Any]:
        label = gr.Dropdown(value=s.cond, **listed(priors.classes(s.prior)))
        return [s.prior, label, s.seed, s.samples, {name: getattr(s, name) for name in CARRIED}]

    def wire(wiring: Wiring) -> None:
        def changed(name: str, text: str) -> tuple[Any, Any, dict]:
            props = {"size": list(priors.size(name)), "palette": list(priors.palette(name))}
            if not canvas.is_touched(text):
                props["value"] = canvas.shown(priors.example(name), edit=False, undo=False)
            found = gr.Dropdown(value="", **listed(priors.classes(name)))
            return gr.HTML(**props), found, {}

        outputs = [wiring.canvas, cond, carried]
        wiring.again(prior.input(changed, [prior, wiring.canvas], outputs, queue=False).then)

    live = [seed.submit, seed.blur, cond.input]
    return Controls(components, read, show, errors, live, wire)


def classes(names: Sequence[str]) -> gr.Dropdown:
    """The choice of a class."""
    return gr.Dropdown(value="", label="Class", elem_id="cond", **listed(names))


def listed(names: Sequence[str]) -> dict[str, Any]:
    """The choices of a class; hidden where there are none."""
    return {"choices": [ANY, *((name, name) for name in names)], "visible": bool(names)}
