"""--mode=doctor: checks of this machine, the priors, the sampler and an edit."""

import math
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import devices, provenance
from sdedit_jax.caution import warn
from sdedit_jax.files.paths import shown
from sdedit_jax.files.wording import one_line
from sdedit_jax.images import size_text
from sdedit_jax.modes import jobs, kinds, listing
from sdedit_jax.modes.files import Target, check_writable, list_inputs
from sdedit_jax.modes.session import Job, Kind, check_work, device_errors, header
from sdedit_jax.pipeline import executor, known_answer
from sdedit_jax.pipeline.base import Finished
from sdedit_jax.pipeline.cache import use_cache
from sdedit_jax.pipeline.memory import needs
from sdedit_jax.registry import bounds, included
from sdedit_jax.text.spelling import bytes_text, counted
from sdedit_jax.weights import load, store

PACKAGES = ("jax", "jaxlib", "flax", "orbax-checkpoint")
LONGEST = 10.0
"""Seconds of an edit that is run twice."""


class Failure(NamedTuple):
    """A check that failed."""

    message: str


Lines = Iterator[str | Failure]
Check = Callable[[ConfigDict], Lines]


def doctor(config: ConfigDict, target: Target | None) -> int:
    """Check the machine, the priors, and an edit of the config; writes nothing.

    Returns:
        0 if all is well, else 1.

    Raises:
        ValueError: the config edits no pictures.
    """
    del target
    if "input" not in config:
        raise ValueError("config: --mode=doctor needs a config that edits pictures, such as base")
    failed: list[str] = []
    for check in CHECKS:
        for line in guarded(check, config):
            if isinstance(line, str):
                print(line, flush=True)
            elif line.message not in failed:  # a damaged prior fails twice
                failed.append(line.message)
    print(
        f"result    {counted(len(failed), 'check')} failed" if failed else "result    all is well"
    )
    sys.stdout.flush()
    for message in failed:
        print(f"error: {one_line(message)}", file=sys.stderr)
    return 1 if failed else 0


def guarded(check: Check, config: ConfigDict) -> Lines:
    """The lines of a check; an error that ends it is a failure."""
    try:
        yield from check(config)
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        yield Failure(str(error))
    except jax.errors.JaxRuntimeError as error:
        yield Failure(f"devices: {error}")


# --- the machine ----------------------------------------------------------------------------------


def machine(config: ConfigDict) -> Lines:
    """Versions, devices, precision, folders."""
    own, numpy = (f"{name} {provenance.version(name)}" for name in ("sdedit_jax", "numpy"))
    yield f"versions  {own}, python {platform.python_version()}, {numpy}"
    yield f"          {', '.join(f'{name} {provenance.version(name)}' for name in PACKAGES)}"
    yield f"platform  {platform.system()} {platform.release()}, {platform.machine()}"
    count = devices.count(config.devices)
    first = jax.local_devices()[0]
    yield f"device    {count} x {first.device_kind} ({first.platform}), {memory_text(count)}"
    matmul = jax.config.jax_default_matmul_precision or "default"
    double = "on" if jax.config.jax_enable_x64 else "off"
    yield f"precision compute {config.compute}, matmul {matmul}, x64 {double}"
    use_cache(config.cache)
    folder = jax.config.jax_compilation_cache_dir
    yield f"cache     {cache_text(Path(folder))}" if folder else "cache     none"
    yield f"disk      {free_text(Path())} in the current folder"


def memory_text(count: int) -> str:
    """The memory of each device."""
    found = devices.memory(count)
    if found is None:
        return "memory not known"
    each = " each" if count > 1 else ""
    return f"memory {bytes_text(found.free)} free of {bytes_text(found.total)}{each}"


def cache_text(folder: Path) -> str:
    """The folder of compiled programs; a warning where it cannot be written."""
    sizes = [file.stat().st_size for file in folder.iterdir() if file.is_file()]
    own = f"{shown(folder)}, {counted(len(sizes), 'file')}, {bytes_text(sum(sizes))}"
    try:
        check_writable(folder, "cache")
    except OSError as error:
        warn(str(error))
        return f"{own}, not writable"
    return f"{own}, writable, {free_text(folder)}"


def free_text(folder: Path) -> str:
    """The free space of the disk of a folder."""
    return f"{bytes_text(shutil.disk_usage(folder).free)} free"


# --- priors ---------------------------------------------------------------------------------------


def priors(config: ConfigDict) -> Lines:
    """Every prior: the included ones, the user's, and that of the config."""
    folders = included.priors()
    if included.prior(config.prior) not in folders.values():
        folders[str(config.prior)] = included.prior(config.prior)
    failed: list[str] = []
    yield "priors, --config.prior=NAME:"
    yield from listing.table(folders, lambda folder: prior_text(folder, failed))
    yield from map(Failure, failed)


