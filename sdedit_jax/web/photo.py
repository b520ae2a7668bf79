"""The tab for photos: scribble, inpaint, outpaint, a patch, new colours."""

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from sdedit_jax.registry import included
from sdedit_jax.tasks import inpaint, outpaint
from sdedit_jax.web.controls import Controls, Wiring, at, find, line, number
from sdedit_jax.web.settings import SIDES, Settings

NAMES = {
    "scribble": "Scribble",
    "inpaint": "Fill a region",
    "outpaint": "Grow the picture",
    "composite": "Add a patch",
    "recolor": "New colours",
}
"""Task -> its name on the page."""
HINTS = {
    "scribble": "Open a picture and draw on it. Only the strokes change, or what the mask marks.",
    "inpaint": "Open a picture and mark with the mask what may change.",
    "outpaint": "Open a picture and choose how far it grows on each side.",
    "composite": "Open a picture and a patch. Drag the patch; the wheel or the slider scales it.",
    "recolor": "Open a picture and choose colours, from dark to light. Without a mask the object on"
    " a plain background changes.",
}
MOST_MARGIN = 128
"""Pixels of the canvas by which a side may grow."""
FILL = "smooth"
PALETTE = ("#2e4d12", "#7fa52b", "#d9e29a")


def add() -> Controls:
    """The controls."""
    names = [(name, task) for task, name in NAMES.items()]
    task = gr.Radio(names, value="inpaint", label="What to do", elem_id="photo-task")
    errors = {}
    hint = gr.Markdown(HINTS["inpaint"], elem_id="photo-hint")
    with gr.Row(visible=False, elem_id="margins") as growth:
        margins = [
            gr.Slider(0, MOST_MARGIN, 0, step=4, label=f"Pixels, {side}", min_width=160)
            for side in SIDES
        ]
        border = gr.Dropdown(list(outpaint.FILLS), value=FILL, label="Filled with", min_width=160)
        errors["margins"] = line()
    hole = gr.Dropdown(list(inpaint.FILLS), value=FILL, label="Filled with", elem_id="fill")
    with gr.Row(visible=False, elem_id="recolour") as colours:
        palette = gr.Textbox(", ".join(PALETTE), label="Colours, from dark to light")
        picked = gr.ColorPicker(PALETTE[0], label="A colour", min_width=90)
        more = gr.Button("Add it", min_width=80)
        errors["palette"] = line()

    def read(values: Sequence[Any]) -> Mapping[str, Any]:
        chosen, *sides, inside, around, text = values
        found: dict[str, Any] = {"task": chosen}
        if chosen == "outpaint":
            found |= {
                "margins": tuple(int(number("margins", side)) for side in sides),
                "fill": around,
            }
        if chosen == "inpaint":
            found["fill"] = inside
        if chosen == "recolor":
            found["palette"] = tuple(one.strip() for one in text.split(",") if one.strip())
        return found

    def show(given: Settings) -> Sequence[Any]:
        own = given.task if given.task in NAMES else "inpaint"
        text = ", ".join(given.palette or PALETTE)
        fills = (given.fill if given.fill in rule.FILLS else FILL for rule in (inpaint, outpaint))
        return [own, *map(at, margins, given.margins), *fills, text]

    def parts(chosen: str) -> dict[Any, Any]:
        return {
            hint: HINTS[chosen],
            hole: gr.Dropdown(visible=chosen == "inpaint"),
            growth: gr.Row(visible=chosen == "outpaint"),
            colours: gr.Row(visible=chosen == "recolor"),
        }

    def wire(wiring: Wiring) -> None:
        wiring.on(task.change, parts, [task], [hint, hole, growth, colours])
        t0 = find(wiring.controls, "t0")
        chosen = wiring.on(task.input, lambda task: {t0: usual(task)}, [task], [t0])
        wiring.again(chosen.then)
        added = wiring.on(
            more.click, lambda text, color: {palette: added_to(text, color)}, [palette, picked],
            [palette],
        )  # fmt: skip
        wiring.again(added.then)

    live = [hole.input, border.input, palette.submit, *(side.release for side in margins)]
    return Controls([task, *margins, hole, border, palette], read, show, errors, live, wire)


def usual(task: str) -> float:
    """The strength of a task where none is given."""
    return included.values(task)["t0"]


def added_to(text: str, color: str) -> str:
    """The colours with one more.

    Args:
        color: as a browser gives it, "#rrggbb" or "rgba(12.5, 30, 4, 1)".
    """
    return ", ".join([*filter(None, [text.strip().rstrip(",")]), hexadecimal(color)])


def hexadecimal(color: str) -> str:
    """A colour of a browser as "#rrggbb"."""
    if color.startswith("#"):
        return color[:7]
    levels = color.partition("(")[2].rstrip(")").split(",")[:3]
    return "#" + "".join(f"{min(max(round(float(level)), 0), 255):02x}" for level in levels)
