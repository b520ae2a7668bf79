"""The result of the page and the strip of finished results: their components and values."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from sdedit_jax import images
from sdedit_jax.pipeline.base import Event
from sdedit_jax.web import canvas
from sdedit_jax.web.edits import Result
from sdedit_jax.web.settings import Settings
from sdedit_jax.web.visitor import Strip

HERE = Path(__file__).parent


def component(value: str) -> gr.HTML:
    """The result with its samples; its value is JSON, see `value`."""
    return gr.HTML(
        value,
        html_template=(HERE / "result.html").read_text(),
        js_on_load=(HERE / "result.js").read_text(),
        apply_default_css=False,
        elem_id="result",
    )


def strip_component() -> gr.HTML:
    """The strip of finished results; its value is JSON, see `strip`."""
    return gr.HTML(
        strip(Strip()),
        html_template='<div class="sd-bar sd-strip" aria-label="Finished results"></div>',
        js_on_load=(HERE / "strip.js").read_text(),
        apply_default_css=False,
        elem_id="strip",
    )


def value(
    pngs: Sequence[bytes],
    before: np.ndarray | None,
    line: str,
    *,
    name: str = "result",
    progress: float = 1.0,
    seconds: float = 0.0,
) -> dict[str, Any]:
    """What the result shows.

    Args:
        pngs: the samples. before: the picture that they were made from, uint8 [h, w, C].
        line: about them. name: of the file of a download.
        progress: the share that is done. seconds: of the edit.
    """
    files = [(canvas.url(png), f"{name}_{i}.png") for i, png in enumerate(pngs)]
    below = None if before is None else canvas.url(images.png(before))
    made = {"pictures": files, "before": below, "line": line}
    return {**made, "progress": progress, "seconds": seconds}


def finished(settings: Settings, made: Result) -> dict[str, Any]:
    """What the result shows of an edit."""
    text = f"t0 {made.t0:.3g}, seed {settings.seed}, {made.seconds:.2f} s"
    name = f"{Path(settings.prior).name}_{settings.seed}"
    pngs = [made.png(row) for row in range(len(made.pictures))]
    return value(pngs, made.item.fitted, text, name=name, seconds=made.seconds)


def preview(event: Event) -> dict[str, Any]:
    """What the result shows while an edit is under way."""
    pictures = () if event.preview is None else images.from_unit(np.asarray(event.preview))
    share = event.evaluations / event.total
    return value([images.png(one) for one in pictures], None, step_of(event), progress=share)


def cancelled(event: Event | None) -> dict[str, Any]:
    """What the result shows of an edit that was cancelled after an event: the last result."""
    return line("cancelled" if event is None else f"cancelled, {step_of(event)}")


def step_of(event: Event) -> str:
    """How far an edit is."""
    return f"{event.stage}: step {event.step} of {event.steps}, {event.seconds:.1f} s"


def line(text: str) -> dict[str, Any]:
    """Another line below the last result that was finished."""
    return {"keep": True, "line": text, "progress": 1.0}


def numbered(made: dict[str, Any], number: int) -> str:
    """The value of a result that belongs to what the canvas sent under a number."""
    return json.dumps({**made, "number": number})


def strip(strip: Strip) -> str:
    """The value of the component of a strip: its first samples, and which one is shown."""
    urls = [one.result["pictures"][0][0] for one in strip.kept]
    return json.dumps({"pictures": urls, "at": strip.at})
