"""Colour against the scale of a concept, on held-out photos of red fruits; and two ways beside it.

    python experiments/ledits/control.py --data=fruits64.zip [--photos=64] [--table]

LEDITS with one concept at several scales, and with two; text-guided SDEdit and DDIM inversion at
several strengths, and at those that leave each photo as far from itself as LEDITS does.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER.parents[1]), str(FOLDER)]

import measure  # noqa: E402
import results  # noqa: E402
import runs  # noqa: E402
from bench import COLUMNS, Bench, cells, parser, red_ones  # noqa: E402

from sdedit_jax import images  # noqa: E402
from sdedit_jax.pipeline.cache import use_cache  # noqa: E402

STEPS = 20
T0 = 0.64
"""Where LEDITS begins (its preset), and DDIM inversion with it."""
CHANGES = ("+green", "-red", "+yellow", "+black")
SCALES = (3, 7, 12, 20)
USUAL = 7
"""The preset's scale, at which the others are brought to the same faithfulness."""
PAIRS = (("+green", "-red"), ("+green", "+black"))
BESIDE = ("+green", "-red")
"""Changes that SDEdit and DDIM inversion are asked for too."""
T0S = (0.15, 0.3, 0.5, 0.75)
GUIDANCE = 7.5
"""Of SDEdit: the default of sj.text_edit."""
GUIDANCES = (1, 3, 7, 16)
"""Of the way back of DDIM inversion."""


def main() -> None:
    """Measure what is lacking, print the tables."""
    flags = parser(__doc__, "control.jsonl", 64)
    flags.add_argument("--sheet", type=Path, help="also draw some edits of a few photos there")
    args = flags.parse_args()
    use_cache("auto")
    o = runs.opened(args.prior)
    photos = runs.spread(red_ones(args.data), args.photos)
    bench = Bench(o, photos, args.out)
    bench.measure({"method": "autoencoder"}, lambda: bench.states)
    ledits(bench)
    beside(bench, "sdedit", functools.cache(lambda: sdedit(bench)), T0S)
    beside(bench, "ddim", functools.cache(lambda: ddim(bench)), GUIDANCES)
    rows = bench.rows()
    print(tables(rows))
    if args.sheet:
        drawn = Image.fromarray(sheet(bench, rows)).quantize(
            256, kmeans=2, dither=Image.Dither.NONE
        )
        drawn.save(args.sheet, optimize=True)


# --- the ways to edit -----------------------------------------------------------------------------


def key(method: str, change: str, strength: float | str) -> dict[str, Any]:
    """What tells a row of this experiment from the others."""
    return {"method": method, "steps": STEPS, "change": change, "strength": strength}


def ledits(bench: Bench) -> None:
    """One concept at each scale, then pairs at the usual one; inverted without a source text."""
    edit = functools.cache(lambda: ledits_edit(bench))
    for change in CHANGES:
        for scale in SCALES:
            concept = f"{change}:{scale}"
            bench.measure(key("ledits", change, scale), lambda c=concept: edit()(c, 1))
    for pair in PAIRS:
        both = ",".join(f"{change}:{USUAL}" for change in pair)
        bench.measure(key("ledits", ",".join(pair), USUAL), lambda c=both: edit()(c, 2))


def ledits_edit(bench: Bench) -> Callable[[str, int], np.ndarray]:
    """(concepts, slots) -> latents, from one inversion of all photos."""
    way = runs.ledits(bench.o, "ledits", steps=STEPS)
    asked = functools.partial(runs.requests, bench.o, way, bench.photos, bench.states)
    inverted = way.invert(asked(), bench.keys)
    return lambda concepts, slots: way.replay(asked(concepts, slots=slots), inverted)


def texts(bench: Bench, change: str) -> list[tuple[str, str]]:
    """What the text and the negative text say to an editor without concepts."""
    sign, colour = change[0], change[1:]
    if sign == "+":
        return [(f"a photo of a {colour} {photo.noun}", "") for photo in bench.photos]
    articles = {"apple": "an"}
    return [(f"{articles.get(p.noun, 'a')} {p.noun}", colour) for p in bench.photos]


def sdedit(bench: Bench) -> Callable[[str, Sequence[float]], np.ndarray]:
    """(change, t0 of each photo) -> latents."""
    run = runs.text_sdedit(bench.o, STEPS)

    def edit(change: str, t0s: Sequence[float]) -> np.ndarray:
        conds = runs.text_conds(bench.o, texts(bench, change), [GUIDANCE] * len(bench.photos))
        return run(runs.sdedit_requests(bench.states, t0s, conds), bench.keys)

    return edit


def ddim(bench: Bench) -> Callable[[str, Sequence[float]], np.ndarray]:
    """(change, guidance of each photo) -> latents, from one inversion of all photos."""
    way = runs.ledits(bench.o, "ddim-inversion", steps=STEPS, t0=T0)
    asked = functools.partial(runs.requests, bench.o, way, bench.photos, bench.states, slots=0)
    inverted = way.invert(asked(), bench.keys)

    def edit(change: str, scales: Sequence[float]) -> np.ndarray:
        prompts = texts(bench, change) if change else None
        return way.replay(asked(prompts=prompts, scales=list(scales)), inverted)

    return edit


