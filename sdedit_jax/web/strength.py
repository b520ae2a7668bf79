"""The strength: a slider with its readings, automatic strengths, the search by eye, and a sheet."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from sdedit_jax import images
from sdedit_jax.edits.by_eye import DONE, LESS, MORE, Bracket
from sdedit_jax.pipeline.arguments import INT32
from sdedit_jax.pipeline.executor import Cancel
from sdedit_jax.web import canvas
from sdedit_jax.web.controls import Controls, Wiring, find, line, number, sent
from sdedit_jax.web.edits import Editor, Result
from sdedit_jax.web.guides import Painted
from sdedit_jax.web.settings import AUTO, Settings, quick

HERE = Path(__file__).parent
STRENGTHS = (0.3, 0.4, 0.5, 0.6, 0.7)
MOST_STRENGTHS, MOST_SEEDS = 8, 4
USUAL = 0.5
"""The strength of the slider where the settings have none."""
ASKED = "Choose a picture: the left one has less of a change, the right one more. The middle one"
ASKED += " ends the search."
FOUND = "The strength is set."
ANSWERS = (LESS, DONE, MORE)
"""What a picture of the search means, from the left."""


def add(editor: Editor, settings: Settings) -> Controls:
    """The controls."""
    usual = settings.t0 if isinstance(settings.t0, float) else USUAL
    with gr.Row(elem_classes="sd-fields"):
        with gr.Column(min_width=260):
            t0 = gr.Slider(0, 1, usual, step=0.01, label="Strength", elem_id="t0")
            readings = gr.HTML(
                str(editor.readings(settings.prior, usual)), elem_id="readings",
                elem_classes="sd-line",
            )  # fmt: skip
        auto = gr.Checkbox(settings.t0 == AUTO, label="Find the strength", elem_id="auto")
    errors = {"t0": line()}
    errors["auto_t0"] = line()
    with gr.Accordion("Compare strengths", open=False, elem_id="compare"):
        with gr.Row():
            search = gr.Button("Search by eye", elem_id="search", min_width=120)
            compare = gr.Button("Make a sheet", elem_id="sheet-make", min_width=120)
        with gr.Row():
            given = ", ".join(map(str, STRENGTHS))
            strengths = gr.Textbox(given, label="Strengths", elem_id="strengths", min_width=160)
            seeds = gr.Slider(1, MOST_SEEDS, 2, step=1, label="Seeds", min_width=120)
        errors["strengths"] = line()
        note = gr.HTML("", elem_classes="sd-line")
        cells = component()
    state = gr.State(())

    def read(values: Sequence[Any]) -> Mapping[str, Any]:
        return {"t0": AUTO if values[1] else number("t0", values[0])}

    def show(s: Settings) -> Sequence[Any]:
        return [gr.skip() if s.t0 in (AUTO, None) else s.t0, s.t0 == AUTO]

    def wire(wiring: Wiring) -> None:
        def read_again(name: str, value: Any) -> dict[Any, Any]:
            return {readings: str(editor.readings(name, number("t0", value)))}

        prior = find(wiring.controls, "prior")
        for changed in (t0.change, prior.change):
            wiring.on(changed, read_again, [prior, t0], [readings])
        sheets = Sheets(editor, wiring, cells, note, state)
        outputs = [cells, note, state, *wiring.controls]
        edits = {"queue": True, "concurrency_limit": None}
        wiring.on(search.click, sheets.search, wiring.inputs, outputs, **edits)
        compared = [strengths, seeds, *wiring.inputs]
        wiring.on(compare.click, sheets.compare, compared, outputs, **edits)
        picked = wiring.on(cells.pick, sheets.pick, [state, *wiring.inputs], outputs, **edits)
        wiring.again(picked.then)

    return Controls([t0, auto], read, show, errors, [t0.release, auto.input], wire)


class Sheets:
    """What happens at the events of the sheet.

    Its state is a Bracket while one searches, or the rows of a sheet: of each cell (t0, seed).
    """

    def __init__(self, editor: Editor, wiring: Wiring, cells: Any, note: Any, state: Any) -> None:
        self.editor, self.wiring = editor, wiring
        self.cells, self.note, self.state = cells, note, state

    def search(self, request: gr.Request, text: str, *values: Any) -> dict[Any, Any]:
        """Show the first strengths of a search."""
        return self.acting(self.asking(Bracket()), request, text, values)

    def compare(
        self, request: gr.Request, strengths: str, seeds: float, text: str, *values: Any
    ) -> dict[Any, Any]:
        """Show strengths against seeds."""

        def act(painted: Painted, settings: Settings, cancel: Cancel) -> dict[Any, Any]:
            t0s = numbers(strengths)
            many = number("strengths", seeds)
            if many not in range(1, MOST_SEEDS + 1):
                raise ValueError(f"strengths: give 1 to {MOST_SEEDS} seeds, got {many:g}")
            each = [settings.seed + i for i in range(int(many))]
            pictures = self.pictures(settings, painted, t0s, each, cancel)
            names = [f"seed {seed}" for seed in each]
            kept = [[(t0, seed) for t0 in t0s] for seed in each]
            titles = [f"t0 {t0:g}" for t0 in t0s]
            return {self.cells: value(titles, names, pictures), self.note: "", self.state: kept}

        return self.acting(act, request, text, values)

    def pick(
        self, request: gr.Request, event: gr.EventData, state: Any, text: str, *values: Any
    ) -> dict[Any, Any]:
        """A cell of a sheet becomes the setting; in a search it is the answer."""
        row, column = (sent(event).get(name) for name in ("row", "column"))
        INT32.check(row, "row")
        INT32.check(column, "column")
        known = [[None] * len(ANSWERS)] if isinstance(state, Bracket) else state
        if row >= len(known) or column >= len(known[row]):
            return {}  # a click on a sheet that is gone
        if not isinstance(state, Bracket):
            t0, seed = state[row][column]

            def act(painted: Painted, settings: Settings, cancel: Cancel) -> dict[Any, Any]:
                return self.set(replace(settings, t0=t0, seed=seed))

            return self.acting(act, request, text, values)
        answer = ANSWERS[column]
        return self.acting(self.asking(state.after(answer), answer), request, text, values)

    def asking(self, bracket: Bracket, answer: str = "") -> Callable[..., dict[Any, Any]]:
        """The next round of a search; after the answer DONE its end."""

        def act(painted: Painted, settings: Settings, cancel: Cancel) -> dict[Any, Any]:
            found = self.set(replace(settings, t0=bracket.t0))
            if answer == DONE:
                return {**found, self.note: FOUND, self.cells: value([], [], []), self.state: ()}
            t0s = bracket.candidates
            pictures = self.pictures(settings, painted, t0s, [settings.seed], cancel)
            titles = [f"less, t0 {t0s[0]:.3g}", f"t0 {t0s[1]:.3g}", f"more, t0 {t0s[2]:.3g}"]
            shown = {self.cells: value(titles, [""], pictures), self.note: ASKED}
            return {**found, **shown, self.state: bracket}

        return act

    def pictures(
        self,
        settings: Settings,
        painted: Painted,
        t0s: Sequence[float],
        seeds: Sequence[int],
        cancel: Cancel,
    ) -> list[np.ndarray]:
        """The picture of each strength and seed, quickly made; fewer where it is cancelled."""
        events = self.editor.sheet(quick(settings), painted, t0s, seeds, cancel=cancel)
        return [made.pictures[0] for made in events if isinstance(made, Result)]

    def set(self, settings: Settings) -> dict[Any, Any]:
        """The updates that show settings."""
        return dict(zip(self.wiring.controls, self.wiring.show(settings), strict=True))

    def acting(
        self, act: Callable[..., Any], request: gr.Request, text: str, values: Sequence[Any]
    ) -> dict[Any, Any]:
        """The updates of an event that edits."""
        return self.wiring.guarded(act)(request, text, *values)


def component() -> gr.HTML:
    """The sheet; its value is JSON, see `value`."""
    return gr.HTML(
        value([], [], []),
        html_template='<div class="sd-sheet"></div>',
        js_on_load=(HERE / "sheet.js").read_text(),
        apply_default_css=False,
        elem_id="sheet",
    )


def value(titles: Sequence[str], names: Sequence[str], pictures: Sequence[np.ndarray]) -> str:
    """The value of the sheet.

    Args:
        titles: of the columns. names: of the rows. pictures: column after column; columns that are
            not whole are left out.
    """
    count, urls = len(names), [canvas.url(images.png(picture)) for picture in pictures]
    whole = len(urls) // count if count else 0
    rows = [
        {"name": name, "cells": urls[i : whole * count : count]} for i, name in enumerate(names)
    ]
    return json.dumps({"columns": list(titles[:whole]), "rows": rows})


def numbers(text: str) -> list[float]:
    """The strengths of a sheet.

    Raises:
        ValueError: something else than numbers in [0, 1], or too many.
    """
    try:
        found = list(dict.fromkeys(float(part) for part in text.split(",") if part.strip()))
    except ValueError:
        found = [2.0]
    if not found or len(found) > MOST_STRENGTHS or not all(0 <= t0 <= 1 for t0 in found):
        raise ValueError(
            f"strengths must be 1 to {MOST_STRENGTHS} numbers in [0, 1], such as 0.3, 0.5;"
            f" got {text[:40]!r}"
        )
    return found
