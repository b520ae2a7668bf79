"""The page: its layout, and what happens at its events."""

import contextlib
import functools
import html
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from sdedit_jax.pipeline.arguments import INT32
from sdedit_jax.pipeline.base import Event
from sdedit_jax.web import canvas, general, photo, result, strength, words
from sdedit_jax.web.controls import Wiring, beside, find, line, sent
from sdedit_jax.web.edits import Editor, Result
from sdedit_jax.web.first import Priors, fitted
from sdedit_jax.web.guides import Painted
from sdedit_jax.web.queue import Line, Overtaken, Refused
from sdedit_jax.web.settings import LEDITS, Settings, quick
from sdedit_jax.web.visitor import Kept, Visitors

HERE = Path(__file__).parent
KEPT_SECONDS = 3600
"""After which files of the server are deleted."""
WRONG = (ValueError, TypeError, OSError, FloatingPointError)
"""What an edit raises where its settings or pictures are wrong."""
PAINT, PHOTO, WORDS = TABS = ("paint", "photo", "words")
TOOLS = {"strokes": ["brush"], "scribble": ["brush", "mask"], "composite": ["patch"]}
TOOLS |= {"inpaint": ["mask"], "outpaint": [], "recolor": ["mask"]}
TOOLS |= {"img2img": ["brush", "mask"], LEDITS: ["mask"]}
"""Task -> the tools of the canvas."""
MOST_LETTERS = 200
"""Of the message of the device."""
STARTING = "started; the first edit of its kind compiles"
RESTORED = "The settings of this result are restored."
QUIET = {"show_progress": "hidden", "api_visibility": "private"}
QUIET |= {"queue": False, "preprocess": False}
"""Of most events. They do not wait in gradio's queue: edits wait in our own, see queue.py. Values
are checked where they are used, not by gradio, whose errors stand beside no field."""
MANY = {"trigger_mode": "multiple", "concurrency_limit": None}
"""Of events of which a later one may begin before an earlier one ends."""


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
            self.lent = gr.State(())
            with gr.Row():
                with gr.Column(scale=2, min_width=300):
                    buttons = self._pictures()
                with gr.Column(scale=1, min_width=300):
                    tabs = self._parts()
            self.errors = {f: at for part in self.parts.values() for f, at in part.errors.items()}
            self.errors[""] = self.error
            self.prior = find(self.controls, "prior")
            self._wire(page, tabs, buttons)
        return page

    def _pictures(self) -> list[gr.Button]:
        """The canvas and the result, which begin with the example; the buttons below them."""
        size = self.priors.size(self.first.settings.prior)
        painted = canvas.shown(self.first.painted, edit=False, undo=False, touched=False)
        made = result.finished(self.first.settings, self.first.result)
        with gr.Row():
            with gr.Column(min_width=280):
                self.canvas = canvas.component(painted, size, list(self.first.palette))
            with gr.Column(min_width=280):
                self.result = result.component(result.numbered(made, 0))
        self.error = line()
        self.note = gr.HTML("", elem_id="note", elem_classes="sd-line", padding=False)
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
        moved = [self.canvas, self.result, self.note, self.strip, self.tab, self.tabs, self.lent]
        moved += self.controls
        for name, tab in tabs.items():
            task = [] if name == PAINT else [find(self.controls, f"{name}-task")]
            inputs = [self.lent, self.prior, *task]
            self.on(tab.select, self.choosing(name), inputs, moved)
        self.on(self.prior.input, self.change_prior, self.inputs, moved)
        outputs = [self.canvas, self.result, *self.errors.values(), self.note, self.strip]
        finish.click(self.finish, self.inputs, outputs, **QUIET | MANY | {"queue": True})
        self.on(cancel.click, self.cancel, None, [])
        self.on(earlier.click, self.earlier, None, moved)
        self.on(later.click, self.later, None, moved)
        self.on(self.strip.pick, self.pick, None, moved)
        for event in (self.canvas.file, self.result.paint):
            self.on(event, self.open, self.inputs, moved)
        page.unload(self.leave)
        for part in self.parts.values():
            part.wire(
                Wiring(self.inputs, self.on, self.guarded, self.again, self.controls, self.show)
            )

    def on(
        self,
        event: Callable[..., Any],
        act: Callable[..., Mapping[Any, Any] | None],
        inputs: Sequence[Any] | None,
        outputs: Sequence[Any],
        **options: Any,
    ) -> Any:
        """Add an event, see controls.Wiring."""

        @functools.wraps(act)
        def safe(*args: Any) -> dict[Any, Any]:
            found: dict[Any, Any] = {}
            with self.reporting(found):
                found |= act(*args) or {}
            return found or {self.error: gr.skip()}

        every = dict.fromkeys([*outputs, *self.errors.values()])
        return event(safe, inputs, list(every), **QUIET | options)

    def again(self, event: Callable[..., Any], progress: str = "minimal") -> Any:
        """Make the picture again after an event."""
        shown = {"show_progress": progress, "show_progress_on": self.result}
        return self.on(event, self.live, self.inputs, [self.canvas, self.result], **MANY, **shown)

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

    def restored(
        self, request: gr.Request, settings: Settings, **canvas_props: Any
    ) -> dict[Any, Any]:
        """The updates that show settings: their tab, their controls, and the canvas for them."""
        words = settings.task in ("img2img", LEDITS)
        tab = PAINT if settings.task == "strokes" else WORDS if words else PHOTO
        found = dict(zip(self.controls, self.show(settings), strict=True))
        props = self.canvas_for(request, settings.prior, settings.task)
        found |= {self.tab: tab, self.tabs: gr.Tabs(selected=tab), self.lent: ()}
        return {**found, self.canvas: gr.HTML(**props, **canvas_props)}

    def canvas_for(self, request: gr.Request, prior: str, task: str) -> dict[str, Any]:
        """The size, tools and colours of the canvas; the colours of a prior may need edits."""
        props = {"size": list(self.priors.size(prior)), "tools": TOOLS[task]}
        if "brush" not in TOOLS[task]:
            return props
        if not self.priors.known(prior):
            with self.line.turn(visitor(request), math.inf):
                self.priors.palette(prior)
        return {**props, "palette": list(self.priors.palette(prior))}

    def with_prior(self, prior: str) -> dict[Any, Any]:
        """The updates of the controls for another prior; what was restored of a result goes."""
        part = self.parts["general"]
        found = dict(zip(part.components, part.show(Settings(prior)), strict=True))
        kept = ("seed", "samples")
        return {one: value for one, value in found.items() if one.elem_id not in kept}

    def change_prior(self, request: gr.Request, text: str, *values: Any) -> dict[Any, Any]:
        """Edit with the prior that is chosen; an example is replaced by its own."""
        settings = self.settings(values)
        prior, props = settings.prior, self.canvas_for(request, settings.prior, settings.task)
        if canvas.is_touched(text):
            props["again"] = canvas.number(text) + 1
        else:
            props["value"] = canvas.shown(self.priors.example(prior), undo=False, touched=False)
        return {**self.clear(), **self.with_prior(prior), self.canvas: gr.HTML(**props)}

    def choosing(self, tab: str) -> Callable[..., dict[Any, Any]]:
        """The function of the event that opens a tab, with its tools.

        The tab of words takes a prior that reads texts; the others have theirs back.
        """

        def event(
            request: gr.Request, lent: Sequence[str], prior: str, task: str = Settings.task
        ) -> dict[Any, Any]:
            # lent: (the prior of the other tabs, that of the tab of words) while they differ
            wanted = self.prior_of(tab, prior, lent)
            found = {**self.clear(), self.tab: tab, self.lent: lent if tab == WORDS else ()}
            if wanted == prior:
                return {**found, self.canvas: gr.HTML(tools=TOOLS[task])}
            if tab == WORDS:
                found[self.lent] = (prior, wanted)
            props = self.canvas_for(request, wanted, task)
            return {**found, **self.with_prior(wanted), self.canvas: gr.HTML(**props)}

        return event

    def prior_of(self, tab: str, prior: str, lent: Sequence[str]) -> str:
        """The prior of a tab that is opened with another tab's prior."""
        if tab == WORDS:
            readers = filter(self.editor.reads, self.editor.priors)
            return prior if self.editor.reads(prior) else next(readers, prior)
        return lent[0] if lent and lent[1] == prior else prior

    def painted(self, text: str, settings: Settings) -> Painted:
        """What is on the canvas."""
        return canvas.decoded(text, self.priors.size(settings.prior))

    # --- edits ------------------------------------------------------------------------------------

    def guarded(self, act: Callable[..., Mapping[Any, Any]]) -> Callable[..., dict[Any, Any]]:
        """The function of an event that edits, see controls.Wiring."""

        def event(request: gr.Request, text: str, *values: Any) -> dict[Any, Any]:
            settings = self.settings(values)
            painted = self.painted(text, settings)
            with self.line.turn(visitor(request), canvas.number(text)) as cancel:
                return {**self.clear(), **act(painted, settings, cancel)}

        return event

    @contextlib.contextmanager
    def reporting(self, found: dict[Any, Any]) -> Iterator[None]:
        """An error inside becomes a sentence beside its field, in the updates `found`.

        An edit that is overtaken shows nothing: the later one does.
        """
        try:
            yield
        except Overtaken:
            found.clear()
        except (*WRONG, Refused) as error:
            found |= zip(self.errors.values(), beside(str(error), list(self.errors)), strict=True)
        except Exception as error:  # of the device, or a fault of the page
            logging.exception("An event of the page failed.")
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
                    shown = result.finished(chosen, made)
                    return {self.result: result.numbered(shown, answer["answered"])}
            raise Overtaken

        found: dict[Any, Any] = {}
        with self.reporting(found):
            found |= self.guarded(act)(request, text, *values)
        return {**found, self.canvas: gr.HTML(**answer)}

    def finish(self, request: gr.Request, text: str, *values: Any) -> Iterator[dict[Any, Any]]:
        """The finished edit, with previews; it is added to the strip."""
        who, last = visitor(request), None
        show = functools.partial(result.numbered, number=canvas.number(text))
        found = {**self.clear(), self.note: "", self.result: show(result.line(""))}
        with self.reporting(found):
            settings = self.settings(values)
            painted = self.painted(text, settings)
            with self.line.turn(who, canvas.number(text)) as cancel:
                yield {self.result: show(result.line(STARTING))}
                for last in self.editor.events(settings, painted, cancel=cancel, preview_every=1):
                    if isinstance(last, Event):
                        yield {self.result: show(result.preview(last))}
            if isinstance(last, Result):
                made = result.finished(settings, last)
                one = Kept(settings, painted, made)
                strip = self.visitors.update(who, lambda strip: strip.added(one))
                found |= {self.result: show(made), self.strip: result.strip(strip)}
            elif self.line.has(who):
                raise Overtaken
            else:
                found[self.result] = show(result.cancelled(last))
        yield found or {self.error: gr.skip()}

    def cancel(self, request: gr.Request) -> None:
        """Cancel a visitor's edits."""
        self.line.cancel(visitor(request))

    # --- results and files ------------------------------------------------------------------------

    def earlier(self, request: gr.Request) -> dict[Any, Any]:
        """Show the result before the shown one."""
        return self.go(request, self.visitors.strip(visitor(request)).at - 1)

    def later(self, request: gr.Request) -> dict[Any, Any]:
        """Show the result after the shown one."""
        return self.go(request, self.visitors.strip(visitor(request)).at + 1)

    def pick(self, request: gr.Request, event: gr.EventData) -> dict[Any, Any]:
        """Show a result of the strip."""
        at = sent(event).get("at")
        INT32.check(at, "at")
        return self.go(request, at)

    def go(self, request: gr.Request, at: int) -> dict[Any, Any]:
        """Show a result of the strip with its painting and settings."""
        strip = self.visitors.update(visitor(request), lambda strip: strip.moved(at))
        if not strip.kept:
            return {self.error: "There is no finished result yet."}
        one = strip.kept[strip.at]
        value = canvas.shown(one.painted, edit=False)
        found = {**self.clear(), self.note: ""}
        found |= self.restored(request, one.settings, value=value)
        return {**found, self.result: json.dumps(one.result), self.strip: result.strip(strip)}

    def open(
        self, request: gr.Request, event: gr.EventData, text: str, *values: Any
    ) -> dict[Any, Any]:
        """Put a visitor's picture on the canvas; a result of this program restores its settings."""
        found, kind = {**self.clear(), self.note: ""}, sent(event).get("as")
        data = canvas.file(sent(event))
        picture = canvas.opened(data)
        if kind == "picture" and canvas.is_result(data):
            settings, again = self.editor.restored(data), canvas.number(text) + 1
            return {**found, **self.restored(request, settings, again=again), self.note: RESTORED}
        was = self.painted(text, self.settings(values))
        if kind == "patch":
            return {**found, self.canvas: canvas.shown(canvas.with_patch(was, picture))}
        new = was._replace(picture=fitted(picture, was.size))
        if kind == "result" or not canvas.is_touched(text):  # the example is in the way
            new = new._replace(paint=np.zeros_like(was.paint), mask=None)
        return {**found, self.canvas: canvas.shown(new)}

    def leave(self, request: gr.Request) -> None:
        """Forget a visitor that has left."""
        self.line.cancel(visitor(request))
        self.visitors.forget(visitor(request))


def visitor(request: gr.Request) -> str:
    """The name of a visitor: the session of the server."""
    return request.session_hash or ""