def beside(bench: Bench, method: str, start: Callable[[], Any], strengths: Sequence[float]) -> None:
    """Another way to edit at each strength, and as far from each photo as LEDITS at USUAL."""
    n = len(bench.photos)
    if method == "ddim":  # how well its way back leads to the photo when nothing is asked for
        bench.measure(key(method, "", 1), lambda: start()("", [1.0] * n))
    for change in BESIDE:
        found = [
            bench.measure(key(method, change, s), lambda c=change, s=s: start()(c, [s] * n))
            for s in strengths
        ]
        ours = next(results.fitting(bench.rows(), **key("ledits", change, USUAL)))
        away = np.array([row["rms"] for row in found]).T
        same = [
            measure.strength_at(strengths, row, wanted)
            for row, wanted in zip(away, ours["rms"], strict=True)
        ]
        row = key(method, change, "matched")
        bench.measure(row, lambda c=change, s=same: start()(c, s), strengths=same)


# --- what came out --------------------------------------------------------------------------------


def tables(rows: Sequence[results.Row]) -> str:
    """All tables in Markdown."""
    plain = next(results.fitting(rows, method="autoencoder"))
    return "\n\n".join([by_scale(rows, plain), order(rows, plain), isolation(rows, plain)])


def by_scale(rows: Sequence[results.Row], plain: results.Row) -> str:
    """A line for each edit with one concept."""
    lines = []
    for row in rows:
        change = row.get("change", "")
        if "," not in change:
            edit = [row["method"], change or "nothing", str(row.get("strength", ""))]
            lines.append(edit + (cells(row, plain, change) if change else nothing(row, plain)))
    return results.table(("method", "change", "strength", *COLUMNS), lines)


def nothing(row: results.Row, plain: results.Row) -> list[str]:
    """What a table says where nothing was asked for."""
    return [*["-"] * 2, *cells(row, plain, CHANGES[0])[2:]]


def order(rows: Sequence[results.Row], plain: results.Row) -> str:
    """How well the colour follows the strength, photo by photo."""
    lines = []
    for method, change in sorted({(r["method"], r["change"]) for r in rows if "change" in r}):
        found = [r for r in results.fitting(rows, method=method, change=change)]
        found = [r for r in found if r["strength"] != "matched"]
        if not change or "," in change or len(found) < 3:
            continue
        rho = orders(found, plain, change)
        share = 100 * np.mean(np.array(rho) > 1 - 1e-9)
        lines.append([method, change, results.mean_and_error(rho, 2), f"{share:.0f}"])
    columns = ("method", "change", "Spearman's rho", "photos in perfect order, %")
    return results.table(columns, lines)


def orders(rows: Sequence[results.Row], plain: results.Row, change: str) -> list[float]:
    """Spearman's rho of strength and change of colour for each photo, strength 0 among them."""
    sign = -1 if change[0] == "-" else 1
    moved = [results.changes(row, plain, change[1:]) for row in (plain, *rows)]
    strengths = [0, *(row["strength"] for row in rows)]
    return [measure.spearman(strengths, sign * column) for column in np.array(moved).T]


def isolation(rows: Sequence[results.Row], plain: results.Row) -> str:
    """Lab changes of concepts alone, together, and the sum of those alone."""
    lines, usual = [], functools.partial(results.fitting, rows, method="ledits", strength=USUAL)
    for row in usual():
        moved = np.array(row["lab"]) - plain["lab"]
        lines.append([row["change"], *map(results.mean_and_error, moved.T)])
    for pair in PAIRS:
        alone = [np.array(next(usual(change=change))["lab"]) - plain["lab"] for change in pair]
        lines.append(
            [f"sum of {pair[0]} and {pair[1]} alone", *map(results.mean_and_error, sum(alone).T)]
        )
    return results.table(("concepts", "L*", "a*", "b*"), lines)


def sheet(bench: Bench, rows: Sequence[results.Row], count: int = 4) -> np.ndarray:
    """A few photos, below each other what the ways to edit make of them."""
    chosen = np.unique(np.linspace(0, len(bench.photos) - 1, count).round().astype(int))
    few = Bench(bench.o, [bench.photos[i] for i in chosen], bench.out)
    edit, text, back = ledits_edit(few), sdedit(few), ddim(few)
    rest = {change: max(SCALES) for change in CHANGES[1:]}
    concepts = [f"{CHANGES[0]}:{s}" for s in (USUAL, max(SCALES))]
    concepts += [f"{change}:{scale}" for change, scale in rest.items()]
    concepts.append(",".join(f"{change}:{USUAL}" for change in PAIRS[1]))
    states = {"autoencoder": few.states, **{c: edit(c, 1 + ("," in c)) for c in concepts}}
    for method, way in (("sdedit", text), ("ddim", back)):
        row = next(results.fitting(rows, **key(method, CHANGES[0], "matched")))
        name = f"{CHANGES[0]}, {method} as far as scale {USUAL}"
        states[name] = way(CHANGES[0], [row["strengths"][i] for i in chosen])
    drawn = [few.images, *(list(runs.pictures(few.o, made)) for made in states.values())]
    return images.contact_sheet(drawn, ["photo", *states])


if __name__ == "__main__":
    main()
