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
        inputs: the canvas, the open tab and all controls: the inputs of any edit.
        on: adds an event: (event, act, inputs, outputs). `act` gives updates by component, or
            none; an error becomes a sentence beside its field.
        guarded: a function (painted, settings, cancel) -> updates, as the `act` of an edit: it
            waits for its turn.
        again: a function (event) that makes the picture again after an event.
        controls: all components of settings; the outputs of `show`.
        show: edits.Settings -> the values of `controls`.
    """

    inputs: Sequence[Any]
    on: Callable[..., Any]
    guarded: Callable[..., Callable[..., Any]]
    again: Callable[[Any], None]
    controls: Sequence[Any]
    show: Callable[[Any], Sequence[Any]]


def find(components: Sequence[Any], name: str) -> Any:
    """The component with an elem_id."""
    return next(one for one in components if one.elem_id == name)


def number(field: str, value: Any) -> float:
    """The number of a slider or a box.

    Raises:
        ValueError: it is empty.
    """
    if value is None:
        raise ValueError(f"{field}: give a number")
    return float(value)


def sent(event: gr.EventData) -> Mapping[str, Any]:
    """What a component sends at an event; nothing where it is no object."""
    return event._data if isinstance(event._data, Mapping) else {}


def at(slider: gr.Slider, value: float) -> Any:
    """The value of a slider; the slider grows where a restored setting lies beyond its ends."""
    if slider.minimum <= value <= slider.maximum:
        return value
    ends = {"minimum": min(slider.minimum, value), "maximum": max(slider.maximum, value)}
    return gr.Slider(value=value, **ends)


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
