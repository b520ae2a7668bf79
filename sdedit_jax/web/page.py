"""The page: its layout, and what happens at its events."""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from sdedit_jax import images
from sdedit_jax.pipeline.base import Event
from sdedit_jax.text.spelling import counted
from sdedit_jax.web import canvas, edits, first, general, result
from sdedit_jax.web.controls import Wiring, beside, line
from sdedit_jax.web.queue import Line, Overtaken, Refused
from sdedit_jax.web.visitor import Kept, Strip, Visitors

HERE = Path(__file__).parent
KEPT_SECONDS = 3600
"""After which files of the server are deleted."""
WRONG = (ValueError, TypeError, OSError, FloatingPointError)
"""What an edit raises where its settings or pictures are wrong."""
TOOLS = {"strokes": ["brush"], "scribble": ["brush", "mask"], "composite": ["patch"]}
TOOLS |= {"inpaint": ["mask"], "outpaint": [], "recolor": ["mask"]}
TOOLS |= {"img2img": ["brush", "mask"], "ledits": ["mask"]}
"""Task -> the tools of the canvas."""
QUIET = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
MANY = {"trigger_mode": "multiple", "show_progress": "hidden", "api_visibility": "private"}


class Page:
    """The page of a server. Its methods are what happens at the events of the components."""

    def __init__(self, prior: str) -> None:
        self.line, self.visitors = Line(), Visitors()
        self.priors, self.first = first.choices(prior), first.first(prior)

    # --- layout -----------------------------------------------------------------------------------

    def build(self) -> gr.Blocks:
        """The page."""
        size = canvas.size_for(edits.size_of(self.first.settings.prior))
        with gr.Blocks(
            title="sdedit", analytics_enabled=False, delete_cache=(KEPT_SECONDS, KEPT_SECONDS)
        ) as page:
            self.tab = gr.State("paint")
            with gr.Row():
                with gr.Column(min_width=280):
                    value = canvas.shown(self.first.painted, edit=False)
                    self.canvas = canvas.component(value, size, list(self.first.palette))
                with gr.Column(min_width=280):
                    made = self.shown(self.first.settings, self.first.result)
                    self.result = result.component(result.numbered(made, 0))
            self.error = line()
            with gr.Row():
                finish = gr.Button("Finish", variant="primary", elem_id="finish", min_width=90)
                cancel = gr.Button("Cancel", elem_id="cancel", min_width=90)
                back = gr.Button("Earlier result", elem_id="earlier", min_width=90)
                onward = gr.Button("Later result", elem_id="later", min_width=90)
            self.strip = result.strip_component()
            self.general = general.add(self.priors, self.first.settings)
            tabs = {}
            with gr.Tabs():
                with gr.Tab("Paint", id="paint") as tabs["paint"]:
                    gr.Markdown("Paint with the brush: the result follows while you paint.")
            self.parts = {"general": self.general}
            self.wire(page, tabs, finish, cancel, back, onward)
        return page

    @property
    def controls(self) -> list[Any]:
        """The components of all settings."""
        return [one for part in self.parts.values() for one in part.components]

    @functools.cached_property
    def errors(self) -> dict[str, Any]:
        """The lines for errors by their fields; the last one is for all others."""
        found = {f: one for part in self.parts.values() for f, one in part.errors.items()}
        return {**found, "": self.error}

    @property
    def inputs(self) -> list[Any]:
        """The inputs of an edit."""
        return [self.canvas, self.tab, *self.controls]

    def wire(self, page: gr.Blocks, tabs: Mapping[str, gr.Tab], *buttons: gr.Button) -> None:
        """Add the events."""
        finish, cancel, back, onward = buttons
        shown = [self.canvas, self.result, *self.errors.values()]
        self.again(self.canvas.live)
        for part in self.parts.values():
            for event in part.live:
                self.again(event)
        for name, tab in tabs.items():
            chosen = tab.select(lambda name=name: name, None, [self.tab], **QUIET)
            self.again(chosen.then)
        outputs = [*shown, self.strip]
        finish.click(self.finish, self.inputs, outputs, concurrency_limit=None, **MANY)
        cancel.click(self.cancel, None, None, **QUIET)
        moved = [*shown, self.strip, self.tab, *self.controls]
        back.click(self.earlier, None, moved, **QUIET)
        onward.click(self.later, None, moved, **QUIET)
        self.strip.pick(self.pick, None, moved, **QUIET)
        opened = [self.canvas, *self.errors.values(), *self.controls]
        self.canvas.file(self.open, self.inputs, opened, **QUIET)
        self.result.paint(self.open, self.inputs, opened, **QUIET)
        page.unload(self.leave)
        wiring = Wiring(
            self.canvas, self.result, self.strip, self.inputs, self.settings,
            list(self.errors.values()), self.guarded, self.again, self.controls, self.show,
        )  # fmt: skip
        for part in self.parts.values():
            part.wire(wiring)

    def again(self, event: Callable[..., Any]) -> Any:
        """Make the picture again after an event."""
        outputs = [self.canvas, self.result, *self.errors.values()]
        return event(self.live, self.inputs, outputs, trigger_mode="multiple", **QUIET)

    # --- settings ---------------------------------------------------------------------------------

    def settings(self, values: Sequence[Any]) -> edits.Settings:
        """The settings of an edit: those of the open tab, and those of all tabs."""
        tab, fields, start = values[0], {}, 1
        for name, part in self.parts.items():
            own = values[start : start + len(part.components)]
            start += len(part.components)
            if name == tab or name not in ("paint", "photo", "words"):
                fields |= part.read(own)
        return edits.Settings(**fields)

    def show(self, settings: edits.Settings) -> list[Any]:
        """The values of the components of settings."""
        return [value for part in self.parts.values() for value in part.show(settings)]

    def painted(self, text: str, settings: edits.Settings) -> canvas.Painted:
        """What is on the canvas."""
        return canvas.decoded(text, canvas.size_for(edits.size_of(settings.prior)))

    # --- edits ------------------------------------------------------------------------------------

    def guarded(self, act: Callable[..., Any]) -> Callable[..., Any]:
        """The function of an event that edits, see controls.Wiring."""

        def event(request: gr.Request, text: str, *values: Any) -> dict[Any, Any]:
            found = self.clear()
            with self.reporting(found):
                settings = self.settings(values)
                painted = self.painted(text, settings)
                with self.line.turn(visitor(request)) as cancel:
                    found |= act(visitor(request), painted, settings, cancel) or {}
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

    def clear(self) -> dict[Any, Any]:
        """The updates that clear all errors."""
        return dict.fromkeys(self.errors.values(), "")

    def live(self, request: gr.Request, text: str, *values: Any) -> dict[Any, Any]:
        """The picture while one paints: the preset `live`, one sample."""
        number = canvas.number(text)
        answer: dict[str, Any] = {"answered": number}

        def act(who: str, painted: Any, settings: edits.Settings, cancel: Any) -> dict[Any, Any]:
            answer["tools"] = TOOLS[settings.task]
            quick = dataclasses.replace(settings, preset="live", samples=1)
            for made in edits.events(quick, painted, cancel=cancel):
                if isinstance(made, edits.Result):
                    return {self.result: result.numbered(self.shown(quick, made), number)}
            return {}

        found = self.guarded(act)(request, text, *values)
        return {**found, self.canvas: gr.HTML(**answer)}

    def finish(self, request: gr.Request, text: str, *values: Any) -> Iterator[dict[Any, Any]]:
        """The finished edit: the prior's default, with previews."""
        found, who, number = self.clear(), visitor(request), canvas.number(text)
        with self.reporting(found):
            settings = self.settings(values)
            painted = self.painted(text, settings)
            with self.line.turn(who) as cancel:
                last = None
                for last in edits.events(settings, painted, cancel=cancel, preview_every=1):
                    if isinstance(last, Event):
                        yield {self.result: result.numbered(self.preview(last), number)}
                if isinstance(last, edits.Result):
                    made = self.shown(settings, last)
                    found[self.result] = result.numbered(made, number)
                    found[self.strip] = self.kept(who, settings, values[0], painted, made)
                elif last is not None:
                    found[self.result] = result.numbered(self.stopped(last), number)
        yield found

    def shown(self, settings: edits.Settings, made: edits.Result) -> dict[str, Any]:
        """What the result shows of an edit."""
        samples = counted(len(made.pictures), "sample")
        text = f"t0 {made.t0:.3g}, seed {settings.seed}, {samples}, {made.seconds:.2f} s"
        name = f"{Path(settings.prior).name}_{settings.seed}"
        return result.value(made.pictures, made.guide, text, texts=made.chunks, name=name)

    def preview(self, event: Event) -> dict[str, Any]:
        """What the result shows while an edit is under way."""
        text = f"{event.stage}: step {event.step} of {event.steps}, {event.seconds:.1f} s"
        pictures = [] if event.preview is None else images.from_unit(np.asarray(event.preview))
        share = event.evaluations / event.total
        return result.value(list(pictures), None, text, progress=share)

    def stopped(self, event: Event) -> dict[str, Any]:
        """What the result shows of an edit that was cancelled."""
        made = self.preview(event)
        return {**made, "line": f"cancelled after {made['line']}", "progress": 1}

    def kept(
        self, who: str, settings: edits.Settings, tab: str, painted: Any, made: dict[str, Any]
    ) -> str:
        """The strip with a finished result."""
        one = Kept(settings, tab, painted, made, made["pictures"][0][0])
        return self.strip_of(self.visitors.put(who, self.visitors.strip(who).added(one)))

    # --- results and files ------------------------------------------------------------------------

    def strip_of(self, strip: Strip) -> str:
        """The value of the component of a strip."""
        return result.strip([one.thumbnail for one in strip.kept], strip.at)

    def earlier(self, request: gr.Request) -> dict[Any, Any]:
        """Show the result before the shown one."""
        return self.go(visitor(request), self.visitors.strip(visitor(request)).at - 1)

    def later(self, request: gr.Request) -> dict[Any, Any]:
        """Show the result after the shown one."""
        return self.go(visitor(request), self.visitors.strip(visitor(request)).at + 1)

    def pick(self, request: gr.Request, event: gr.EventData) -> dict[Any, Any]:
        """Show a result of the strip."""
        return self.go(visitor(request), int(event._data["at"]))

    def go(self, who: str, at: int) -> dict[Any, Any]:
        """Show a result of the strip with its painting and settings."""
        strip = self.visitors.strip(who)
        if not strip.kept:
            return {self.error: "There is no finished result yet; press Finish."}
        strip = self.visitors.put(who, strip.moved(at))
        one = strip.kept[strip.at]
        found = dict(zip(self.controls, self.show(one.settings), strict=True))
        found |= {self.canvas: canvas.shown(one.painted, edit=False), self.tab: one.tab}
        return {**self.clear(), **found, self.result: json.dumps(one.result),
                self.strip: self.strip_of(strip)}  # fmt: skip

    def open(
        self, request: gr.Request, event: gr.EventData, text: str, *values: Any
    ) -> dict[Any, Any]:
        """Put a visitor's picture on the canvas; a result of this program restores its settings."""
        del request
        found = self.clear()
        with self.reporting(found):
            sent, settings = event._data, self.settings(values)
            data = canvas.file(sent)
            picture, was = canvas.opened(data), self.painted(text, settings)
            if sent.get("as") == "patch":
                layer, side = images.resize_layer, max(was.paint.shape[:2])
                size = canvas.within(picture.rgb.shape[:2], side)
                small = layer(picture, size)
                patch = np.dstack([small.rgb, small.alpha])
                new = was._replace(patch=patch, place=(0.5, 0.5, 0.5))
                found[self.canvas] = canvas.shown(new)
            elif sent.get("as") == "picture" and (own := edits.restore(data)) is not None:
                found |= zip(self.controls, self.show(own), strict=True)
                found[self.error] = "The settings of this result are set."
            else:
                fitted = first.fitted(picture, was.paint.shape[:2])
                new = was._replace(picture=fitted)
                if sent.get("as") == "photo":
                    new = new._replace(paint=np.zeros_like(was.paint), mask=None)
                found[self.canvas] = canvas.shown(new)
        return found

    def cancel(self, request: gr.Request) -> None:
        """Cancel a visitor's edits."""
        self.line.cancel(visitor(request))

    def leave(self, request: gr.Request) -> None:
        """Forget a visitor that has left."""
        self.line.cancel(visitor(request))
        self.visitors.forget(visitor(request))


def visitor(request: gr.Request) -> str:
    """The name of a visitor: the session of the server."""
    return request.session_hash or ""
