"""report.html and the plots of an evaluation."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sdedit_jax import images, provenance
from sdedit_jax.evaluation import shards
from sdedit_jax.evaluation.report import MOST, Picture, Plot, Report, Row, Table, render
from sdedit_jax.evaluation.summary import Collected
from sdedit_jax.modes.evaluating.batches import Reader, Run, file_name
from sdedit_jax.modes.evaluating.numbers import PROPOSITION
from sdedit_jax.modes.files import Target, spread
from sdedit_jax.pipeline.base import total_evaluations
from sdedit_jax.tasks.examples import fitted_photo
from sdedit_jax.text.spelling import counted

NOTE = (
    "KID is taken over pairs of different ids, because an edit is like its own photo. KID on the"
    " features of hand and of a prior's network does not compare with published numbers."
)


UNPACK = (
    "A replay needs the picture as a file: the command of the evaluation with --config.unpack=all"
    " writes all of them, with --config.unpack=ID those of an id."
)
FEW = 10
LISTED = 5000
"""Edits in the report, at equal distances among all."""


class Drawn(NamedTuple):
    """The plots of an evaluation, uint8 [H, W, 3]: distances of sets, histograms of measures."""

    distances: np.ndarray | None
    measures: np.ndarray | None


def draw(body: Mapping[str, Any], found: Collected) -> Drawn:
    """The plots of results."""
    groups = {
        name: {s: (one["kid_apart"]["value"], one["kid_apart"]["error"]) for s, one in own.items()}
        for name, sets in body["sets"].items()
        if (own := {s: one for s, one in measured(sets).items() if "kid_apart" in one})
    }
    finite = {name: found.numbers[name][np.isfinite(found.numbers[name])] for name in listed(body)}
    series = {name: rows for name, rows in finite.items() if len(rows)}
    units = {name: with_unit(name, body["measures"][name]) for name in series}
    return Drawn(
        images.bars(groups, "KID") if groups else None,
        images.histograms(series, units) if series else None,
    )


def measured(sets: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The sets that have a distance."""
    return {name: one for name, one in sets.items() if not isinstance(one, str)}


