"""The training run: restore, step, report, save. It can be killed and started again at any moment.

The random key of step n is fold_in(key(seed), n), and its batch is a function of (seed, n). A run
that restarts from a checkpoint therefore reaches the weights of an unbroken one on the same device.

Networks, sampling and the published format of weights are the caller's: `predict`, `sample`,
`publish`. Training uses the devices of one host.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax import Array
from tqdm import tqdm

from sdedit_jax.data.pictures import Source
from sdedit_jax.devices import placement
from sdedit_jax.diffusion.noise import seed_key
from sdedit_jax.diffusion.sde import SDE
from sdedit_jax.files import door, json_file
from sdedit_jax.files.schema import Fields
from sdedit_jax.files.values import Whole
from sdedit_jax.files.wording import first_line
from sdedit_jax.training.augment import Augment
from sdedit_jax.training.batches import batch_of, loader, spaced
from sdedit_jax.training.loss import Loss, Objective, Predict, denoising_loss, held_out_errors
from sdedit_jax.training.report import Report, summary
from sdedit_jax.training.step import (
    Optimizer,
    State,
    Step,
    init,
    make_step,
    transformation,
)
from sdedit_jax.weights import orbax_folder, quiet, store
from sdedit_jax.weights.readers import home

POSITION = Fields(
    {"next_step": Whole(), "seed": Whole(0, 2**64 - 1), "batch": Whole(1), "first_step": Whole()}
)
"""What a checkpoint says of its place in the data."""
STATE = "state"
"""The folder of a checkpoint that holds its tensors."""


class Run(NamedTuple):
    """How long, and how often what. A period of 0 means never.

    Attributes:
        steps: of the whole run, those before a restart included.
        batch: pictures in a step.
        seed: of the data stream and of the noise.
        log_every: steps between lines of metrics.
        save_every: steps between checkpoints.
        save_seconds: a checkpoint at the next line of metrics when the last is older than this.
        keep: checkpoints kept.
        sample_every: steps between sample sheets.
        publish_every: steps between calls of `publish`.
        held_out_every: steps between held-out errors.
        held_out: pictures of the held-out batch, evenly spaced in their source.
        levels: noise-to-signal ratios of the held-out errors.
        threads: that make batches ahead.
        workers: processes that decode pictures.
    """

    steps: int
    batch: int = 64
    seed: int = 0
    log_every: int = 50
    save_every: int = 1000
    save_seconds: float = 600.0
    keep: int = 2
    sample_every: int = 1000
    publish_every: int = 0
    held_out_every: int = 500
    held_out: int = 64
    levels: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
    threads: int = 1
    workers: int = 0


class Hooks(NamedTuple):
    """What a run does with its averaged weights beside the steps.

    Attributes:
        errors: weights -> named held-out errors.
        sample: weights -> a sheet of samples, uint8 [H, W, 3].
        publish: called with the weights and the step, also at the end of the run.
    """

    errors: Callable[[Any], dict[str, float]] = lambda params: {}
    sample: Callable[[Any], np.ndarray] | None = None
    publish: Callable[[Any, int], None] | None = None


class Stop(Protocol):
    """A request to stop, for example a `threading.Event`."""

    def is_set(self) -> bool: ...


def train(
    workdir: str | Path,
    process: SDE,
    predict: Predict,
    params: Any,
    data: Source,
    *,
    run: Run,
    objective: Objective,
    held_out: Source | None = None,
    hooks: Hooks | None = None,
    **options: Any,
) -> State:
    """Train a denoiser; see `fit` for the other arguments.

    Args:
        process: gives alpha and sigma.
        predict: (params, x [H, W, C], t, cond=None, key=None) -> Prediction; cond is the label.
        objective: the loss.
        held_out: pictures for the held-out errors.
    """
    loss, hooks = denoising_loss(process, predict, objective), hooks or Hooks()
    if held_out is not None:
        rows = batch_of(held_out, spaced(len(held_out), run.held_out))
        hooks = hooks._replace(errors=held_out_errors(process, predict, run.levels, *rows))
    return fit(workdir, loss, params, data, run=run, hooks=hooks, **options)


def fit(
    workdir: str | Path,
    loss: Loss,
    params: Any,
    data: Source,
    *,
    run: Run,
    optimizer: Optimizer,
    augment: Augment | None = None,
    hooks: Hooks | None = None,
    first_step: int = 0,
    stop: Stop | None = None,
) -> State:
    """Train until `run.steps`, from the newest checkpoint in workdir/checkpoints if there is one.

    Args:
        workdir: gets checkpoints/, metrics.jsonl, events/, curves.png and samples/.
        loss: of (params, batch, key).
        params: where a run without checkpoint starts.
        first_step: the step count of `params`, when an earlier run is continued from its averaged
            weights alone. Data and noise continue there; the optimizer starts anew.
        stop: ends the run after the current step, with a checkpoint; the returned state then has
            step < run.steps.

    Raises:
        ValueError: no data, a field outside its allowed values, a checkpoint of another network.
        FloatingPointError: the loss or its gradient is not finite; the last checkpoint is kept.
    """
    _check(run, data)
    folder, stop, hooks = Path(workdir).absolute(), stop or threading.Event(), hooks or Hooks()
    with _manager(folder / "checkpoints", run.keep) as manager:
        first_step = _position(manager, run).get("first_step", first_step)
        state, step, split = _start(manager, loss, params, optimizer, run, first_step)
        found = _windows(state, step, _batches(data, run, augment, state, split), run, stop)
        # closed here, so that the bar is gone before an error is printed
        with (
            contextlib.closing(found) as windows,
            contextlib.closing(Report(folder, int(state.step))) as report,
        ):
            state = _loop(windows, state, manager, report, run, optimizer, hooks, first_step, stop)
    return _end(state, run, hooks)


def _loop(
    windows: Iterator["_Window"],
    state: State,
    manager: ocp.CheckpointManager,
    report: Report,
    run: Run,
    optimizer: Optimizer,
    hooks: Hooks,
    first_step: int,
    stop: Stop,
) -> State:
    """Report, save and publish what is due after each window; the last state."""
    saved = time.monotonic()
    for window in windows:
        state, n = window.state, window.step
        _report(window, report, run, optimizer, hooks, manager.latest_step())
        late = time.monotonic() - saved > run.save_seconds
        if late or stop.is_set() or _now(n, run.save_every, run):
            _save(manager, state, run, first_step)
            saved = time.monotonic()
        report.curves(every_seconds=0 if n == run.steps else 60)
        if hooks.publish and due(n, run.publish_every) and n < run.steps:
            hooks.publish(state.ema, n)
    if manager.latest_step() != int(state.step):  # stopped after the last window
        _save(manager, state, run, first_step)
    return state


def _end(state: State, run: Run, hooks: Hooks) -> State:
    n = int(state.step)
    if n < run.steps:
        print(f"training: stopped at step {n} of {run.steps}, saved")
    elif hooks.publish:
        hooks.publish(state.ema, n)
    return state


def _start(
    manager: ocp.CheckpointManager,
    loss: Loss,
    params: Any,
    optimizer: Optimizer,
    run: Run,
    first_step: int,
) -> tuple[State, Step, Any]:
    """The state of the newest checkpoint or a fresh one, the step, and the batch's sharding."""
    split, whole = placement(run.batch)
    tx = transformation(optimizer, run.steps, first_step)
    state = _restore(manager, params, tx, whole, optimizer.longer)
    if state is None:
        state = jax.device_put(init(params, tx, first_step, optimizer.longer), whole)
    return state, make_step(loss, tx, optimizer.ema, optimizer.longer), split


