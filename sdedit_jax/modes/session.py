"""Shared by the editing modes: types, opening of priors, inputs, measurements."""

import contextlib
import functools
import math
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import devices, images, registry
from sdedit_jax.caution import warn
from sdedit_jax.data.examples import Example
from sdedit_jax.diffusion import strength
from sdedit_jax.diffusion.sde import SDE
from sdedit_jax.diffusion.strength import Strength
from sdedit_jax.files.paths import user_path
from sdedit_jax.images import Size
from sdedit_jax.modes.files import CELL, cell_side, mask_suffix
from sdedit_jax.modes.inputs import Changed, Input, text_of
from sdedit_jax.pipeline.base import Pipeline, total_evaluations
from sdedit_jax.pipeline.cache import use_cache
from sdedit_jax.pipeline.executor import Cancel, devices_for
from sdedit_jax.pipeline.outputs import OUTPUTS, Output, Stored
from sdedit_jax.pipeline.recent import Recent
from sdedit_jax.priors import conditioning
from sdedit_jax.priors.prior import Prior, describe
from sdedit_jax.registry import bounds
from sdedit_jax.tasks import TaskInput
from sdedit_jax.text.spelling import counted
from sdedit_jax.weights import load

LONGEST = 200
"""Bytes of a result's name without its ending; file systems allow 255."""


class Job(NamedTuple):
    """One result to make.

    Attributes:
        input: the input. cut: what the result's name adds to the input's.
        seed, sample: of its noise.
        value: the strength or scale of this cell of a sweep, or the strength that the kind found;
            None: the config's.
        trials: cut -> strength -> distance, of all jobs of the input, where the kind has tried
            some strengths.
    """

    input: Input
    cut: str
    seed: int
    sample: int = 0
    value: float | None = None
    trials: Mapping[str, Mapping[float, float]] | None = None
    failed: str = ""

    @property
    def name(self) -> str:
        """The name of the result, without suffix."""
        return self.input.name + self.cut


class Made(NamedTuple):
    """The pictures and measurements of a result.

    Attributes:
        output: the edit, in memory or in its file.
        beside: ending -> picture of further files, the first sample's alone; in memory or in its
            file.
        entry: measurements for the record. line: for the screen.
    """

    output: Output | Stored
    beside: Mapping[str, np.ndarray | Stored]
    entry: dict[str, Any]
    line: str


class Kind(Protocol):
    """A kind of edit, as the modes see it; made by `open_kind` of its module.

    Attributes:
        config, prior: the config, and the prior on the process of the edit.
        size: (H, W) of the edit.
        cuts: what the results of an input add to its name, one for each sample.
        sweep: (field of config.sweep, letter in names) of a sweep.
        memory_hint: what needs less memory beside a smaller batch.
        recent: keeps the pictures of inputs.
    """

    config: ConfigDict
    prior: Prior
    size: Size
    sweep: tuple[str, str]
    memory_hint: str
    recent: Recent

    @property
    def masked_beside(self) -> bool:
        """Whether the mask beside an input is read."""

    @property
    def cuts(self) -> list[str]:
        """What the results of an input add to its name, one for each sample."""

    def shapes(self, jobs: Sequence[Job]) -> dict[str, Any]:
        """Values that all jobs of a run share, so that one program serves all."""

    def pipeline(self, shapes: Mapping[str, Any]) -> Pipeline:
        """The pipeline of a run."""

    @property
    def finds_strengths(self) -> bool:
        """Whether `with_strengths` finds them."""

    def lines(self, jobs: Sequence[Job]) -> list[str]:
        """The lines printed before the edits."""

    def check_input(self, path: Path) -> None:
        """Check the settings for an input: a mistake in them stops the run."""

    def read(self, path: Path, name: str) -> Input:
        """An input, whose pictures are read again when they are needed."""

    def take(self, example: Example, name: str) -> Input:
        """An input from a row of a data set."""

    def candidates(self, recipe: Mapping[str, Any], path: Path) -> Iterator[Callable[[], Input]]:
        """Functions that read the input of a recipe in the picture `path`, the likeliest first."""

    def inputs_beside(self, one: Input) -> dict[str, np.ndarray]:
        """Ending -> picture of the files beside a result, from which `candidates` reads."""

    def with_strengths(self, jobs: Sequence[Job], cancel: Cancel | None = None) -> list[Job]:
        """The jobs, each with the strength that the kind finds for it, or why there is none.

        Raises:
            Cancelled: `cancel` was set.
        """

    def request(self, job: Job, shapes: Mapping[str, Any]) -> Any:
        """The request of a job."""

    def made(self, job: Job, row: Any) -> Made:
        """The pictures and measurements of a result."""

    def recipe(self, job: Job) -> dict[str, Any]:
        """The part of a recipe that belongs to this kind."""

    def record(self, shapes: Mapping[str, Any]) -> dict[str, Any]:
        """The part of record.json that belongs to this kind."""

    def leads(self, one: Input, made: Made | None) -> dict[str, np.ndarray | None]:
        """Label -> picture of the columns before the results of an input on a sheet.

        made: the input's first result, in its files, or None.
        """

    def label(self, value: float, entries: Sequence[dict[str, Any]]) -> str:
        """The label of a column of a sweep's sheet."""


