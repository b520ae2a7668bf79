"""Results as lines of JSON: what stands there is not measured again."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import measure
import numpy as np

Row = dict[str, Any]


def read(path: Path) -> list[Row]:
    """The rows of a file; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def fitting(rows: Sequence[Row], **key: Any) -> Iterator[Row]:
    """The rows with these values."""
    return (row for row in rows if all(row.get(name) == value for name, value in key.items()))


def last(path: Path) -> list[Row]:
    """The rows of the prior and of as many photos as the last one has."""
    rows = read(path)
    if not rows:
        return []
    return ordered(fitting(rows, **{name: rows[-1].get(name) for name in ("prior", "photos")}))


def ordered(rows: Iterable[Row]) -> list[Row]:
    """Rows by strength within each way to edit, the ways in the order they were begun."""
    rows = list(rows)
    names = ("method", "steps", "change", "threshold")
    ways = list(dict.fromkeys(tuple(row.get(name) for name in names) for row in rows))

    def place(row: Row) -> tuple[int, bool, float]:
        strength = row.get("strength", 0)
        automatic = isinstance(strength, str)
        return ways.index(tuple(row.get(n) for n in names)), automatic, 0 if automatic else strength

    return sorted(rows, key=place)


def once(path: Path, key: Mapping[str, Any], make: Callable[[], Mapping[str, Any]]) -> Row:
    """The row of this key: the one that stands in the file, or else made and written there."""
    for row in fitting(read(path), **key):
        return row
    row = {**key, **rounded(make())}
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(" ".join(str(v) for v in key.values()), flush=True)
    return row


def rounded(values: Any, digits: int = 4) -> Any:
    """Numbers of any nesting to so many significant digits."""
    if isinstance(values, Mapping):
        return {name: rounded(value, digits) for name, value in values.items()}
    if isinstance(values, list | tuple | np.ndarray):
        return [rounded(value, digits) for value in values]
    if isinstance(values, float | np.floating):
        return float(f"{values:.{digits}g}")
    return values.item() if isinstance(values, np.generic) else values


def clock(run: Callable[[], Any]) -> tuple[Any, float, float]:
    """What a call gives, its wall seconds and its CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    made = run()
    return made, time.perf_counter() - wall, time.process_time() - cpu


def of_pictures(
    photos: Sequence[np.ndarray], made: Sequence[np.ndarray], fruits: Sequence[np.ndarray]
) -> Row:
    """What every edit is measured by, a value for each photo.

    lab: mean colour inside the photo's fruit. rms, ms_ssim: distances to the photo. ground: rms
    difference to the photo on its ground.
    """
    grounds = [measure.ground_of(fruit) for fruit in fruits]
    pairs = list(zip(made, photos, strict=True))
    return {
        "lab": [measure.mean_lab(p, f).tolist() for p, f in zip(made, fruits, strict=True)],
        "rms": [measure.rms(p, photo) for p, photo in pairs],
        "ms_ssim": [measure.ms_ssim_distance(p, photo) for p, photo in pairs],
        "ground": [measure.rms(p, q, g) for (p, q), g in zip(pairs, grounds, strict=True)],
    }


def changes(row: Row, before: Row, colour: str) -> np.ndarray:
    """How much further each fruit lies toward a colour than before: [n], see measure.toward."""
    pairs = zip(row["lab"], before["lab"], strict=True)
    return np.array([measure.toward(colour, a) - measure.toward(colour, b) for a, b in pairs])


def success(row: Row, change: str) -> list[float]:
    """1 where the edit is what the change asks for, else 0; see measure.reached."""
    return [float(measure.reached(change, at)) for at in row["lab"]]


def mean_and_error(values: Sequence[float], digits: int = 1) -> str:
    """Mean +- standard error."""
    mean, error = measure.mean_error(values)
    return f"{mean:.{digits}f} ± {error:.{digits}f}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (columns, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]])