def _report(
    window: "_Window",
    report: Report,
    run: Run,
    optimizer: Optimizer,
    hooks: Hooks,
    last: int | None,
) -> None:
    """Write the metrics of a window, with the held-out errors and the samples that are due."""
    values = summary(window.metrics, window.step, last)
    values["images_per_second"] = len(window.metrics) * run.batch / window.seconds
    if _now(window.step, run.held_out_every, run):
        values |= _errors(hooks.errors, window.state, optimizer)
    report.write(window.step, values)
    if hooks.sample and _now(window.step, run.sample_every, run):
        report.sheet(window.step, hooks.sample(window.state.ema))


def newest(workdir: str | Path, params: Any, optimizer: Optimizer, run: Run) -> State:
    """The newest checkpoint of a run, which may still be running.

    Raises:
        ValueError: there is no checkpoint, or it belongs to another network.
    """
    folder = Path(workdir).absolute() / "checkpoints"
    options = ocp.CheckpointManagerOptions(read_only=True)
    _check_files(folder)
    if folder.is_dir():
        with ocp.CheckpointManager(folder, options=options) as manager:
            _position(manager, run)
            tx = transformation(optimizer, run.steps)
            state = _restore(manager, params, tx, placement(run.batch)[1], optimizer.longer)
            if state is not None:
                return state
    raise ValueError(f"training: there is no checkpoint in {folder}")