def listed(body: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The measures that tables show: not the two sides of a bound, nor those that no edit has."""
    every = body["measures"].items()
    return {name: one for name, one in every if name not in PROPOSITION and one["edits"]}


def left_out(body: Mapping[str, Any]) -> list[str]:
    """Why sets have no distance, and how often the bound of Proposition 1 holds."""
    lines = [
        f"left out  {features}, {name}: {why}"
        for features, sets in body["sets"].items()
        for name, why in sets.items()
        if isinstance(why, str)
    ]
    if 0 < body["edits"]["made"] and body["data"]["pictures"] < FEW:
        lines.append(f"Distances of sets of fewer than {FEW} pictures mean little.")
    if "proposition_1" in body:
        lines.append(
            f"Proposition 1 of the paper holds for {body['proposition_1']:.1%} of the edits."
        )
    return lines


def with_unit(name: str, facts: Mapping[str, Any]) -> str:
    """The name of a measure, with its unit."""
    unit = facts.get("unit")
    return f"{name} ({unit})" if unit else name


def write(
    run: Run, target: Target, body: Mapping[str, Any], found: Collected, drawn: Drawn
) -> None:
    """Write report.html: all edits, `report_rows` of them with pictures."""
    rows_of = spread(range(len(found.ids)), LISTED)
    shown = set(spread(rows_of, min(run.config.report_rows, MOST)))
    columns = {name: with_unit(name, one) for name, one in listed(body).items()}
    rows = [
        Row(name, before, after, others, {t: numbers[n] for n, t in columns.items()}, "", *recipe)
        for name, before, after, others, numbers, recipe in _rows(
            run, target, found, rows_of, shown
        )
    ]
    plots = {"Distances of sets from the reference, with standard errors": drawn.distances}
    plots["Measures of the edits"] = drawn.measures
    page = Report(
        f"Evaluation: {run.data.name} with {run.kind.prior.metadata.get('name') or 'a prior'}",
        facts(run, body),
        list(tables(body)),
        [Plot(name, images.png(plot)) for name, plot in plots.items() if plot is not None],
        rows,
        list(columns.values()),
        [
            NOTE,
            UNPACK,
            *left_out(body),
            f"{len(rows)} of {len(found.ids)} edits are listed, {len(shown)} with pictures.",
        ],
    )
    images.write_bytes(target.folder / "report.html", render(page).encode(), overwrite=True)


def _rows(
    run: Run, target: Target, found: Collected, rows: Sequence[int], shown: set[int]
) -> Iterator[tuple]:
    last, reader, inputs = {}, Reader(run), {id: row for row, id in enumerate(run.data.ids)}
    wanted = {(found.ids[i], found.samples[i]) for i in shown}
    for i in rows:
        id, sample, shard = found.ids[i], found.samples[i], found.shards[i]
        numbers = {name: float(values[i]) for name, values in found.numbers.items()}
        numbers = {name: value if np.isfinite(value) else None for name, value in numbers.items()}
        name = f"{file_name(id)}_{sample}"
        if i not in shown:
            yield name, None, None, (), numbers, ("", "")
            continue
        if last.get("shard") != shard:
            header, _ = own = run.shard(shard)
            made = {(line["id"], line["sample"]): (line, picture) for line, picture
                    in run.store.pictures(shard, own)
                    if (line["id"], line["sample"]) in wanted}  # fmt: skip
            last = {"shard": shard, "header": header, "made": made}
        line, result = last["made"][id, sample]
        recipe = provenance.dumps(shards.recipe_of(last["header"], line), sort_keys=True, indent=1)
        given = reader.one(inputs[id])
        before, others = _inputs(given)
        command = f"sdedit --mode=replay {_file(target, name)}"
        yield name, before, Picture("edit", images.png(result)), others, numbers, (recipe, command)


def _inputs(given: Any) -> tuple[Picture | None, tuple[Picture, ...]]:
    """The guide of an edit, and its photo and mask where these differ from it."""
    if isinstance(given, str):
        return None, ()
    item = given.input.item
    others = []
    photo = fitted_photo(item)
    if (photo != item.fitted).any():
        others.append(Picture("photo", images.png(photo)))
    if (item.mask < 1).any():
        others.append(Picture("mask", images.png(images.to_levels(item.mask))))
    return Picture("guide", images.png(item.fitted)), tuple(others)


def _file(target: Target, name: str) -> str:
    """The flag that names an unpacked edit."""
    return shlex.quote(f"--config.input={target.folder / 'pictures' / (name + '.png')}")


def facts(run: Run, body: Mapping[str, Any]) -> dict[str, str]:
    """What all edits share."""
    edits, prior = body["edits"], body["prior"]
    lines = dict(line.split(None, 1) for line in run.kind.lines([]) if line[:1].strip())
    return {
        "data": f"{body['data']['name']}, {counted(body['data']['pictures'], 'picture')}",
        "edits": f"{edits['made']} made, {edits['failed']} failed",
        "prior": f"{prior['name']}, sha256 {prior['sha256'][:16]}",
        "process": str(body["process"]),
        **lines,
        "evaluations": str(total_evaluations(run.kind.pipeline(run.kind.shapes([])))),
        "run": f"{body['run']}, code {body['code']}",
    }


def tables(body: Mapping[str, Any]) -> Iterator[Table]:
    """The means of the measures, and the distances of sets."""
    rows: list[Sequence[Any]] = [
        (with_unit(name, one), one["mean"], one["error"], one.get("better", ""))
        for name, one in listed(body).items()
    ]
    yield Table("Means over the edits", ("measure", "mean", "standard error", "better"), rows)
    yield Table("Distances of sets from the reference", COLUMNS, list(distances(body)))


COLUMNS = ("features", "set", "KID", "standard error", "KID of subsets", "spread", "FID")


def distances(body: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
    """The distances of sets, a row of COLUMNS each."""
    for name, sets in body["sets"].items():
        for part, one in measured(sets).items():
            apart, kid = one.get("kid_apart", {"value": None, "error": None}), one["kid"]
            values = (apart["value"], apart["error"], kid["value"], kid["spread"])
            yield name, part, *values, one["fid"]["value"]
