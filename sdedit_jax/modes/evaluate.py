"""--mode=evaluate: edits of a data set over all devices of all hosts, measured, with tables.

A process computes its share of the shards, and writes each one when it is finished. The process
that finds all shards finished writes the results. The same command, with any number of processes,
finishes what an earlier one left.
"""

import sys
import time
from typing import Any

import jax
from ml_collections import ConfigDict

from sdedit_jax import images, provenance, signals
from sdedit_jax.caution import warn
from sdedit_jax.data.examples import DataSet
from sdedit_jax.data.patches import pasted
from sdedit_jax.data.sets import open_data_set
from sdedit_jax.evaluation import cluster, flow, identity, kid, resizing, shards
from sdedit_jax.evaluation import plan as plans
from sdedit_jax.evaluation.cluster import Presence, Process
from sdedit_jax.evaluation.flow import Times
from sdedit_jax.evaluation.opening import Measures, open_measures
from sdedit_jax.evaluation.report import MOST
from sdedit_jax.modes import kinds
from sdedit_jax.modes.evaluating import reference, results, unpack
from sdedit_jax.modes.evaluating.batches import TARGETS, Editor, Reader, Run, batches_of
from sdedit_jax.modes.evaluating.writer import Writer
from sdedit_jax.modes.files import Target, plain, refuse_existing
from sdedit_jax.modes.session import check_rows, header
from sdedit_jax.registry import bounds
from sdedit_jax.tasks.examples import check_options, check_task
from sdedit_jax.text.spelling import counted, one_of

MOST_EDITS = 10**8
"""Edits of an evaluation."""

VOLATILE = ("devices", "cache", "shard", "merge", "retry", "unpack", "cluster", "sheet_scale")
VOLATILE += ("report", "report_rows", "web", "autotune", "sweep", "budget", "only", "example")
"""Fields of the config on which no result depends."""


def begin(config: ConfigDict) -> Process:
    """Connect this process with the others of a cluster; before anything asks for devices.

    Raises:
        ValueError: see cluster.start; or a share by hand beside a cluster.
    """
    given = config.cluster
    if config.shard or config.merge or config.unpack:
        name = next(name for name in ("shard", "merge", "unpack") if config[name])
        if given.use == "on" or given.coordinator:
            raise ValueError(f"{name}: needs no cluster; leave out the fields of cluster")
        return Process(*plans.parse_share(config.shard)) if config.shard else Process()
    return cluster.start(
        given.use, given.coordinator, given.processes, given.process, given.timeout, given.survive
    )


def evaluate(config: ConfigDict, target: Target) -> int:
    """Compute this process's share of the edits, and the results where all shares are finished.

    Returns:
        0; 1 if pictures failed, or where process 0 of a cluster ends without all shards; 143 or
        130 after SIGTERM or SIGINT.
    """
    check(config)
    process = begin(config)
    run = open_run(config, target)
    if config.unpack or config.merge:
        identity.agree(target.folder, run.identity, begin=False)
        return unpack.unpack(run, target) if config.unpack else merged(run, target)
    with Presence(target.folder, process, run.digest) as presence:
        if process.runtime and process.count > 1:
            presence.meet(config.cluster.timeout)
        refuse_foreign(target)
        identity.agree(target.folder, run.identity)
        introduce(run, process)
        with signals.catch() as caught:
            code = work(run, process, caught)
            if process.runtime and process.count > 1 and not code:
                see_off(run, process, presence, caught)
    return code or caught.exit_code or finished(run, target, process)