def newest_step(workdir: str | Path) -> int | None:
    """The step of the newest checkpoint of a run, or None."""
    folder = Path(workdir).absolute() / "checkpoints"
    return max(ocp.utils.checkpoint_steps(folder) if folder.is_dir() else (), default=None)


def due(step: int, every: int) -> bool:
    """Whether an action with period `every` (0: never) is due at this step."""
    return every > 0 and step % every == 0


def _now(step: int, every: int, run: Run) -> bool:
    return due(step, every) or (every > 0 and step == run.steps)


class _Window(NamedTuple):
    """The steps since the last report: state and step number at their end, metrics of each."""

    state: State
    step: int
    metrics: list[dict[str, np.ndarray]]
    seconds: float


def _windows(
    state: State, step: Step, batches: Iterator, run: Run, stop: Stop
) -> Iterator[_Window]:
    """Run the steps up to each point where something is due."""
    key, n = seed_key(run.seed), int(state.step)
    periods = (run.log_every, run.save_every, run.sample_every, run.publish_every)
    periods += (run.held_out_every, run.steps)
    if n < run.steps:
        print(f"training: compiling the first step, of {run.batch} pictures", flush=True)
    with _bar(run, n) as bar:
        while n < run.steps and not stop.is_set():
            metrics, start, end = [], time.monotonic(), False
            while not end:
                state, values = step(state, next(batches), key)
                metrics.append(values)
                jax.block_until_ready(metrics[-2:-1])  # at most one step ahead of the device
                bar.update(run.batch)
                n += 1
                end = stop.is_set() or any(due(n, every) for every in periods)
            metrics = jax.device_get(metrics)
            bar.set_postfix(step=n, loss=f"{metrics[-1]['loss']:.4f}", refresh=False)
            yield _Window(state, n, metrics, time.monotonic() - start)


def _errors(
    errors: Callable[[Any], dict[str, float]], state: State, optimizer: Optimizer
) -> dict[str, float]:
    """The held-out errors of all averages. The names of longer averages end in their decay."""
    found = errors(state.ema)
    for decay, params in zip(optimizer.longer, state.longer, strict=True):
        found |= {f"{name}@{decay:g}": value for name, value in errors(params).items()}
    return found


def _batches(
    data: Source, run: Run, augment: Augment | None, state: State, split: Any
) -> Iterator[dict[str, Array]]:
    n = int(state.step)
    stream = loader(data, run.batch, run.seed, augment, n, threads=run.threads, workers=run.workers)
    return (jax.device_put(batch, split) for batch in stream)


def _bar(run: Run, n: int) -> tqdm:
    often = 0.5 if sys.stderr.isatty() else 30.0
    total, done = run.steps * run.batch, n * run.batch
    return tqdm(total=total, initial=done, unit="img", unit_scale=True, mininterval=often)


