"""The training run: restore, step, tell, save; it can be killed at any moment and started again.

The random key of step n is fold_in(key(seed), n) and its batch is a function of (seed, n), so a run
that restarts from a checkpoint reaches the same weights as an unbroken one on the same device.

Not here: networks, sampling, the shipped format of weights; the caller gives `predict`, `sample`
and `publish`. Training uses the devices of one host.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax import Array
from tqdm import tqdm

from sdedit_jax.augment import Augment
from sdedit_jax.data import Source, batch_of, loader
from sdedit_jax.sde import SDE
from sdedit_jax.train.loss import Loss, Objective, Predict, denoising_error, denoising_loss
from sdedit_jax.train.report import Report, summary
from sdedit_jax.train.signals import Signals
from sdedit_jax.train.step import Optimizer, State, Step, init, make_step, placement, transformation


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


def train(
    workdir: str | Path,
    process: SDE,
    predict: Predict,
    params: Any,
    data: Source,
    *,
    run: Run,
    objective: Objective,
    optimizer: Optimizer,
    augment: Augment | None = None,
    held_out: Source | None = None,
    sample: Callable[[Any], np.ndarray] | None = None,
    publish: Callable[[Any, int], None] | None = None,
    first_step: int = 0,
) -> State:
    """Train until `run.steps`, from the newest checkpoint in workdir/checkpoints if there is one.

    SIGTERM and Ctrl-C end the run after the current step with a checkpoint; the state returned then
    has step < run.steps.

    Args:
        workdir: gets checkpoints/, metrics.jsonl, events/, curves.png and samples/.
        process: gives alpha and sigma.
        predict: (params, x [H, W, C], t, cond=None, key=None) -> Prediction; cond is the label.
        params: where a run without checkpoint starts: fresh, or averaged weights of an earlier run.
        data: pictures to train on.
        run: how long, and how often what.
        objective: the loss.
        optimizer: its update.
        augment: random changes of the pictures.
        held_out: pictures for the held-out error.
        sample: averaged weights -> a sheet, uint8 [H, W, 3].
        publish: called with the averaged weights and the step, also at the end of the run.
        first_step: the step count at which `params` stand, when an earlier run is continued from
            its averaged weights alone: data and noise go on there, the optimizer starts anew.

    Raises:
        ValueError: no data, a field outside its allowed values, a checkpoint of another network.
        FloatingPointError: the loss or its gradient is not finite; the last checkpoint is kept.
    """
    return fit(
        workdir,
        denoising_loss(process, predict, objective),
        params,
        data,
        run=run,
        optimizer=optimizer,
        augment=augment,
        errors=_held_out(process, predict, held_out, run),
        sample=sample,
        publish=publish,
        first_step=first_step,
    )


def fit(
    workdir: str | Path,
    loss: Loss,
    params: Any,
    data: Source,
    *,
    run: Run,
    optimizer: Optimizer,
    augment: Augment | None = None,
    errors: Callable[[Any], dict[str, float]] = lambda params: {},
    sample: Callable[[Any], np.ndarray] | None = None,
    publish: Callable[[Any, int], None] | None = None,
    first_step: int = 0,
) -> State:
    """Minimise any loss of (params, batch, key); see `train`, which does it for denoising.

    Args:
        errors: averaged weights -> named held-out errors.
    """
    _check(run, data)
    folder = Path(workdir).absolute()
    split, whole = placement(run.batch)
    with _manager(folder / "checkpoints", run.keep) as manager, Signals() as signals:
        first_step = _position(manager, run).get("first_step", first_step)
        tx = transformation(optimizer, run.steps, first_step)
        step = make_step(loss, tx, optimizer.ema)
        state = _restore(manager, params, tx, whole)
        if state is None:
            state = jax.device_put(init(params, tx, first_step), whole)
        n, saved = int(state.step), time.monotonic()
        batches = _batches(data, run, augment, n, split)
        with contextlib.closing(Report(folder, n)) as report, _bar(run, n) as bar:
            windows = _windows(state, step, batches, run, signals, bar)
            for state, n, window, seconds in windows:
                values = summary(window, n, manager.latest_step())
                bar.set_postfix(step=n, loss=f"{values['loss']:.4f}", refresh=False)
                speed = len(window) * run.batch / seconds
                found = errors(state.ema) if _now(n, run.held_out_every, run) else {}
                report.write(n, {**values, "images_per_second": speed, **found})
                if sample and _now(n, run.sample_every, run):
                    report.sheet(n, sample(state.ema))
                late = time.monotonic() - saved > run.save_seconds
                if late or signals.received or _now(n, run.save_every, run):
                    _save(manager, state, run, first_step)
                    saved = time.monotonic()
                report.curves(every_seconds=0 if n == run.steps else 60)
                if publish and due(n, run.publish_every) and n < run.steps:
                    publish(state.ema, n)
            if manager.latest_step() != n:  # a signal came after the last window
                _save(manager, state, run, first_step)
    if publish and n >= run.steps:
        publish(state.ema, n)
    if signals.received:
        print(f"training: stopped by {signals.received} at step {n}, saved")
    return state


def newest(workdir: str | Path, params: Any, optimizer: Optimizer, run: Run) -> State:
    """The newest checkpoint of a run, which may be going on at the same time.

    Raises:
        ValueError: there is none, or it is of another network.
    """
    folder = Path(workdir).absolute() / "checkpoints"
    options = ocp.CheckpointManagerOptions(read_only=True)
    if folder.is_dir():
        with ocp.CheckpointManager(folder, options=options) as manager:
            _position(manager, run)
            tx = transformation(optimizer, run.steps)
            state = _restore(manager, params, tx, placement(run.batch)[1])
            if state is not None:
                return state
    raise ValueError(f"training: there is no checkpoint in {folder}")


def due(step: int, every: int) -> bool:
    """Whether something that happens every `every` steps (0: never) happens at this step."""
    return every > 0 and step % every == 0


def _now(step: int, every: int, run: Run) -> bool:
    return due(step, every) or (every > 0 and step == run.steps)


def _windows(
    state: State, step: Step, batches: Iterator, run: Run, signals: Signals, bar: tqdm
) -> Iterator[tuple[State, int, list[dict[str, np.ndarray]], float]]:
    """Steps up to each point where something is due: (state, its step, metrics, seconds)."""
    key, n = jax.random.key(run.seed), int(state.step)
    periods = (run.log_every, run.save_every, run.sample_every, run.publish_every)
    periods += (run.held_out_every, run.steps)
    while n < run.steps and not signals.received:
        window, start, stop = [], time.monotonic(), False
        while not stop:
            state, metrics = step(state, next(batches), key)
            window.append(metrics)
            jax.block_until_ready(window[-2:-1])  # at most one step ahead of the device
            bar.update(run.batch)
            n += 1
            stop = bool(signals.received) or any(due(n, every) for every in periods)
        window = jax.device_get(window)
        yield state, n, window, time.monotonic() - start


def _held_out(
    process: SDE, predict: Predict, data: Source | None, run: Run
) -> Callable[[Any], dict[str, float]]:
    """params -> {"held_out/<level>": RMSE of x0}, on the same pictures and noise each time."""
    if data is None:
        return lambda params: {}
    rows = np.unique(np.linspace(0, len(data) - 1, run.held_out).astype(int))
    images, labels = batch_of(data, rows)
    error = denoising_error(process, predict, run.levels)
    key = jax.random.key(0)

    def errors(params: Any) -> dict[str, float]:
        found = np.asarray(error(params, images, labels, key))
        return {f"held_out/{at:g}": float(e) for at, e in zip(run.levels, found, strict=True)}

    return errors


def _batches(
    data: Source, run: Run, augment: Augment | None, first: int, split: Any
) -> Iterator[dict[str, Array]]:
    stream = loader(
        data, run.batch, run.seed, augment, first, threads=run.threads, workers=run.workers
    )
    return (jax.device_put(batch, split) for batch in stream)


def _bar(run: Run, n: int) -> tqdm:
    often = 0.5 if sys.stderr.isatty() else 30.0
    total, done = run.steps * run.batch, n * run.batch
    return tqdm(total=total, initial=done, unit="img", unit_scale=True, mininterval=often)


def _manager(folder: Path, keep: int) -> ocp.CheckpointManager:
    # synchronous: the next step donates the arrays that a background save would still read
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep, enable_async_checkpointing=False, cleanup_tmp_directories=True
    )
    return ocp.CheckpointManager(folder, options=options)


def _save(manager: ocp.CheckpointManager, state: State, run: Run, first_step: int) -> None:
    n = int(state.step)
    position = {"next_step": n, "seed": run.seed, "batch": run.batch, "first_step": first_step}
    args = ocp.args.Composite(state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(position))
    manager.save(n, args=args, force=True)


def _position(manager: ocp.CheckpointManager, run: Run) -> dict[str, int]:
    """Where in its data the newest checkpoint stands; nothing if there is none.

    Raises:
        ValueError: it was trained with another batch or seed, by which steps count pictures.
    """
    last = manager.latest_step()
    if last is None:
        return {}
    found = manager.restore(last, args=ocp.args.Composite(data=ocp.args.JsonRestore())).data
    for name in ("batch", "seed"):
        if found[name] != getattr(run, name):
            raise ValueError(
                f"run.{name}: checkpoint {last} in {manager.directory} was trained with"
                f" {found[name]}, got {getattr(run, name)}; a new workdir may begin from its"
                " averaged weights (config.init)"
            )
    return found


def _restore(
    manager: ocp.CheckpointManager, params: Any, tx: optax.GradientTransformation, whole: Any
) -> State | None:
    last = manager.latest_step()
    if last is None:
        return None
    shapes = jax.eval_shape(lambda p: init(p, tx), params)
    target = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=whole), shapes)
    try:
        args = ocp.args.Composite(state=ocp.args.StandardRestore(target))
        return manager.restore(last, args=args).state
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"training: checkpoint {last} in {manager.directory} does not fit this network and"
            f" optimizer: {error}"
        ) from error


def _check(run: Run, data: Source) -> None:
    for name in ("steps", "batch", "log_every", "keep", "held_out"):
        if getattr(run, name) < 1:
            raise ValueError(f"run.{name} must be at least 1, got {getattr(run, name)}")
    if len(data) == 0:
        raise ValueError("data: the source is empty")
    if jax.process_count() > 1:
        raise ValueError(f"training runs on one host, got {jax.process_count()} processes")
