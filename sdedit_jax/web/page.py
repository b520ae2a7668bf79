"""The page: its layout, and what happens at its events."""

import contextlib
import html
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from sdedit_jax import images
from sdedit_jax.pipeline.base import Event
from sdedit_jax.web import canvas, general, photo, result, strength, words
from sdedit_jax.web.controls import Wiring, beside, line
from sdedit_jax.web.edits import Editor, Result
from sdedit_jax.web.first import Priors, fitted
from sdedit_jax.web.guides import Painted
from sdedit_jax.web.queue import Line, Overtaken, Refused
from sdedit_jax.web.settings import LEDITS, Settings, quick
from sdedit_jax.web.visitor import Kept, Strip, Visitors

HERE = Path(__file__).parent
KEPT_SECONDS = 3600
"""After which files of the server are deleted."""
WRONG = (ValueError, TypeError, OSError, FloatingPointError)
"""What an edit raises where its settings or pictures are wrong."""
FAILED = (RuntimeError, ArithmeticError, MemoryError)
"""What it raises where the device fails, for example for want of memory."""
PAINT, PHOTO, WORDS = TABS = ("paint", "photo", "words")
TOOLS = {"strokes": ["brush"], "scribble": ["brush", "mask"], "composite": ["patch"]}
TOOLS |= {"inpaint": ["mask"], "outpaint": [], "recolor": ["mask"]}
TOOLS |= {"img2img": ["brush", "mask"], LEDITS: ["mask"]}
"""Task -> the tools of the canvas."""
MOST_LETTERS = 200
"""Of the message of the device."""
STARTING = "started; the first edit of its kind compiles"
QUIET = {"show_progress": "hidden", "api_visibility": "private"}
AT_ONCE = {**QUIET, "queue": False}
"""Events that do not wait in gradio's queue: edits wait in our own, see queue.py."""