def check(config: ConfigDict) -> None:
    """Check the fields of an evaluation.

    Raises:
        ValueError: a config without them, or a field out of its range.
    """
    if "cluster" not in config:
        raise ValueError("config: this one evaluates nothing; give --config=evaluate_strokes")
    ways = [name for name in ("shard", "merge", "unpack") if config[name]]
    if len(ways) > 1:
        raise ValueError(f"{', '.join(ways)}: give one of them")
    if config.retry and (config.merge or config.unpack):
        raise ValueError("retry: computes edits, which merge and unpack do not")
    if config.reference_split and not config.reference:
        raise ValueError("reference_split: is of a reference; give reference too")
    if config.report_rows > MOST:
        raise ValueError(f"report_rows must be at most {MOST}, got {config.report_rows}")
    if config.get("auto_t0") == "map":
        raise ValueError("auto_t0: an evaluation takes no strength maps; give auto_t0=guide")
    kid.check_subsets(config.measures.subsets, config.measures.subset_size)
    one_of("features.resize", config.features.resize, resizing.POLICIES)
    if config.get("method", "sdedit") == "sdedit":
        check_task(config.task)
        check_options(config.task, config.options.to_dict())
    if not config.input:
        raise ValueError("input: give a data set: a folder, a zip, a manifest or a name of tfds")


def open_run(config: ConfigDict, target: Target) -> Run:
    """The evaluation of a config in a workdir.

    Raises:
        ValueError: an empty data set.
    """
    kind = kinds.open_kind(config)
    data = _data(config)
    count = bounds.work({"input": len(data), "samples": config.samples}, MOST_EDITS, "edits")
    check_rows(kind, count)
    other = None
    if config.reference:
        if config.fit not in images.UNMASKED_FITS:
            raise ValueError(
                f"fit: the pictures of a reference have no masks; give one of"
                f" {list(images.UNMASKED_FITS)}, got {config.fit!r}"
            )
        other = open_data_set(config.reference, split=config.reference_split)
    plan = plans.plan(data.ids, config.samples, config.batch, config.shard_size or 4 * config.batch)
    store = shards.Store(target.folder / shards.FOLDER, plan.shards)
    measures = open_measures(config.features)
    for name in TARGETS:
        measures.named(config.measures[name], f"measures.{name}")
    own = identity_of(config, kind.prior.metadata, data, other, measures)
    return Run(config, kind, data, plan, store, measures, own, other)


def _data(config: ConfigDict) -> DataSet:
    """The data set of a config, its first rows, with patches where these are wanted."""
    given, suffix = config.data, config.options.mask_suffix
    masks = {} if suffix == images.MASK_SUFFIX else {"mask_suffix": suffix}
    data = open_data_set(
        config.input, layout=given.layout, split=given.split, labels=given.labels, **masks
    )
    if config.limit > len(data):
        warn(f"limit: the data set has {counted(len(data), 'picture')}, fewer than {config.limit}")
    data = pasted(data, given.seed) if given.patches else data
    return data.first(config.limit) if config.limit else data


def identity_of(
    config: ConfigDict, prior: Any, data: DataSet, reference: DataSet | None, measures: Measures
) -> dict[str, Any]:
    """All that the results depend on, but for the devices."""
    weighted = {n: one for n, one in measures.paired.items() if "sha256" in one.facts}
    versions = provenance.environment(config.compute)["versions"]
    return {
        "config": settled(config),
        "prior": prior.get("sha256", ""),
        "data": data.digest,
        "reference": reference.digest if reference is not None else "",
        "features": {one.name: str(one.facts.get("sha256", "")) for one in measures.extractors},
        "calibration": provenance.short(prior.get("auto_t0")) if config.get("auto_t0") else "",
        "platform": jax.default_backend(),
        "weights": {n: str(one.facts["sha256"]) for n, one in weighted.items()},
        "code": identity.code(),
        "versions": {name: text for name, text in versions.items() if name != "python"},
    }


def settled(config: ConfigDict) -> dict[str, Any]:
    """The fields on which results depend, as plain values."""
    return {name: value for name, value in plain(config).items() if name not in VOLATILE}


def refuse_foreign(target: Target) -> None:
    """Refuse a workdir that holds results of another run, before this one takes it.

    Raises:
        ValueError: there are such files.
    """
    if (target.folder / identity.FILE).exists():
        return
    refuse_existing([target.folder / name for name in results.FILES], False)


