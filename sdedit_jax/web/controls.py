"""What a part of the page is: some components, and the fields of Settings that they hold."""

import html
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import gradio as gr


class Controls(NamedTuple):
    """A part of the page.

    Attributes:
        components: whose values are read, in this order.
        read: the values of the components -> fields of edits.Settings.
        show: edits.Settings -> the values of the components.
        errors: a field -> the line beside it that shows what is wrong with it, see `line`.
        live: events after which the picture is made again, such as slider.release.
        wire: adds the part's own events, once all parts are on the page.
    """

    components: Sequence[Any]
    read: Callable[[Sequence[Any]], Mapping[str, Any]]
    show: Callable[[Any], Sequence[Any]]
    errors: Mapping[str, Any]
    live: Sequence[Callable[..., Any]] = ()
    wire: Callable[["Wiring"], None] = lambda wiring: None


class Wiring(NamedTuple):
    """What the events of a part need of the page.

    Attributes:
        canvas, result, strip: the components, see canvas.py and result.py.
        inputs: the canvas, the open tab and all controls: the inputs of any edit.
        settings: the values of `inputs` after the canvas -> edits.Settings.
        errors: all lines for errors; the last output of an edit's event.
        guarded: a function (visitor, painted, settings, cancel) -> updates of the outputs, as an
            event's: it waits for its turn, and an error becomes a sentence beside its field.
        again: a function (event) that makes the picture again after an event.
        controls: all components of settings; the outputs of `show`.
        show: edits.Settings -> the values of `controls`.
    """

    canvas: Any
    result: Any
    strip: Any
    inputs: Sequence[Any]
    settings: Callable[[Sequence[Any]], Any]
    errors: Sequence[Any]
    guarded: Callable[..., Callable[..., Any]]
    again: Callable[[Any], None]
    controls: Sequence[Any]
    show: Callable[[Any], Sequence[Any]]


def line() -> gr.HTML:
    """A line for an error, to be placed below the field that may cause it."""
    return gr.HTML("", elem_classes="sd-error", padding=False)


def beside(message: str, fields: Sequence[str]) -> list[Any]:
    """The values of the lines of some fields: the message beside the field that it begins with.

    A message that begins with no field's name stands on the last line.
    """
    first = re.match(r"\w*", message)[0]
    at = list(fields).index(first) if first in fields else len(fields) - 1
    return [html.escape(message) if i == at else "" for i in range(len(fields))]