def refuse_given(given: Mapping[str, Any], reasons: Mapping[str, str]) -> None:
    """Refuse fields of the command line.

    Raises:
        ValueError: one of `given` has a reason against it.
    """
    for name in given:
        if name in reasons:
            raise ValueError(f"{name}: {reasons[name]}, got {given[name]!r}")


def check_size_of_edit(config: ConfigDict) -> None:
    """Raise ValueError unless results have the size of the edit; a replay has no other pictures."""
    if config.output == "original":
        raise ValueError(
            f"a result at the input's size needs the input itself, {config.input[:200]}, or beside"
            " the result"
        )


# --- opening --------------------------------------------------------------------------------------


def check_common(config: ConfigDict) -> None:
    """Check the fields of all kinds that are used last, before any work.

    Raises:
        ValueError: a field out of its range.
    """
    registry.pick(dict.fromkeys(OUTPUTS), config.output, "output")
    registry.pick(dict.fromkeys(images.FITS), config.fit, "fit")
    if config.get("uncertainty") and config.samples < 2:
        raise ValueError(f"samples must be at least 2 with uncertainty, got {config.samples}")
    devices.count(config.devices)


def open_prior(config: ConfigDict, **options: Any) -> Prior:
    """The prior of a config, with the cache of compiled programs on."""
    use_cache(config.cache)
    prior = load.load_prior(config.prior, config.compute, **options)
    return conditioning.with_clip_skip(prior, config.get("clip_skip", 0))


def size_of(config: ConfigDict, prior: Prior) -> Size:
    """(H, W) of the edit: the config's "HxW", else the prior's.

    Raises:
        ValueError: another form, or no multiples of the network's stride.
    """
    if not config.size:
        return prior.edit_size()
    return prior.edit_size(parse_size(config.size, "size"))


def check_work(kind: Kind, results: Mapping[str, int]) -> None:
    """Check the work of a run before it begins.

    Args:
        results: field -> its factor of the number of results.

    Raises:
        ValueError: too many results, evaluations of the network, or pixels at a time.
    """
    count = bounds.work(results, bounds.MOST_RESULTS, "results")
    each = total_evaluations(kind.pipeline(kind.shapes([])))
    factors = {**results, "steps": each}
    bounds.work(factors, bounds.MOST_TOTAL, "evaluations")
    check_rows(kind, count)


def check_rows(kind: Kind, results: int) -> None:
    """Raise ValueError for more pixels at a time than a machine holds, of a run of `results`."""
    rows = {"batch": min(kind.config.batch, results), "size": math.prod(kind.size)}
    bounds.work(rows, bounds.MOST_PIXELS, "pixels at a time")


def check_sheet(kind: Kind, cells: Mapping[str, int]) -> None:
    """Raise ValueError for a contact sheet that is too large.

    Args:
        cells: field -> its factor of the number of results on the sheet.
    """
    config = kind.config
    longest = CELL if config.output == "original" else max(kind.size)
    side = cell_side(longest, config.sheet_scale)
    bounds.work({**cells, "sheet_scale": side**2}, bounds.MOST_SHEET, "pixels of the sheet")


def parse_size(text: str, field: str) -> Size:
    """(H, W) of "HxW".

    Raises:
        ValueError: another form.
    """
    found = re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})", text)
    if not found:
        raise ValueError(f'{field} must be HxW, such as "64x96", got {text!r}')
    return int(found[1]), int(found[2])


def header(kind: Kind, rows: int) -> list[str]:
    """Device and prior, for the screen."""
    config, device = kind.config, jax.local_devices()[0]
    count = devices_for(rows, kind.prior.params, config.devices)
    return [
        f"device    {count} x {device.device_kind} ({device.platform}), {config.compute}",
        f"prior     {config.prior}, sha256 {kind.prior.metadata.get('sha256', '')[:16]}",
        f"process   {describe(kind.prior.process)}",
    ]


@functools.lru_cache(maxsize=256)
def described(process: SDE, t0: float) -> Strength:
    """`strength.describe`, computed once for all pictures of one strength."""
    return strength.describe(process, t0)