def prior_text(folder: Path, failed: list[str]) -> str:
    """The state of a prior: ok, unread, differs, damaged or missing.

    Args:
        failed: gets the message about one that is neither ok nor unread.
    """
    own = folder
    try:
        if not (folder / "prior.json").is_file() and (folder / "model_index.json").is_file():
            own = load.place_of(folder)
            if not (own / "prior.json").is_file():
                return "unread   Stable Diffusion layout, converted at its first use"
        found = load.stored(own)
    except (ValueError, TypeError, AttributeError, OSError) as error:
        failed.append(str(error))
        state = "damaged" if folder.is_dir() else "missing"
        return f"{state}  {one_line(error).removeprefix('prior: ')}"
    about = f"{found.metadata['network']}, {listing.picture(found.metadata)}"
    about += f", {bytes_text(found.bytes)}, sha256 {found.sha256[:16]}"
    if found.same:
        return f"ok       {about}"
    failed.append(store.differs(own / "params", found.sha256, found.metadata["sha256"]))
    return f"differs  {about}, prior.json has {found.metadata['sha256'][:16]}"


# --- edits ----------------------------------------------------------------------------------------


def answers(config: ConfigDict) -> Lines:
    """Edits of a Gaussian prior beside the exact results."""
    for one in known_answer.answers(config.devices):
        away = f"{one.deviation:.2g} from the exact answer, {one.allowed:g} allowed"
        yield f"answer    {'ok' if one.right else 'wrong'}, {one.name} of a Gaussian prior: {away}"
        if not one.right:
            yield Failure(f"sampler: the {one.name} of a Gaussian prior is {away}")


def an_edit(config: ConfigDict) -> Lines:
    """The first input of the config: the memory of its edit, and the edit twice."""
    free = {count: devices.memory(count) for count in {1, devices.count(config.devices)}}
    paths = list_inputs(config).inputs
    kind = kinds.open_kind(config, paths)
    check_work(kind, {"samples": 1})
    kind.check_input(paths[0])
    job = Job(kind.read(paths[0], paths[0].stem), kind.cuts[0], config.seed)
    yield f"task      {config.get('task') or config.method}, {size_text(kind.size)}"
    yield from header(kind, 1)[1:]
    yield from kind.lines([job])
    yield from memory(kind, job, free)
    yield from twice(kind, job)


def memory(kind: Kind, job: Job, known: Mapping[int, devices.Memory | None]) -> Lines:
    """The memory of an edit by the compiler, and the largest batch that fits.

    Args:
        known: number of devices -> their memory, for one and for all that the config allows.
    """
    shapes = kind.shapes([job])
    with device_errors(kind, 2):
        request, key = kind.request(job, shapes), jobs.keys([job])[0]
        found = needs(kind.pipeline(shapes), kind.prior.params, request, key)
    if found is None:
        yield "memory    not known: the compiler does not tell it"
        return
    few, more = (f"batch {rows} needs {bytes_text(n)}" for rows, n in found.measured.items())
    yield f"memory    {few}, {more}, each further picture {bytes_text(found.each)}"
    count = executor.allowed(kind.prior.params, kind.config.devices)
    free, batch = known[count], kind.config.batch
    if free is None:
        yield "batch     not known: the device does not tell its memory"
        return
    most = count * found.most(free.free)
    limit = max(bounds.MOST_PIXELS // math.prod(kind.size), 1)
    space = f"{bytes_text(free.free)}{' on each device' if count > 1 else ''}"
    why = f"fit into {space}" if most < limit else "are allowed, which fit"
    yield f"batch     at most {min(most, limit):,} at a time {why}; config.batch is {batch}"
    if batch > most:
        warn(f"batch: {batch} at a time need more memory than is free, which holds {most}")


def twice(kind: Kind, job: Job) -> Lines:
    """The edit two times, which must give the same bits; one that takes long is left out."""
    first = edited(kind, job)
    if isinstance(first, float):
        yield f"edit      left out, it would take {first:.0f} s"
        return
    kind.made(job, jax.tree.map(lambda a: a[0], first.result))  # finite
    again = edited(kind, job)
    same = isinstance(again, Finished) and bits(first.result) == bits(again.result)
    yield f"edit      {'ok, the same' if same else 'other'} bits twice, {first.seconds:.2f} s"
    if not same:
        yield Failure("edit: the same edit gave other bits the second time")


def edited(kind: Kind, job: Job) -> Finished | float:
    """The edit of a job, or the seconds that it would take where they are more than LONGEST."""
    with device_errors(kind, 1):
        for event in jobs.events(kind, [job], kind.shapes([job]), 1):
            if isinstance(event, Finished):
                return event
            whole = event.seconds * event.total / event.evaluations
            if whole > LONGEST:
                return whole
    raise ValueError("edit: it has no steps")


def bits(result: Any) -> list[bytes]:
    """The bytes of all arrays of a result."""
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(result)]


CHECKS: tuple[Check, ...] = (machine, priors, answers, an_edit)
