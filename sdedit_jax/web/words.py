"""The tab for words: a photo follows a prompt, or concepts that are added and removed."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import gradio as gr

from sdedit_jax.pipeline import ledits_settings
from sdedit_jax.web.controls import Controls, Wiring, at, line, number
from sdedit_jax.web.settings import LEDITS, Concept, Settings

ROWS, SHOWN, PARTS = 4, 2, 5
"""Concepts that can be given, those that are shown at first, and the components of each."""

CHANGES = {"add": False, "remove": True}
FIRST = "LEDITS++, fast"
PRESETS = {FIRST: "leditspp", "LEDITS": "ledits"}
HINTS = {
    LEDITS: "Open a photo, describe it, and say what is added or removed. The first picture takes"
    " longest; then a moved slider answers at once.",
    "img2img": "Open a photo and say what it becomes. Strength decides how far it goes.",
}


def add() -> Controls:
    """The controls."""
    task = gr.Radio(
        [("Concepts", LEDITS), ("A prompt", "img2img")], value=LEDITS, label="What to do",
        elem_id="words-task",
    )  # fmt: skip
    hint = gr.Markdown(HINTS[LEDITS], elem_id="words-hint")
    errors = {}
    with gr.Column(elem_id="concepts") as by_concepts:
        source = gr.Textbox(label="The photo shows", placeholder="a photo of a red apple")
        errors["source_prompt"] = line()
        places, rows = zip(*(_row(k) for k in range(ROWS)), strict=True)
        more = gr.Button("More concepts", size="sm", elem_id="more-concepts")
        errors["concepts"] = line()
        with gr.Row():
            preset = gr.Radio(list(PRESETS), value=FIRST, label="Method", min_width=200)
            t0 = gr.Slider(
                0, 1, usual(FIRST), step=0.01, label="Strength for concepts", elem_id="words-t0"
            )
        errors["preset"] = line()
    with gr.Column(visible=False, elem_id="prompts") as by_prompt:
        prompt = gr.Textbox(label="Prompt", placeholder="a photo of a green apple")
        errors["prompt"] = line()
        negative = gr.Textbox(label="Away from", placeholder="a photo of a red apple")
        errors["negative_prompt"] = line()
        scale = gr.Slider(1, 15, Settings.scale, step=0.5, label="Guidance scale")
        errors["scale"] = line()
    own = [part for row in rows for part in row]
    components = [task, source, preset, t0, prompt, negative, scale, *own]

    def read(values: Sequence[Any]) -> Mapping[str, Any]:
        chosen, described, method, depth, wanted, against, strong, *parts = values
        if chosen == "img2img":
            texts = {"prompt": wanted or "", "negative_prompt": against or ""}
            return {"task": chosen, "scale": number("scale", strong), **texts}
        given = zip(*(parts[i::PARTS] for i in range(PARTS)), strict=True)
        concepts = tuple(
            Concept(
                text.strip(), CHANGES[change], number("concepts", much), bool(masked), tuple(more)
            )
            for text, change, much, masked, more in given
            if (text or "").strip()  # a hidden box holds None
        )
        found = {
            "task": chosen,
            "source_prompt": described or "",
            "concepts": concepts,
            "samples": 1,
        }
        return {**found, "preset": PRESETS[method], "t0": number("t0", depth), "sampler": ()}

    def show(given: Settings) -> Sequence[Any]:
        chosen = given.task if given.task in HINTS else LEDITS
        names = {preset: name for name, preset in PRESETS.items()}
        method = names.get(given.preset, FIRST)
        depth = given.t0 if given.task == LEDITS and given.t0 is not None else usual(method)
        concepts = [*given.concepts, *[Concept("")] * ROWS][:ROWS]
        parts = [
            value
            for row, one in zip(rows, concepts, strict=True)
            for value in (one.text, _change(one), at(row[2], one.scale), one.masked, one.more)
        ]
        texts = [given.prompt, given.negative_prompt, at(scale, given.scale)]
        return [chosen, given.source_prompt, method, depth, *texts, *parts]

    def parts_of(chosen: str) -> dict[Any, Any]:
        shown = gr.Column(visible=chosen == LEDITS), gr.Column(visible=chosen != LEDITS)
        return {hint: HINTS[chosen], **dict(zip((by_concepts, by_prompt), shown, strict=True))}

    def opened() -> dict[Any, Any]:
        shown = {place: gr.Column(visible=True) for place in places[SHOWN:]}
        return {more: gr.Button(visible=False), **shown}

    def wire(wiring: Wiring) -> None:
        wiring.on(task.change, parts_of, [task], [hint, by_concepts, by_prompt])
        wiring.on(more.click, opened, None, [more, *places[SHOWN:]])
        for place, row in list(zip(places, rows, strict=True))[SHOWN:]:
            shown = partial(_shown, place)
            wiring.on(row[0].change, shown, [row[0]], [place])
        chosen = wiring.on(preset.input, lambda name: {t0: usual(name)}, [preset], [t0])
        wiring.again(chosen.then)

    live = [task.input, t0.release, scale.release]
    live += [text.submit for text in (source, prompt, negative)]
    for text, change, much, masked, _ in rows:
        live += [text.submit, change.input, much.release, masked.input]
    return Controls(components, read, show, errors, live, wire)


def usual(method: str) -> float:
    """The strength of a method where none is given."""
    return float(ledits_settings.recipe(PRESETS[method], {}).t0)


def _row(k: int) -> tuple[Any, tuple[Any, ...]]:
    """The place of a concept, and its components."""
    with gr.Column(visible=k < SHOWN, elem_id=f"concept-{k}") as place:
        with gr.Row():
            text = gr.Textbox(label="Concept", min_width=170, scale=3)
            change = gr.Dropdown(list(CHANGES), value="add", label="Change", min_width=115, scale=1)
        with gr.Row():
            scale = gr.Slider(0, 20, Concept.scale, step=0.5, label="Scale", min_width=170, scale=3)
            masked = gr.Checkbox(label="in the mask", min_width=115, scale=1)
        more = gr.State(())
    return place, (text, change, scale, masked, more)


def _shown(place: Any, text: str) -> dict[Any, Any]:
    """The update of the place of a concept with this text."""
    return {place: gr.Column(visible=True)} if text else {}


def _change(concept: Concept) -> str:
    """The name of what a concept does, one of CHANGES."""
    return "remove" if concept.remove else "add"