class Page:
    """The page of a server. Its methods are what happens at the events of the components."""

    def __init__(self, editor: Editor, prior: str) -> None:
        self.editor, self.priors = editor, Priors(editor)
        self.line, self.visitors = Line(), Visitors()
        self.first = self.priors.first(prior)

    # --- layout -----------------------------------------------------------------------------------

    def build(self) -> gr.Blocks:
        """The page."""
        kept = (KEPT_SECONDS, KEPT_SECONDS)
        with gr.Blocks(title="sdedit", analytics_enabled=False, delete_cache=kept) as page:
            self.tab = gr.State(PAINT)
            with gr.Row():
                with gr.Column(scale=2, min_width=300):
                    buttons = self._pictures()
                with gr.Column(scale=1, min_width=300):
                    tabs = self._parts()
            self.errors = {f: at for part in self.parts.values() for f, at in part.errors.items()}
            self.errors[""] = self.error
            self._wire(page, tabs, buttons)
        return page

    def _pictures(self) -> list[gr.Button]:
        """The canvas and the result, which begin with the example; the buttons below them."""
        size = self.priors.size(self.first.settings.prior)
        painted = canvas.shown(self.first.painted, edit=False, undo=False)
        made = self.shown(self.first.settings, self.first.result)
        with gr.Row():
            with gr.Column(min_width=280):
                self.canvas = canvas.component(painted, size, list(self.first.palette))
            with gr.Column(min_width=280):
                self.result = result.component(result.numbered(made, 0))
        self.error = line()
        with gr.Row(elem_classes="sd-buttons"):
            buttons = [
                gr.Button("Finish", variant="primary", elem_id="finish", min_width=70),
                gr.Button("Cancel", elem_id="cancel", min_width=70),
                gr.Button("Earlier", elem_id="earlier", min_width=70),
                gr.Button("Later", elem_id="later", min_width=70),
            ]
        self.strip = result.strip_component()
        return buttons

    def _parts(self) -> dict[str, gr.Tab]:
        """The tabs, and the settings below them. A tab's own settings come last in `parts`."""
        tabs, own, settings = {}, {}, self.first.settings
        with gr.Tabs(selected=PAINT) as self.tabs:
            with gr.Tab("Paint", id=PAINT) as tabs[PAINT]:
                gr.Markdown("Paint with the brush. The result follows while you paint.")
            with gr.Tab("Photo", id=PHOTO) as tabs[PHOTO]:
                own[PHOTO] = photo.add()
            with gr.Tab("Words", id=WORDS) as tabs[WORDS]:
                own[WORDS] = words.add()
        common = {"strength": strength.add(self.editor, settings)}
        self.parts = {"general": general.add(self.priors, settings), **common, **own}
        return tabs

    @property
    def controls(self) -> list[Any]:
        """The components of all settings."""
        return [one for part in self.parts.values() for one in part.components]

    @property
    def inputs(self) -> list[Any]:
        """The inputs of an edit."""
        return [self.canvas, self.tab, *self.controls]

    def _wire(self, page: gr.Blocks, tabs: Mapping[str, Any], buttons: Sequence[Any]) -> None:
        """Add the events."""
        finish, cancel, earlier, later = buttons
        self.again(self.canvas.live, "hidden")
        for event in (event for part in self.parts.values() for event in part.live):
            self.again(event)
        for name, tab in tabs.items():
            chosen = tab.select(lambda name=name: name, None, [self.tab], **AT_ONCE)
            if name == WORDS:
                prior = self.parts["general"].components[0]
                chosen = chosen.then(self.reading, [prior], [prior, self.canvas], **AT_ONCE)
            chosen.then(self.tools, self.inputs, [self.canvas, *self.errors.values()], **AT_ONCE)
        shown = [self.canvas, self.result, *self.errors.values()]
        many = {"trigger_mode": "multiple", "concurrency_limit": None, **QUIET}
        finish.click(self.finish, self.inputs, [*shown, self.strip], **many)
        cancel.click(self.cancel, None, None, **AT_ONCE)
        moved = [*shown, self.strip, self.tab, self.tabs, *self.controls]
        earlier.click(self.earlier, None, moved, **AT_ONCE)
        later.click(self.later, None, moved, **AT_ONCE)
        self.strip.pick(self.pick, None, moved, **AT_ONCE)
        for event in (self.canvas.file, self.result.paint):
            event(self.open, self.inputs, moved, **AT_ONCE)
        page.unload(self.leave)
        for part in self.parts.values():
            part.wire(self._wiring())

    def _wiring(self) -> Wiring:
        return Wiring(
            self.canvas, self.result, self.strip, self.inputs, self.settings,
            list(self.errors.values()), self.guarded, self.again, self.controls, self.show,
        )  # fmt: skip

    def again(self, event: Callable[..., Any], progress: str = "minimal") -> Any:
        """Make the picture again after an event."""
        outputs = [self.canvas, self.result, *self.errors.values()]
        shown = {"show_progress": progress, "show_progress_on": self.result}
        many = {**AT_ONCE, **shown, "trigger_mode": "multiple"}
        return event(self.live, self.inputs, outputs, **many)

    # --- settings ---------------------------------------------------------------------------------

    def settings(self, values: Sequence[Any]) -> Settings:
        """The settings of an edit: those of the open tab, and those of all tabs.

        Args:
            values: of `inputs` after the canvas.
        """
        tab, fields, start = values[0], {}, 1
        for name, part in self.parts.items():
            own = values[start : start + len(part.components)]
            start += len(part.components)
            if name == tab or name not in TABS:
                fields |= part.read(own)
        carried, task = fields.pop("carried"), fields.get("task", Settings.task)
        return Settings(**({**carried, **fields} if carried.get("task") == task else fields))

    def show(self, settings: Settings) -> list[Any]:
        """The values of the components of settings."""
        return [value for part in self.parts.values() for value in part.show(settings)]

    def restored(self, settings: Settings) -> dict[Any, Any]:
        """The updates that show settings: their tab and their controls."""
        words = settings.task in ("img2img", LEDITS)
        tab = PAINT if settings.task == "strokes" else WORDS if words else PHOTO
        found = dict(zip(self.controls, self.show(settings), strict=True))
        return {**found, self.tab: tab, self.tabs: gr.Tabs(selected=tab)}

    def painted(self, text: str, settings: Settings) -> Painted:
        """What is on the canvas."""
        return canvas.decoded(text, self.priors.size(settings.prior))

    # --- edits ------------------------------------------------------------------------------------

    def guarded(self, act: Callable[..., Mapping[Any, Any]]) -> Callable[..., dict[Any, Any]]:
        """The function of an event that edits, see controls.Wiring."""

        def event(request: gr.Request, text: str, *values: Any) -> dict[Any, Any]:
            found = self.clear()
            with self.reporting(found):
                settings = self.settings(values)
                painted = self.painted(text, settings)
                with self.line.turn(visitor(request), canvas.number(text)) as cancel:
                    found |= act(painted, settings, cancel)
            return found

        return event

    @contextlib.contextmanager
    def reporting(self, found: dict[Any, Any]) -> Iterator[None]:
        """An error inside becomes a sentence beside its field, in the updates `found`."""
        try:
            yield
        except Overtaken:
            pass
        except (*WRONG, Refused) as error:
            found |= zip(self.errors.values(), beside(str(error), list(self.errors)), strict=True)
        except FAILED as error:
            first = str(error).partition("\n")[0][:MOST_LETTERS] or type(error).__name__
            found[self.error] = f"The program could not make this edit: {html.escape(first)}"

    def clear(self) -> dict[Any, Any]:
        """The updates that clear all errors."""
        return dict.fromkeys(self.errors.values(), "")

    def live(self, request: gr.Request, text: str, *values: Any) -> dict[Any, Any]:
        """The picture while one paints."""
        answer: dict[str, Any] = {"answered": canvas.number(text)}

        def act(painted: Painted, settings: Settings, cancel: Any) -> dict[Any, Any]:
            answer["tools"] = TOOLS[settings.task]
            chosen = quick(settings)
            for made in self.editor.events(chosen, painted, cancel=cancel):
                if isinstance(made, Result):
                    shown = self.shown(chosen, made)
                    return {self.result: result.numbered(shown, answer["answered"])}
            return {}

        found = self.guarded(act)(request, text, *values)
        return {**found, self.canvas: gr.HTML(**answer)}

    def tools(self, text: str, *values: Any) -> dict[Any, Any]:
        """The tools of the canvas for the open tab."""
        del text
        return {**self.clear(), self.canvas: gr.HTML(tools=TOOLS[self.settings(values).task])}

    def reading(self, prior: str) -> tuple[str, Any]:
        """A prior that reads texts, for the tab of words: the chosen one if it does."""
        return words.reading(self.editor, prior)

    def finish(self, request: gr.Request, text: str, *values: Any) -> Iterator[dict[Any, Any]]:
        """The finished edit, with previews; it is added to the strip."""
        found, number, last, ended = self.clear(), canvas.number(text), None, False
        with self.reporting(found):
            settings = self.settings(values)
            painted = self.painted(text, settings)
            with self.line.turn(visitor(request), number) as cancel:
                yield {self.result: result.numbered(result.line(STARTING), number)}
                for last in self.editor.events(settings, painted, cancel=cancel, preview_every=1):
                    if isinstance(last, Event):
                        yield {self.result: result.numbered(self.preview(last), number)}
            if isinstance(last, Result):
                made = self.shown(settings, last)
                one = Kept(settings, painted, made)
                strip = self.visitors.update(visitor(request), lambda strip: strip.added(one))
                found |= {self.result: result.numbered(made, number)}
                found |= {self.strip: result.strip(strip)}
            else:
                made = result.line("cancelled") if last is None else self.stopped(last)
                found |= {self.result: result.numbered(made, number)}
            ended = True
        if not ended:
            found |= {self.result: result.numbered(result.line(""), number)}
        yield found

    def cancel(self, request: gr.Request) -> None:
        """Cancel a visitor's edits."""
        self.line.cancel(visitor(request))

    # --- what the result shows --------------------------------------------------------------------

    def shown(self, settings: Settings, made: Result) -> dict[str, Any]:
        """What the result shows of an edit."""
        text = f"t0 {made.t0:.3g}, seed {settings.seed}, {made.seconds:.2f} s"
        name = f"{Path(settings.prior).name}_{settings.seed}"
        pngs = [made.png(row) for row in range(len(made.pictures))]
        before = made.item.fitted
        return result.value(pngs, before, text, name=name, seconds=made.seconds)

    def preview(self, event: Event) -> dict[str, Any]:
        """What the result shows while an edit is under way."""
        text = f"{event.stage}: step {event.step} of {event.steps}, {event.seconds:.1f} s"
        pictures = () if event.preview is None else images.from_unit(np.asarray(event.preview))
        share = event.evaluations / event.total
        return result.value([images.png(one) for one in pictures], None, text, progress=share)

    def stopped(self, event: Event) -> dict[str, Any]:
        """What the result shows of an edit that was cancelled."""
        made = self.preview(event)
        return {**made, "line": f"cancelled, {made['line']}", "progress": 1}

    # --- results and files ------------------------------------------------------------------------

    def strip_of(self, request: gr.Request) -> Strip:
        """The strip of a visitor."""
        return self.visitors.strip(visitor(request))

    def earlier(self, request: gr.Request) -> dict[Any, Any]:
        """Show the result before the shown one."""
        return self.go(request, self.strip_of(request).at - 1)

    def later(self, request: gr.Request) -> dict[Any, Any]:
        """Show the result after the shown one."""
        return self.go(request, self.strip_of(request).at + 1)

    def pick(self, request: gr.Request, event: gr.EventData) -> dict[Any, Any]:
        """Show a result of the strip."""
        return self.go(request, int(event._data["at"]))

    def go(self, request: gr.Request, at: int) -> dict[Any, Any]:
        """Show a result of the strip with its painting and settings."""
        strip = self.strip_of(request)
        if not strip.kept:
            return {self.error: "There is no finished result yet."}
        strip = self.visitors.update(visitor(request), lambda strip: strip.moved(at))
        one = strip.kept[strip.at]
        found = {**self.clear(), **self.restored(one.settings)}
        found |= {self.canvas: canvas.shown(one.painted, edit=False)}
        return {**found, self.result: json.dumps(one.result), self.strip: result.strip(strip)}

    def open(self, event: gr.EventData, text: str, *values: Any) -> dict[Any, Any]:
        """Put a visitor's picture on the canvas; a result of this program restores its settings."""
        found, kind = self.clear(), event._data.get("as")
        with self.reporting(found):
            data = canvas.file(event._data)
            picture = canvas.opened(data)
            was = self.painted(text, self.settings(values))
            if kind == "picture" and canvas.is_result(data):
                found |= self.restored(self.editor.restored(data))
                found[self.error] = "The settings of this result are restored."
            elif kind == "patch":
                found[self.canvas] = canvas.shown(canvas.with_patch(was, picture))
            else:
                new = was._replace(picture=fitted(picture, was.size))
                if kind == "result" or not canvas.is_touched(text):  # the example is in the way
                    new = new._replace(paint=np.zeros_like(was.paint), mask=None)
                found[self.canvas] = canvas.shown(new)
        return found

    def leave(self, request: gr.Request) -> None:
        """Forget a visitor that has left."""
        self.line.cancel(visitor(request))
        self.visitors.forget(visitor(request))


def visitor(request: gr.Request) -> str:
    """The name of a visitor: the session of the server."""
    return request.session_hash or ""