def _check_files(folder: Path) -> None:
    """Check the files of all checkpoints before orbax lists them.

    Raises:
        ValueError: links that lead out of the workdir, files that are not regular, too many, or
            descriptions that are too large.
    """
    if not os.path.lexists(folder):
        return
    door.check_inside(folder, folder.parent, "workdir")
    for path in door.check_folder(folder, "workdir", count=home.FILES):
        # the files of the state are checked when they are read
        if not any(part.startswith(STATE) for part in path.relative_to(folder).parts):
            door.check(path, "workdir", orbax_folder.SMALL)


def _manager(folder: Path, keep: int) -> ocp.CheckpointManager:
    _check_files(folder)
    # synchronous: the next step donates the arrays that a background save would still read
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep, enable_async_checkpointing=False, cleanup_tmp_directories=True
    )
    with quiet.libraries():
        return ocp.CheckpointManager(folder, options=options)


def _save(manager: ocp.CheckpointManager, state: State, run: Run, first_step: int) -> None:
    n = int(state.step)
    position = {"next_step": n, "seed": run.seed, "batch": run.batch, "first_step": first_step}
    args = ocp.args.Composite(state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(position))
    manager.save(n, args=args, force=True)


def _position(manager: ocp.CheckpointManager, run: Run) -> dict[str, int]:
    """The position of the newest checkpoint in its data; empty without a checkpoint.

    Raises:
        ValueError: the checkpoint has another batch or seed, so its steps count other pictures.
    """
    last = manager.latest_step()
    if last is None:
        return {}
    file = Path(manager.directory) / str(last) / "data" / "metadata"
    found = json_file.read_object(file, "workdir")
    POSITION.check(found, f"workdir: {file}: data")
    for name in ("batch", "seed"):
        if found[name] != getattr(run, name):
            raise ValueError(
                f"run.{name}: checkpoint {last} in {manager.directory} was trained with"
                f" {found[name]}, got {getattr(run, name)}; a new workdir may begin from its"
                " averaged weights (config.init)"
            )
    return found


def _restore(
    manager: ocp.CheckpointManager,
    params: Any,
    tx: optax.GradientTransformation,
    whole: Any,
    longer: tuple[float, ...],
) -> State | None:
    """The state of the newest checkpoint; None without one. It is read as weights of a prior are.

    Raises:
        ValueError: the checkpoint is damaged, claims more than it has, or belongs to another
            network or optimizer.
    """
    last = manager.latest_step()
    if last is None:
        return None
    shapes = jax.eval_shape(lambda p: init(p, tx, longer=longer), params)
    try:
        with quiet.libraries():
            found = _read(Path(manager.directory) / str(last) / STATE, params, shapes)
    except Exception as error:  # tensorstore raises many kinds for damaged files
        found = f"cannot be read: {first_line(error).removeprefix('prior: ')}"
    if isinstance(found, State) and int(found.step) != last:
        found = f"holds step {found.step}"
    if isinstance(found, str):
        raise ValueError(
            f"training: checkpoint {last} in {manager.directory} {found}; give their fields as they"
            " were, remove it to go on from an earlier one, or give another --workdir"
        )
    return jax.device_put(found, whole)


def _read(path: Path, params: Any, shapes: State) -> State | str:
    """The state in a folder, with the structure and dtypes of `shapes`; or how it differs."""
    stored = store.checked(path)
    reason = store.difference(stored.get("params", {}), params, "this network")
    if reason := reason or store.difference(stored, shapes, "this training"):
        return reason
    found = dict(store.leaves(orbax_folder.read(stored)))
    return jax.tree_util.tree_map_with_path(
        lambda place, a: jnp.array(found[store.leaf_name(place)], a.dtype), shapes
    )


def _check(run: Run, data: Source) -> None:
    for name in ("steps", "batch", "log_every", "keep", "held_out"):
        if getattr(run, name) < 1:
            raise ValueError(f"run.{name} must be at least 1, got {getattr(run, name)}")
    if len(data) == 0:
        raise ValueError("data: the source is empty")
    if jax.process_count() > 1:
        raise ValueError(f"training runs on one host, got {jax.process_count()} processes")
