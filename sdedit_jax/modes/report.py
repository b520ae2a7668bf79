"""report.html of a run: each result beside its guide, with its distances and its recipe."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sdedit_jax import images, provenance
from sdedit_jax.diffusion.strength import Strength
from sdedit_jax.evaluation.report import MOST, Picture, Report, Row, render
from sdedit_jax.modes import files
from sdedit_jax.modes.files import Target
from sdedit_jax.modes.jobs import Done
from sdedit_jax.modes.session import Kind, leads
from sdedit_jax.modes.uncertainty import Spread
from sdedit_jax.pipeline.outputs import on_background
from sdedit_jax.priors.prior import describe
from sdedit_jax.text.spelling import counted

SMALL = 256
"""Pixels of the longer side up to which pictures are stored without loss."""

LARGEST = 768
"""Pixels of the longer side of larger pictures, which are stored with loss."""

L2, RMS = "L2", "RMS"
OUTSIDE = "outside the mask (levels)"
FREE = "RMS where it may change"
LPIPS = "LPIPS where it may change"
BACK = "RMS of the reconstruction"
VARIED = ("t0", "scale")
"""Numbers that are shown where results differ in them."""

NUMBERS = (*VARIED, L2, RMS, FREE, LPIPS, BACK, OUTSIDE, "evaluations", "time (s)")

NOTES = {
    L2: "L2 is the Euclidean distance of a result from its guide, with values in [0, 1].",
    RMS: "RMS is the same distance as a root mean square over pixels and channels.",
    OUTSIDE: "Outside the mask: the largest change of a kept pixel, of 255 grey levels.",
    BACK: "The reconstruction is the edit without concepts and prompts; its RMS is to the photo.",
}


def of_edits(
    kind: Kind, done: Sequence[Done], target: Target, name: str, spread: Spread | None = None
) -> Path:
    """Write report.html: all results of a run, at most MOST of them with pictures.

    Args:
        name: of the file.
        spread: the uncertainty of the inputs.
    """
    measured = [numbers(one) for one in done]
    shown = {one.job.name for one in files.spread(done, MOST)}
    rows = [
        Row(
            one.job.name, *pictures(kind, one, spread, one.job.name in shown), own, text(one),
            provenance.dumps(one.recipe, sort_keys=True, indent=1), command(one, target),
        )
        for one, own in zip(done, measured, strict=True)
    ]  # fmt: skip
    names = columns(measured)
    notes = [note for name, note in NOTES.items() if name in names]
    if len(done) > MOST:
        notes.append(f"{MOST} of {counted(len(done), 'result')} have pictures.")
    title = f"{counted(len(done), 'edit')} with {kind.config.prior}"
    page = Report(title, facts(kind, done), (), (), rows, names, notes)
    return target.text(name, render(page))


def numbers(done: Done) -> dict[str, float]:
    """The numbers of a result, by the names of NUMBERS."""
    entry = done.entry
    found = {
        "t0": done.recipe["strength"]["t0"],
        "scale": entry.get("scale"),
        L2: entry.get("l2"),
        RMS: entry.get("rms"),
        FREE: entry.get("target_l2", {}).get("distance"),
        LPIPS: entry.get("target_lpips", {}).get("distance"),
        BACK: entry.get("reconstruction", {}).get("rms"),
        OUTSIDE: entry.get("max_change_outside_mask") if masked(done) else None,
        "evaluations": entry.get("evaluations"),
        "time (s)": entry["seconds"],
    }
    return {name: value for name, value in found.items() if value is not None}


def masked(done: Done) -> bool:
    """Whether the mask of a result keeps a pixel."""
    return done.job.input.masked


def columns(measured: Sequence[Mapping[str, float]]) -> list[str]:
    """The numbers that the results have, without those of VARIED that are the same in all."""
    every = {name: {own[name] for own in measured if name in own} for name in NUMBERS}
    return [name for name, found in every.items() if len(found) > (name in VARIED)]


def pictures(
    kind: Kind, done: Done, spread: Spread | None, shown: bool
) -> tuple[Picture | None, Picture | None, tuple[Picture, ...]]:
    """What a result is compared with, the result, and further pictures of its row on a sheet.

    Args:
        shown: whether there are any.
    """
    if not shown:
        return None, None, ()
    one = done.job.input
    beside = leads(kind, one, done.made)
    mask = beside.get("mask")
    if mask is not None and (mask == 255).all():
        del beside["mask"]
    if spread is not None:
        beside[spread.column] = spread.picture(one.name)
    first = "input" if kind.config.output == "original" else "guide"
    found: dict[bytes, str] = {}
    for label, own in sorted(beside.items(), key=lambda lead: lead[0] != first):
        if own is not None:
            found.setdefault(encoded(own), label)  # equal pictures once
    before, *others = [Picture(label, data) for data, label in found.items()] or [None]
    result = Picture("result", encoded(on_background(done.made.output.picture, one.background)))
    return before, result, tuple(others)


def encoded(picture: np.ndarray) -> bytes:
    """A picture as a PNG, or as a WebP of at most LARGEST pixels a side where it is large."""
    if max(picture.shape[:2]) <= SMALL:
        return images.png(picture)
    return images.webp(images.thumbnail(picture, LARGEST))


def text(done: Done) -> str:
    """The prompts of a result in one line."""
    prompts = done.recipe.get("prompts") or {}
    change = " → ".join(filter(None, map(prompts.get, ("source_prompt", "prompt"))))
    against = prompts.get("negative_prompt")
    parts = [change, f"not {against}" if against else "", *prompts.get("concepts", ())]
    return ", ".join(filter(None, parts))


def command(done: Done, target: Target) -> str:
    """The command that makes a result again."""
    file = shlex.quote(f"--config.input={target.folder / done.entry['file']}")
    return f"sdedit --mode=replay {file}"


def facts(kind: Kind, done: Sequence[Done]) -> dict[str, str]:
    """What all results of a run share."""
    config, recipe = kind.config, done[0].recipe
    environment, sampler = recipe["environment"], recipe["sampler"]
    versions = environment["versions"]
    times = {one.recipe["strength"]["t0"] for one in done}
    strength = str(Strength(**recipe["strength"]))
    inputs = len({one.job.input.name for one in done})
    labels = ", ".join(f"{name} {value:g}" for name, value in (recipe.get("class") or {}).items())
    grid = f", {sampler['grid']} grid" if sampler["grid"] else ""
    repeats = f", {counted(sampler['repeats'], 'repeat')}" if sampler["repeats"] > 1 else ""
    return {
        "prior": f"{config.prior}, sha256 {recipe['prior']['sha256'][:16]}",
        "process": describe(kind.prior.process),
        "task": recipe["task"],
        **({"class": labels} if labels else {}),
        "strength": strength if len(times) == 1 else f"t0 {min(times):.4g} to {max(times):.4g}",
        "sampler": f"{sampler['rule']}{grid}, {counted(sampler['steps'], 'step')}{repeats}",
        "data": f"{config.input}, {counted(inputs, 'input')}, {counted(len(done), 'result')}",
        "device": f"{environment['device']} ({environment['platform']}), {config.compute}",
        "version": f"sdedit_jax {versions['sdedit_jax']}, jax {versions['jax']}",
    }
