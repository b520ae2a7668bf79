"""The settings of all tabs: prior, class, strength, seed and samples."""

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from sdedit_jax.web import canvas, edits, first
from sdedit_jax.web.controls import Controls, Wiring, line

MOST_SAMPLES = 8


def add(priors: Sequence[str], settings: edits.Settings) -> Controls:
    """The controls."""
    errors = {}
    with gr.Row():
        with gr.Column(min_width=160):
            prior = gr.Dropdown(list(priors), value=settings.prior, label="Prior", elem_id="prior")
            errors["prior"] = line()
        with gr.Column(min_width=160):
            t0 = gr.Slider(0, 1, settings.t0, step=0.01, label="Strength t0", elem_id="t0")
            errors["t0"] = line()
        with gr.Column(min_width=160):
            seed = gr.Number(settings.seed, precision=0, label="Seed", elem_id="seed")
            errors["seed"] = line()
        with gr.Column(min_width=160):
            samples = gr.Slider(
                1, MOST_SAMPLES, settings.samples, step=1, label="Samples", elem_id="samples"
            )
            errors["samples"] = line()

    def read(values: Sequence[Any]) -> Mapping[str, Any]:
        names = ("prior", "t0", "seed", "samples")
        return dict(zip(names, values, strict=True))

    def show(s: edits.Settings) -> Sequence[Any]:
        return [s.prior, s.t0, s.seed, s.samples]

    def wire(wiring: Wiring) -> None:
        def changed(name: str) -> Any:
            size = canvas.size_for(edits.size_of(name))
            return gr.HTML(size=list(size), palette=list(first.palette(name)))

        event = prior.input(changed, [prior], [wiring.canvas], queue=False)
        wiring.again(event.then)

    live = [t0.release, seed.submit]
    return Controls([prior, t0, seed, samples], read, show, errors, live, wire)