@contextlib.contextmanager
def device_errors(kind: Kind, rows: int) -> Iterator[None]:
    """Turn a failure of the device, for example of its memory, into a ValueError with the remedy.

    Args:
        rows: pictures at a time.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        text = str(error).strip().splitlines()[0]
        raise ValueError(
            f"batch: the device failed with {counted(rows, 'picture')} at a time ({text});"
            f" a smaller --config.batch needs less memory{kind.memory_hint}"
        ) from None


# --- inputs ---------------------------------------------------------------------------------------


def read_inputs(kind: Kind, listing: images.Listing) -> tuple[list[Input], list[str]]:
    """The inputs, and one line for each that could not be read.

    Raises:
        ValueError: none can be read and the reason is the same for all.
    """
    paths, used = listing.inputs, set()
    for path in paths:
        kind.check_input(path)
    found, bad, reasons = [], [], set()
    for path, name in zip(paths, images.output_names(paths), strict=True):
        try:
            check_length(name)
            found.append(kind.read(path, name))
            if kind.masked_beside:
                used.add(images.mask_beside(path, mask_suffix(kind.config)))
        except (ValueError, OSError) as error:
            bad.append(text_of(path, error))
            reasons.add(str(error))
    if not found and len(reasons) == 1:
        raise ValueError(reasons.pop())
    introduce_masks(used - {None}, listing.masks, len(found))
    for line in bad:
        print(f"left out  {line}")
    return found, bad


def introduce_masks(used: Collection[Path], masks: Sequence[Path], inputs: int) -> None:
    """Print how many inputs have a mask beside them.

    Args:
        used: these masks. masks: all files that are masks by their names. inputs: their number.

    Warns:
        UserWarning: files that are masks by their names, and neither edited nor used.
    """
    if used:
        has = "has" if len(used) == 1 else "have"
        print(f"masks     {len(used)} of {counted(inputs, 'input')} {has} a mask beside it")
    if left := [mask for mask in masks if mask not in used]:
        warn(
            f"input: {counted(len(left), 'file')} not edited, as masks of other inputs by name,"
            f" such as {left[0].name}; options.mask_suffix sets their suffix"
        )


def check_length(name: str) -> None:
    """Check that the names of an input's results, which are longer, fit into a file system.

    Raises:
        ValueError: the name is too long.
    """
    if len(os.fsencode(name)) > LONGEST:
        raise ValueError(
            f"the name {name[:12]!r}... has more than {LONGEST} bytes; rename the file"
        )


def own_files(config: ConfigDict, id: str, result: Path) -> list[Path]:
    """The inputs of a recipe's config with this id, and those beside a result of it.

    They are matched by name in one folder: patterns are not expanded. An input that the guard of
    the replay refuses is among them, and refused when it is read.
    """
    where, found = user_path(config.input), []
    home = where if os.path.isdir(where) else where.parent  # False for names that no file can have
    for folder in (home, result.parent):
        try:
            found += images.named(folder, id)
        except ValueError:
            found.append(where)
        except OSError:  # no such folder
            continue
    return [file for file in dict.fromkeys(found) if file != result]


def leads(kind: Kind, one: Input, made: Made | None) -> dict[str, np.ndarray | None]:
    """See `Kind.leads`; none of an input that has changed.

    Warns:
        UserWarning: it has changed.
    """
    try:
        return kind.leads(one, made)
    except Changed as error:
        warn(f"{error}; sheets and reports do not show it")
        return {}


def side_of_cells(kind: Kind, inputs: Sequence[Input]) -> int:
    """The longest side of the cells of a sheet: that of the results, see `cell_side`."""
    original = kind.config.output == "original"
    sizes = [one.size for one in inputs] if original else [kind.size]
    return cell_side(max(map(max, sizes)), kind.config.sheet_scale)


def distances(picture: np.ndarray, item: TaskInput) -> dict[str, float]:
    """L2 and RMS distance of a fitted picture to the fitted input, on [0, 1] values."""
    away = ((picture.astype(np.float64) - item.fitted) / 255)[..., : item.channels]
    return {"l2": float(np.sqrt(np.sum(away**2))), "rms": float(np.sqrt(np.mean(away**2)))}


def change_outside_mask(item: TaskInput, output: Output, original: bool) -> int:
    """The largest change of a kept pixel, in grey levels."""
    kept, before, after = item.mask == 0, item.fitted, output.fitted
    if original:
        kept, before, after = item.original_mask == 0, item.photo.source.pixels, output.picture
    return int(np.abs(after.astype(int) - before)[kept].max(initial=0))
