"""The settings of all tabs: prior, class, seed and samples."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from sdedit_jax.web.controls import Controls, Wiring, at, line, number
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
    with gr.Row(elem_classes="sd-fields"):
        note = gr.HTML("", elem_id="restored", elem_classes="sd-line", padding=False)
        forget = gr.Button("Usual settings", visible=False, size="sm", elem_id="forget")
    components = [prior, cond, seed, samples, carried, note, forget]

    def read(values: Sequence[Any]) -> Mapping[str, Any]:
        found = dict(zip(("prior", "cond", "seed", "samples", "carried"), values, strict=False))
        many = int(number("samples", found["samples"]))
        return {**found, "cond": found["cond"] or "", "samples": many}

    def show(s: Settings) -> Sequence[Any]:
        label = gr.Dropdown(value=s.cond, **listed(priors.classes(s.prior)))
        held = {name: getattr(s, name) for name in CARRIED}
        return [s.prior, label, s.seed, at(samples, s.samples), held, *named(held)]

    def wire(wiring: Wiring) -> None:
        own = [carried, note, forget]
        usual = dict(zip(own, ({}, *named({})), strict=True))
        forgotten = wiring.on(forget.click, lambda: usual, None, own)
        wiring.again(forgotten.then)

    live = [seed.submit, seed.blur, cond.input]
    return Controls(components, read, show, errors, live, wire)


def hidden(held: Mapping[str, Any]) -> str:
    """A sentence about restored settings that no component shows; none where all are usual."""
    usual = Settings()
    found = [f"{k} {v}" for k, v in dict(held.get("sampler", ())).items()]
    for name in ("preset", "sample", "id", "output"):
        if held.get(name, getattr(usual, name)) not in (getattr(usual, name), "live"):
            found.insert(0, f"{name} {held[name]}")
    return html.escape(f"Restored: {', '.join(found)}.") if found else ""


def named(held: Mapping[str, Any]) -> tuple[str, Any]:
    """The sentence of `hidden`, and the button that forgets what it names."""
    text = hidden(held)
    return text, gr.Button(visible=bool(text))


def classes(names: Sequence[str]) -> gr.Dropdown:
    """The choice of a class."""
    return gr.Dropdown(value="", label="Class", elem_id="cond", **listed(names))


def listed(names: Sequence[str]) -> dict[str, Any]:
    """The choices of a class; hidden where there are none."""
    return {"choices": [ANY, *((name, name) for name in names)], "visible": bool(names)}
