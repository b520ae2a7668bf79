"""The report of a training run: metrics (JSONL, TensorBoard), loss curves, sample sheets."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sdedit_jax.files import json_file
from sdedit_jax.images import plots
from sdedit_jax.training.events import Events


class Report:
    """The files of a run under `folder`: metrics.jsonl, events, curves.png, samples/.

    A restart at `step` drops records after that step, so that each step has one record.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        self.file = folder / "metrics.jsonl"
        self.drawn = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        keep_until(self.file, step)
        self.events = Events(folder / "events", step + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        """One line {"step": step, ...} and one event per value."""
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        self.events.scalars(step, values)

    def sheet(self, step: int, image: np.ndarray) -> None:
        """A sample sheet, uint8 [H, W, 3], to samples/<step>.png and the events."""
        folder = self.folder / "samples"
        folder.mkdir(exist_ok=True)
        aside = folder / f".{step:08d}.png"
        Image.fromarray(image).save(aside)
        os.replace(aside, folder / f"{step:08d}.png")
        self.events.image(step, "samples", image)

    def curves(self, every_seconds: float) -> None:
        """curves.png from metrics.jsonl, unless it was drawn within the last `every_seconds`."""
        if time.monotonic() - self.drawn >= every_seconds:
            draw_curves(read(self.file), self.folder / "curves.png")
            self.drawn = time.monotonic()

    def close(self) -> None:
        self.events.close()


def summary(window: list[dict[str, Any]], n: int, last: int | None) -> dict[str, float]:
    """Means of the metrics of the steps that end with step n.

    Raises:
        FloatingPointError: a metric is not finite; `last` is the step of the newest checkpoint.
    """
    for i, metrics in enumerate(window, n - len(window) + 1):
        for name, value in metrics.items():
            if not np.isfinite(value):
                kept = "no checkpoint yet" if last is None else f"checkpoint {last} is kept"
                raise FloatingPointError(f"training: {name} is {value} at step {i}; {kept}")
    return {name: float(np.mean([m[name] for m in window])) for name in window[0]}


def read(file: Path) -> list[dict[str, Any]]:
    """The records of a JSONL file, without a last line that a crash has cut off.

    Raises:
        ValueError: see door.check and json_file.lines.
    """
    if not file.exists():
        return []
    records = []
    for line in json_file.lines(file, "workdir"):
        try:
            record = json_file.parse_text(line, file, "workdir", infinite=True)
        except ValueError:
            break
        if not _is_record(record):
            break
        records.append(record)
    return records


def _is_record(record: Any) -> bool:
    """Whether a value is a step and the numbers of its metrics."""
    return (
        isinstance(record, dict)
        and all(type(value) in (int, float) for value in record.values())
        and type(record.get("step")) is int
        and 0 <= record["step"] < 2**53
        and record.get("images_per_second", 1) > 0
    )


def seconds(records: list[dict[str, Any]], batch: int) -> float:
    """The duration of the steps of these records, with `batch` pictures a step."""
    steps = np.diff([0, *(r["step"] for r in records)])
    pairs = zip(steps, records, strict=True)
    return float(sum(n * batch / r["images_per_second"] for n, r in pairs))


def keep_until(file: Path, step: int) -> None:
    """Drop the records after `step` and a broken last line."""
    if not file.exists():
        return
    lines = [json.dumps(record) + "\n" for record in read(file) if record["step"] <= step]
    aside = file.with_suffix(".part")
    aside.write_text("".join(lines), encoding="utf-8")
    os.replace(aside, file)


def draw_curves(records: list[dict[str, Any]], path: Path) -> None:
    """The training loss and the held-out errors against the step, both logarithmic, as PNG."""
    figure = plots.figure(10, 4)
    left, right = figure.subplots(1, 2)
    _lines(left, records, ["loss"])
    _lines(right, records, sorted({k for r in records for k in r if k.startswith("held_out/")}))
    left.set_title("training loss")
    right.set_title("held-out RMSE of x0, by sigma / alpha")
    aside = path.with_name(f".{path.name}")
    figure.canvas.print_png(aside)
    os.replace(aside, path)


def _lines(axes: Any, records: list[dict[str, Any]], names: list[str]) -> None:
    for name in names:
        points = [(r["step"], r[name]) for r in records if r.get(name, 0) > 0]
        if points:
            axes.plot(*zip(*points, strict=True), label=name.removeprefix("held_out/"))
    axes.set(xlabel="step", yscale="log")
    if len(names) > 1:
        axes.legend(fontsize="small")
