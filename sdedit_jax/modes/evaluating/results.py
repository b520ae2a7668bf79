"""The results of an evaluation: results.json, results.md, plots and report.html."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sdedit_jax import images
from sdedit_jax.evaluation import identity, summary
from sdedit_jax.evaluation.summary import Collected
from sdedit_jax.modes.edit import report as failures
from sdedit_jax.modes.evaluating import numbers, reference, report
from sdedit_jax.modes.evaluating.batches import Run
from sdedit_jax.modes.files import Target
from sdedit_jax.priors.prior import describe

FILES = ("results.json", "results.md", "report.html", "distances.png", "measures.png")
PLOTS = ("distances.png", "measures.png")
SHOWN = 20
"""Failures that are printed; all are in results.json."""


def write(run: Run, target: Target) -> int:
    """Write the results; 1 if pictures failed. Without any edit, results.json alone."""
    found = summary.collect(
        run.store, run.digest, run.expected, [one.name for one in run.measures.extractors]
    )
    base, bad = reference.features(run)
    body = results(run, found, base, bad)
    target = target._replace(overwrite=True)
    target.json("results.json", body)
    if not found.ids:
        return failures(reasons(found, bad))
    drawn = report.draw(body, found)
    for name, plot in zip(PLOTS, drawn, strict=True):
        if plot is not None:
            target.png(name, plot)
    report.write(run, target, body, found, drawn)
    text = table(body)
    images.write_bytes(target.folder / "results.md", text.encode(), overwrite=True)
    print(text)
    print(f"results   {target.folder / 'results.json'}")
    return failures(reasons(found, bad))


def reasons(found: Collected, bad: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each of the first pictures that failed."""
    lines = [f"{one['id']}: {one['failed']}" for one in [*bad, *found.failed]]
    return lines[:SHOWN] + ["..."] * (len(lines) > SHOWN)


def with_failures(run: Run) -> list[int]:
    """The finished shards in which edits failed."""
    return [k for k in run.store.finished if any("failed" in line for line in run.shard(k).lines)]


def results(
    run: Run,
    found: Collected,
    base: Mapping[str, np.ndarray] | None,
    bad: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The body of results.json."""
    measures, facts = run.config.measures, numbers.facts(run)
    return {
        "run": run.digest,
        "data": {"name": run.data.name, "pictures": len(run.data), "sha256": run.data.digest},
        "prior": {n: run.kind.prior.metadata.get(n, "") for n in ("name", "sha256")},
        "process": describe(run.kind.prior.process),
        "config": run.identity["config"],
        "code": identity.code(),
        "edits": {"planned": run.plan.edits, "made": len(found.ids), "failed": len(found.failed)},
        "measures": {
            name: {**average, **facts.get(name, {})}
            for name, average in summary.averages(found).items()
        },
        "sets": summary.of_sets(
            found, run.measures.extractors, base, measures.subsets, measures.subset_size
        ),
        **numbers.proposition(found.numbers),
        "failed": [*found.failed, *bad],
    }


def table(body: Mapping[str, Any]) -> str:
    """The numbers as tables in Markdown."""
    edits = body["edits"]
    lines = [
        f"# {body['data']['name']}, {body['prior']['name']}",
        "",
        f"{edits['made']} edits of {body['data']['pictures']} pictures; {edits['failed']} failed.",
        "",
        "| measure | mean | standard error | unit | better |",
        "|---|---:|---:|---|---|",
    ]
    for name, one in report.listed(body).items():
        numbers = f"{_number(one['mean'])} | {_number(one['error'])}"
        lines.append(f"| {name} | {numbers} | {one.get('unit', '')} | {one.get('better', '')} |")
    lines += ["", f"| {' | '.join(report.COLUMNS)} |", "|---|---|---:|---:|---:|---:|---:|"]
    for features, name, *numbers in report.distances(body):
        lines.append(f"| {features} | {name} | {' | '.join(map(_number, numbers))} |")
    left_out = report.left_out(body)
    return "\n".join([*lines, *([""] if left_out else []), *left_out]) + "\n"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
