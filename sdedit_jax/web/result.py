"""The result of the page and the strip of finished results: their components and values."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from sdedit_jax.web import canvas

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
        strip((), -1),
        html_template='<div class="sd-bar sd-strip" aria-label="Finished results"></div>',
        js_on_load=(HERE / "strip.js").read_text(),
        apply_default_css=False,
        elem_id="strip",
    )


def value(
    pictures: Sequence[np.ndarray],
    before: np.ndarray | None,
    line: str,
    *,
    texts: Sequence[dict[str, str]] = (),
    name: str = "result",
    progress: float = 1.0,
) -> dict[str, Any]:
    """What the result shows.

    Args:
        pictures: the samples, uint8 [h, w, 3]. before: the picture that they were made from.
        line: about them. texts: PNG text of each, with its recipe.
        name: of the file of a download. progress: the share that is done.
    """
    texts = texts or [{}] * len(pictures)
    shown = [
        (canvas.url(picture, text), f"{name}_{i}.png")
        for i, (picture, text) in enumerate(zip(pictures, texts, strict=True))
    ]
    before = None if before is None else canvas.url(before)
    return {"pictures": shown, "before": before, "line": line, "progress": progress}


def numbered(made: dict[str, Any], number: int) -> str:
    """The value of a result that belongs to what the canvas sent under a number."""
    return json.dumps({**made, "number": number})


def strip(urls: Sequence[str], at: int) -> str:
    """The value of the strip: thumbnails, and the number of the one that is shown."""
    return json.dumps({"pictures": list(urls), "at": at})
