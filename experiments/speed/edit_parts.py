"""The parts of an edit: seconds without network, mask and noise, and the work of its programs."""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import machine
import numpy as np
from jax import monitoring
from machine import Seconds
from peaks import Cost, cost, direct_flop

from sdedit_jax import devices
from sdedit_jax.diffusion.solvers import Prediction
from sdedit_jax.edits.sdedit import Recorded
from sdedit_jax.pipeline import executor
from sdedit_jax.pipeline.sdedit import SDEditPipeline

PARTS = ("network", "rule", "mask", "noise", "ends", "to device", "to host", "rest")
PROGRAMS = ("prepare", "init", "advance", "finish")
COMPILED = "/jax/core/compile/backend_compile_duration"
"""JAX's event of the compiler's work alone."""


class Form(NamedTuple):
    """A pipeline and its request of all rows."""

    pipeline: Any
    request: Any


class Timed:
    """Stands for a Runner: waits for each part, and keeps its seconds and its program."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline, self.runner = pipeline, executor.Runner(pipeline, 1, [0.0])
        self.seconds: Counter[str] = Counter()
        self.programs: dict[str, Any] = {}

    def __call__(self, part: str, *args: Any, **static: Any) -> Any:
        program = self.runner.program(part, args, static)
        self.programs.setdefault(part, program)
        return self.clock(part, lambda: program(*args))

    def clock(self, part: str, run: Callable[[], Any]) -> Any:
        seconds, found = machine.clock(run)
        self.seconds[part] += seconds
        return found


def run(form: Form, params: Any, keys: Any) -> Any:
    """The edit as the library runs it."""
    return executor.finish(
        executor.run(form.pipeline, params, form.request, keys, devices=1, listen=False)
    )


def staged(form: Form, params: Any, keys: Any) -> Timed:
    """The same edit with a wait after each of its programs and transfers."""
    timed = Timed(form.pipeline)
    given, keys = timed.clock("to device", lambda: devices.spread((form.request, keys), 1))
    edit = executor.Edit(timed, devices.replicate(params, 1), given, keys)
    for chunk in executor.chunks(form.pipeline):
        edit.advance(chunk, False)
    timed.clock("to host", lambda: edit.finish(len(keys), False))
    timed.seconds["to host"] -= timed.seconds["finish"]
    return timed


def stages(name: str, form: Form, params: Any, keys: Any) -> Callable[[], Seconds]:
    """A measurement of the stages of an edit, under "NAME/STAGE"; the mean over some edits."""
    staged(form, params, keys)
    edits = machine.repeats(sum(staged(form, params, keys).seconds.values()))

    def measure() -> Seconds:
        found = sum((staged(form, params, keys).seconds for _ in range(edits)), Counter())
        return {f"{name}/{stage}": seconds / edits for stage, seconds in found.items()}

    return measure


def without(form: Form) -> dict[str, Form]:
    """The edit without its network, then also without its mask, then also without its noise."""
    plan, (rows, *shape) = form.pipeline.plan, form.request.guide.image.shape
    free = dataclasses.replace(plan, prior=plan.prior.replace(predict=no_network))
    bare = dataclasses.replace(free, hold=None)
    start = np.zeros((rows, plan.repeats, *shape), np.float32)
    silent = Recorded(start, np.zeros((rows, plan.repeats, plan.n, 1, *shape), np.float32))
    return {
        "no network": Form(SDEditPipeline(free), form.request),
        "no mask": Form(SDEditPipeline(bare), form.request),
        "no noise": Form(SDEditPipeline(bare), form.request._replace(noise=silent)),
    }


def no_network(params: Any, x: Any, t: Any, cond: Any = None, key: Any = None) -> Any:
    """A predictor that costs nothing: the state itself."""
    return Prediction(x)


def parts(turn: Mapping[str, float], evaluations: int) -> Seconds:
    """Seconds of the PARTS of an edit, of one turn. Their sum is the edit."""
    programs = {
        form: sum(turn[f"{form}/{part}"] for part in PROGRAMS)
        for form in ("no network", "no mask", "no noise")
    }
    own = {
        "network": evaluations * turn["evaluation"],
        "rule": turn["no noise/advance"],
        "mask": programs["no network"] - programs["no mask"],
        "noise": programs["no mask"] - programs["no noise"],
        "ends": programs["no noise"] - turn["no noise/advance"],
        "to device": turn["no network/to device"],
        "to host": turn["no network/to host"],
    }
    return own | {"rest": turn["edit"] - sum(own.values())}


# --- compilation and work -------------------------------------------------------------------------


def first(form: Form, params: Any, keys: Any) -> tuple[Timed, Seconds]:
    """The first edit of a process: its programs, and seconds of tracing, compiling and all."""
    with compiler() as spent:
        seconds, timed = machine.clock(lambda: staged(form, params, keys))
    whole = timed.runner.seconds[0]
    return timed, {"call": seconds, "trace": whole - sum(spent), "compile": sum(spent)}


@contextlib.contextmanager
def compiler() -> Iterator[list[float]]:
    """The seconds of each call of the compiler inside."""
    spent: list[float] = []

    def listen(event: str, seconds: float, **_: Any) -> None:
        if event == COMPILED:
            spent.append(seconds)

    monitoring.register_event_duration_secs_listener(listen)
    try:
        yield spent
    finally:
        monitoring.unregister_event_duration_listener(listen)


class Evaluation(NamedTuple):
    """The network on all rows: the function, its program and its arguments."""

    fn: Callable[..., Any]
    program: Any
    args: tuple[Any, ...]


def evaluation(pipeline: Any, params: Any, request: Any) -> Evaluation:
    """One evaluation of the network at the shapes of the edit."""
    predict = pipeline.plan.prior.predict
    fn = jax.vmap(lambda params, x, t: predict(params, x, t).eps, (None, 0, 0))
    args = jax.device_put((params, request.guide.image, request.t0))
    return Evaluation(fn, devices.compiled(jax.jit(fn).lower(*args)), args)


def work(form: Form, whole: Timed, free: Timed, network: Evaluation) -> dict[str, Any]:
    """FLOPs and bytes of an evaluation, of all else, and of the edit.

    FLOPs of an evaluation are those of `direct_flop`. The edit has those of its evaluations and of
    the edit without a network. The compiler counts the
    body of a loop once or as often as it runs, which depends on its version. "counted" is how many
    of the "loop" steps of a program it counts: the FLOPs of the program over those of a step.
    """
    pipeline, one = form.pipeline, cost(network.program)
    loop, plan = next(executor.chunks(pipeline)).count, pipeline.plan
    step = one.flop * pipeline.evaluations or 1.0
    counted = max(1, round(cost(whole.programs["advance"]).flop / step))
    times = dict.fromkeys(PROGRAMS, 1.0) | {"advance": plan.n * plan.repeats / counted}
    costs = [(cost(program), times[part]) for part, program in free.programs.items()]
    one = one._replace(flop=direct_flop(network.fn, *network.args))
    rest = Cost(*(sum(c[i] * n for c, n in costs) for i in range(2)))
    edit = Cost(*(plan.nfe * own + more for own, more in zip(one, rest, strict=True)))
    found = {"evaluation": one, "rest": rest, "edit": edit}
    counts = {"evaluations": plan.nfe, "loop": loop, "counted": counted}
    return {name: value._asdict() for name, value in found.items()} | counts


def memory(program: Any) -> dict[str, int]:
    """Bytes of a compiled program; empty where the compiler knows nothing."""
    found = program.memory_analysis()
    names = {"arguments": "argument", "outputs": "output", "temporary": "temp"}
    read = {name: getattr(found, f"{field}_size_in_bytes", None) for name, field in names.items()}
    return {name: size for name, size in read.items() if size is not None}
