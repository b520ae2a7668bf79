"""Jobs in batches: run, pasted, measured, each with the recipe by which it can be replayed."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from sdedit_jax import editor, images, parallel, record
from sdedit_jax.edits.sdedit import Request, proposition_1
from sdedit_jax.run.session import Session, described, labels, plain
from sdedit_jax.sde import VE, level
from sdedit_jax.strength import Strength
from sdedit_jax.tasks import TaskInput


class Job(NamedTuple):
    """One picture to make: an input, its output name, and what makes this picture its own."""

    item: TaskInput
    name: str
    t0: float
    seed: int
    sample: int
    cut: str = ""  # what the output name adds to the name of the guide beside it

    @property
    def stem(self) -> str:
        """What the names of the guide and its results have in common."""
        return self.name.removesuffix(self.cut)


class Done(NamedTuple):
    """A finished job: the picture uint8, its measurements and its recipe."""

    job: Job
    picture: np.ndarray
    entry: dict[str, Any]
    recipe: dict[str, Any]


class Failed(NamedTuple):
    """A job that gave no picture."""

    job: Job
    reason: str


def run_jobs(session: Session, jobs: Sequence[Job]) -> Iterator[Done | Failed]:
    """Edit all jobs, `config.batch` at a time, in one compiled program.

    Raises:
        ValueError: the device fails, as it does for want of memory.
    """
    try:
        yield from batches(session, jobs)
    except jax.errors.JaxRuntimeError as error:
        text = str(error).strip().splitlines()[0]
        rows = min(session.config.batch, len(jobs))
        raise ValueError(
            f"batch: the device failed with {rows} picture(s) at a time ({text});"
            " a smaller --config.batch needs less memory"
        ) from None


def batches(session: Session, jobs: Sequence[Job]) -> Iterator[Done | Failed]:
    """The jobs batch by batch, the last one filled up."""
    rows = min(session.config.batch, len(jobs))
    compiled = None
    for start in range(0, len(jobs), rows):
        batch = list(jobs[start : start + rows])
        padded = batch + [batch[-1]] * (rows - len(batch))
        request, keys = requests(session, padded)
        if compiled is None:
            compiled = editor.compile_editor(
                session.plan, session.params, request, keys, session.config.devices
            )
            print(f"compiled  {compiled.seconds:.1f} s for {rows} picture(s) at a time")
        yield from run_batch(session, compiled, batch, request, keys)


def run_batch(
    session: Session, compiled: editor.Editor, batch: Sequence[Job], request: Request, keys: Any
) -> Iterator[Done | Failed]:
    """The rows of one batch, measured and pasted."""
    with tqdm(total=session.plan.nfe, unit="eval", leave=False, mininterval=0.5) as bar:
        edited = editor.run(compiled, session.params, request, keys, bar.update)
        seconds = bar.format_dict["elapsed"] / len(batch)
    for row, job in enumerate(batch):
        if not np.isfinite(edited.image[row]).all():
            yield Failed(job, "the prior gave values that are not finite (NaN or infinity)")
            continue
        place = {"rows": compiled.rows, "row": row, "devices": compiled.devices}
        yield finished(session, job, edited.image[row], float(edited.score_sq[row]), place, seconds)


def requests(session: Session, jobs: Sequence[Job]) -> tuple[Request, Any]:
    """The jobs as one batched request and their keys."""
    rows = [
        (
            Request(np.float32(j.t0), j.item.guide, session.cond_of(j.item.id)),
            editor.image_key(j.seed, j.item.id, j.sample),
        )
        for j in jobs
    ]
    return parallel.stack([r for r, _ in rows]), jnp.stack([k for _, k in rows])


def finished(
    session: Session, job: Job, image: np.ndarray, c: float, place: dict, seconds: float
) -> Done:
    """Paste what is kept, measure, and write down the recipe."""
    item, config = job.item, session.config
    result = images.from_unit(image)
    free = (item.mask > 0).astype(np.float32)
    pasted = images.paste(result, item.fitted, free, config.feather)
    shown = pasted
    if config.output == "original":
        wide = (item.original_mask > 0).astype(np.float32)
        shown = images.unfit(result, item.original, wide, item.placement, config.feather)
    told = described(session.prior.process, job.t0)
    entry = measured(item, pasted, shown, config.output) | {
        "id": item.id,
        "seed": job.seed,
        "sample": job.sample,
        "strength": told._asdict(),
        "seconds": round(seconds, 3),
        "proposition_1": bound(session, item, image, told, c),
    }
    if session.texts:
        entry["text"] = session.texts.told(item.id)
    return Done(job, shown, entry, recipe(session, job, shown, told, place))


def measured(
    item: TaskInput, pasted: np.ndarray, shown: np.ndarray, output: str
) -> dict[str, float]:
    """Distances of a result: L2 to the guide on [0, 1] values, largest change of kept pixels."""
    away = (pasted.astype(np.float64) - item.fitted) / 255
    kept, before, after = item.mask == 0, item.fitted, pasted
    if output == "original":
        kept, before, after = item.original_mask == 0, item.original, shown
    change = np.abs(after.astype(int) - before)[kept]
    return {
        "l2": float(np.sqrt(np.sum(away**2))),
        "rms": float(np.sqrt(np.mean(away**2))),
        "max_change_outside_mask": int(change.max(initial=0)),
    }


def bound(
    session: Session, item: TaskInput, image: np.ndarray, told: Strength, c: float
) -> dict[str, Any] | str:
    """Proposition 1 of the paper beside what was realised, where the paper states it."""
    whole = bool((item.mask == 1).all())
    if not isinstance(session.prior.process, VE) or session.sampling.repeats > 1 or not whole:
        return "the paper states none for this run: it is for VE, one repeat and no mask"
    sigma = float(level(session.prior.process, told.t0)[1]) if told.t0 else 0.0
    distance = float(np.sum((image.astype(np.float64) - item.guide.image) ** 2))
    limit = proposition_1(sigma, c, image.size)
    return {
        "delta": 0.05,
        "bound": limit,
        "distance": distance,
        "C": c,
        "note": "squared distance in [-1, 1] units; C is the largest squared norm of the score met"
        " at the beginning of a step; the bound is loose",
    }


def recipe(session: Session, job: Job, shown: np.ndarray, told: Strength, place: dict) -> dict:
    """All that a replay needs to make this picture again and to know that it is the same."""
    item, card = job.item, session.prior.card
    return {
        "format": 1,
        "config": plain(session.config),
        "id": item.id,
        "seed": job.seed,
        "sample": job.sample,
        "cut": job.cut,
        "strength": told._asdict(),
        "class": labels(session.cond),
        "text": session.texts.told(item.id) if session.texts else None,
        "sampler": dataclasses.asdict(session.sampling),
        "size": list(item.fitted.shape),
        "prior": {"name": card.get("name", ""), "sha256": card.get("sha256", "")},
        "guide": {"sha256": record.digest(item.fitted)},
        "mask": {"sha256": record.digest(np.round(item.mask * 255).astype(np.uint8))},
        "original": {"sha256": record.digest(item.original)},
        "picture": {"sha256": record.digest(shown)},
        "place": place,
        "environment": record.environment(session.config.compute),
    }