def introduce(run: Run, process: Process) -> None:
    """Print what is evaluated, and what is left to do."""
    plan, left = run.plan, len(missing(run))
    print("\n".join([*header(run.kind, plan.batch), *run.kind.lines([])]))
    print(
        f"data      {run.data.name}: {counted(len(run.data), 'picture')},"
        f" {counted(plan.samples, 'edit')} each = {counted(plan.edits, 'edit')} in"
        f" {counted(plan.shards, 'shard')}, {left} to do"
    )
    if process.count > 1:
        print(f"share     {process.index + 1} of {process.count}")
    if plan.shards < process.count:
        warn(
            f"shard_size: {counted(plan.shards, 'shard')} for {process.count} processes, some of"
            f" which have no work; --config.shard_size={plan.batch} makes smaller shards"
        )


def work(run: Run, process: Process, caught: signals.Signals) -> int:
    """Compute the missing shards of this process's share; the exit code of a signal, or 0."""
    redo = set(results.with_failures(run)) if run.config.retry else set()
    own = plans.share(run.plan.shards, process.index, process.count)
    for number in redo & set(own):
        run.store.remove(number)
    todo = [k for k in own if not run.store.has(k)]
    items = [batch for k in todo for batch in batches_of(run.plan, k)]
    pace = Pace(len(items), run)
    editor = Editor(run, caught.stop)
    for times in flow.run(items, Reader(run), editor, Writer(run), caught.stop):
        pace.add(times)
    if caught.name:
        print(f"error: {caught.name}; finished shards are kept", file=sys.stderr)
        return caught.exit_code
    if run.reference is not None:
        reference.compute(run, process, caught.stop)
    return caught.exit_code


class Pace:
    """The line that shows where the time goes, every few seconds."""

    EVERY = 10.0

    def __init__(self, batches: int, run: Run) -> None:
        self.batches, self.rows, self.done = batches, run.plan.batch, 0
        self.times, self.printed = Times(), time.perf_counter()

    def add(self, times: Times) -> None:
        """Take a batch into account; the first one compiles, and is left out of the shares."""
        self.done += bool(times.editing)
        if self.done > 1 or self.batches == 1:
            self.times += times
        last = not times.editing
        if self.done and (last or time.perf_counter() - self.printed > self.EVERY):
            self.printed = time.perf_counter()
            print(self.line())

    def line(self) -> str:
        """Batches done, edits per second, and the shares of the time."""
        times, counted_batches = self.times, max(self.done - (self.batches > 1), 0)
        speed = counted_batches * self.rows / times.whole if times.whole else 0.0
        whole = times.whole or 1.0
        return (
            f"pace      {self.done} of {self.batches} batches, {speed:.1f} edits/s; devices work"
            f" {times.editing / whole:.1%}, wait for reading {times.reading / whole:.1%}, for"
            f" writing {times.writing / whole:.1%}"
        )


def see_off(run: Run, process: Process, presence: Presence, caught: signals.Signals) -> None:
    """Wait as the runtime needs it: process 0 for the others, and without `survive` all for all."""
    if process.index and run.config.cluster.survive:
        jax.distributed.shutdown()
        return
    while not caught.name and presence.others() and (process.index == 0 or missing(run)):
        time.sleep(0.5)


def finished(run: Run, target: Target, process: Process) -> int:
    """The results where all shards are there, else what is missing."""
    left = missing(run)
    if not left:
        return merged(run, target)
    shown = f"{left[:8]}{' ..' if len(left) > 8 else ''}"
    owners = sorted({k % process.count for k in left})
    whose = f", of the processes {owners}" if process.runtime else ""
    print(
        f"share     finished; {counted(len(left), 'shard')} of the others to do{whose}: {shown};"
        " the same command, with any number of processes, computes them"
    )
    return int(process.runtime and process.index == 0)


def missing(run: Run) -> list[int]:
    """The shards of the edits that are not finished; where all are, those of the reference."""
    return run.store.missing or reference.missing(run)


def merged(run: Run, target: Target) -> int:
    """Write the results of all shards; 1 if pictures failed.

    Raises:
        ValueError: shards are missing.
    """
    if left := missing(run):
        raise ValueError(
            f"merge: {counted(len(left), 'shard')} of {run.plan.shards} not computed yet:"
            f" {left[:8]}; give the command without merge, or with the shares that are missing"
        )
    return results.write(run, target)
