"""--mode=sweep: strength against seed, one sheet for each input, in one compiled program."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import build, images, strength
from sdedit_jax.run.edit import make, report_bad, small, write_record
from sdedit_jax.run.jobs import Done, Job
from sdedit_jax.run.session import (
    UNITS,
    Session,
    described,
    free_name,
    needs,
    open_session,
    read_inputs,
    refuse_existing,
    refuse_own_folder,
    sheet_scale,
)
from sdedit_jax.tasks import TaskInput


def sweep(config: ConfigDict, workdir: Path, overwrite: bool) -> int:
    """Every input at every strength of `sweep.t0` with every seed of `sweep.seeds`.

    Writes <name>_t<t0>_s<seed>.png, <name>_sweep.png, the guides and record.json.
    """
    if "sweep" not in config:
        raise ValueError("config: this one has no sweep; see configs/ for those that edit pictures")
    if config.preset == "official":
        raise ValueError('preset "official" compiles for each t0; a sweep needs another preset')
    if build.takes_share(config.preset):
        raise ValueError(f'preset "{config.preset}" has no t0; a sweep needs another preset')
    if config.sampler.grid in build.LISTED:
        raise ValueError(f'sampler.grid "{config.sampler.grid}" has no t0; a sweep needs another')
    for unit in UNITS:
        if config[unit] is not None:
            raise ValueError(
                f"{unit}: a sweep takes its strengths from sweep.t0, got {config[unit]}"
            )
    if not config.sweep.t0 or not config.sweep.seeds:
        raise ValueError("sweep.t0 and sweep.seeds must not be empty")
    for t0 in config.sweep.t0:
        strength.check_t0(t0)
    for name, form in (("t0", "{:g}"), ("seeds", "{}")):
        values = [form.format(value) for value in config.sweep[name]]
        if len(set(values)) < len(values):
            raise ValueError(f"sweep.{name} must be distinct, got {tuple(config.sweep[name])}")
    refuse_own_folder(config, workdir)
    session = open_session(config, times=config.sweep.t0)
    items, bad = read_inputs(session)
    jobs = [job for item, name in items for job in cells(config, item, name)]
    planned = [workdir / f"{job.name}.png" for job in jobs]
    planned += [workdir / f"{n}_{end}.png" for _, n in items for end in ("guide", "mask", "sweep")]
    refuse_existing(planned, overwrite, needs(config))
    done, failed = make(session, workdir, jobs, overwrite)
    for item, name in items:
        own = [d for d in done if d.job.item is item]
        if own:
            sheet = sweep_sheet(session, item, own)
            images.write_png(workdir / f"{name}_sweep.png", sheet, overwrite=overwrite)
    if done:
        write_record(free_name(workdir / "record.json", overwrite), session, done, overwrite)
    return report_bad(bad + failed)


def cells(config: ConfigDict, item: TaskInput, name: str) -> list[Job]:
    """The jobs of one input, seeds within strengths."""
    places = [(t0, seed) for t0 in config.sweep.t0 for seed in config.sweep.seeds]
    return [
        Job(item, f"{name}_t{t0:g}_s{seed}", t0, seed, 0, f"_t{t0:g}_s{seed}")
        for t0, seed in places
    ]


def sweep_sheet(session: Session, item: TaskInput, done: Sequence[Done]) -> np.ndarray:
    """Rows are seeds, columns strengths with their sigma and mean L2; the guide stands first."""
    times, seeds = session.config.sweep.t0, session.config.sweep.seeds
    at = {(d.job.t0, d.job.seed): d for d in done}
    pictures = {place: small(d.picture) for place, d in at.items()}
    first = item.original if session.config.output == "original" else item.fitted
    rows = [[small(first)] + [pictures.get((t0, seed)) for t0 in times] for seed in seeds]
    labels = ["guide"]
    for t0 in times:
        l2 = np.mean([d.entry["l2"] for d in done if d.job.t0 == t0] or [np.nan])
        sigma = described(session.prior.process, t0).sigma
        labels.append(f"{t0:g} s{sigma:.2g} L2 {l2:.1f}")
    scale = sheet_scale(session.config, rows)
    return images.contact_sheet(rows, [f"seed {seed}" for seed in seeds], labels, scale)
