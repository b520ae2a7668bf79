"""What editing modes share: the prior and its sampler, jobs in batches, the recipe of a result."""

import dataclasses
import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from sdedit_jax import build, editor, images, parallel, record, strength
from sdedit_jax.build import Sampling
from sdedit_jax.edits.sdedit import Request, SDEdit, proposition_1
from sdedit_jax.prior import Prior
from sdedit_jax.sde import SDE, VE, level
from sdedit_jax.strength import Strength
from sdedit_jax.tasks import TaskInput

OUTPUTS = ("prior", "original")


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


class Session(NamedTuple):
    """A prior ready to edit."""

    config: ConfigDict
    prior: Prior
    params: Any
    plan: SDEdit
    sampling: Sampling
    t0: float

    @property
    def size(self) -> int:
        return self.prior.shape[0]


def open_session(config: ConfigDict) -> Session:
    """Load the prior, settle strength and sampler, and print what will run."""
    check(config)
    use_cache(config.cache)
    devices = parallel.count(config.devices)
    prior = build.load_prior(config.prior, config.compute)
    build.check_label(prior, config.cond)
    prior = build.preset_process(prior, config.preset)
    t0 = strength_of(config, prior)
    sampling = build.sampling(config.sampler.to_dict(), config.preset, t0)
    if sampling.corrector != "none" and sampling.norm == "batch":
        raise ValueError('sampler.norm must be "image" here: a batch norm mixes the pictures')
    plan = build.plan(prior._replace(params=None), sampling)
    session = Session(config, prior, parallel.replicate(prior.params, devices), plan, sampling, t0)
    introduce(session, devices)
    return session


def check(config: ConfigDict) -> None:
    """See that the fields that are used last are fit for use, before any work.

    Raises:
        ValueError: a field out of its range.
    """
    build.pick(dict.fromkeys(OUTPUTS), config.output, "output")
    build.pick(dict.fromkeys(images.FITS), config.fit, "fit")
    least = {"samples": 1, "batch": 1, "feather": 0, "scale": 0}
    for name, bound in least.items():
        if config[name] < bound:
            raise ValueError(f"{name} must be at least {bound}, got {config[name]}")
    for seed in (config.seed, *config.sweep.seeds):
        editor.image_key(seed, "")


def strength_of(config: ConfigDict, prior: Prior) -> float:
    """t0 of the config: of sigma, snr_db or step where one is given, else t0 itself."""
    units = ("sigma", "snr_db", "step")
    given = {unit: config[unit] for unit in units if config[unit] is not None}
    return strength.to_t0(prior.process, **(given or {"t0": config.t0}))


@functools.lru_cache(maxsize=256)
def described(process: SDE, t0: float) -> Strength:
    """`strength.describe`, computed once for all pictures of one strength."""
    return strength.describe(process, t0)


def introduce(session: Session, devices: int) -> None:
    """Print device, prior, strength, rule and evaluations."""
    prior, s = session.prior, session.sampling
    device = jax.local_devices()[0]
    print(
        f"device    {devices} x {device.device_kind} ({device.platform}), {session.config.compute}"
    )
    print(f"prior     {session.config.prior}, sha256 {prior.card.get('sha256', '')[:16]}")
    print(f"process   {process_name(prior)}")
    print(f"strength  {described(prior.process, session.t0)}")
    print(
        f"sampler   {s.rule}, {s.grid} grid, {s.steps} steps x {s.repeats} repeat(s)"
        f" = {session.plan.nfe} evaluations, hold {s.hold}"
    )
    if session.config.preset == "official":
        print("          the official preset runs 1000 t0 steps and compiles anew for each t0")


def process_name(prior: Prior) -> str:
    """The process in a few characters; tables by their length."""
    levels = getattr(prior.process, "log_snrs", None)
    return f"table of {len(levels)} levels" if levels else repr(prior.process)


def use_cache(where: str) -> None:
    """Keep compiled programs in a folder between runs; "auto" is the user's cache folder."""
    if not where:
        return
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "sdedit_jax" / "xla" if where == "auto" else Path(where)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def read_inputs(session: Session) -> tuple[list[tuple[TaskInput, str]], list[str]]:
    """The inputs with their output names, and one line for each that could not be read.

    Raises:
        ValueError: there is no input, or none can be read and the reason is the same for all.
    """
    config = session.config
    make = build.task(config.task)
    paths = images.find_inputs(config.input)
    items, bad, reasons = [], [], set()
    for path, name in zip(paths, images.output_names(paths), strict=True):
        try:
            options = config.options.to_dict()
            items.append((make(str(path), options, session.size, config.fit), name))
        except (ValueError, OSError) as error:
            bad.append(f"{path}: {error}")
            reasons.add(str(error))
    if not items and len(reasons) == 1:
        raise ValueError(reasons.pop())
    return items, bad


def refuse_own_folder(config: ConfigDict, workdir: Path) -> None:
    """Stop before results are put among the inputs, where the next run would take them up.

    Raises:
        ValueError: the input is a folder and the workdir is the same.
    """
    folder = Path(config.input)
    if folder.is_dir() and folder.resolve() == workdir.resolve():
        raise ValueError(f"workdir: {workdir} is the folder of the inputs; give another --workdir")


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
    cond = session.config.cond
    rows = [
        (
            Request(np.float32(j.t0), j.item.guide, None if cond is None else np.int32(cond)),
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
        " on the way; the bound is loose",
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


def plain(config: ConfigDict) -> dict[str, Any]:
    """The config as plain JSON values."""
    return {
        name: plain(value) if isinstance(value, ConfigDict) else value
        for name, value in config.items()
    }


def refuse_existing(files: Sequence[Path], overwrite: bool) -> None:
    """Stop before any work when a result would replace a file.

    Raises:
        ValueError: a file exists and overwrite is off.
    """
    there = [file for file in files if file.exists()]
    if there and not overwrite:
        raise ValueError(
            f"workdir: {there[0]} exists"
            + (f", and {len(there) - 1} more" if len(there) > 1 else "")
            + "; give another --workdir, or --overwrite"
        )


def free_name(file: Path, overwrite: bool) -> Path:
    """The file itself, or with a number where it exists: record.json, record-2.json, .."""
    if overwrite or not file.exists():
        return file
    numbered = (file.with_name(f"{file.stem}-{i}{file.suffix}") for i in range(2, 100_000))
    return next(name for name in numbered if not name.exists())


def sheet_scale(config: ConfigDict, size: int) -> int:
    """Pixels per pixel in sheets."""
    return config.scale or max(1, 128 // size)
