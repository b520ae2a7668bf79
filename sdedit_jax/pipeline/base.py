"""The stages of a kind of edit, and the events of an executor."""

from typing import Any, NamedTuple, Protocol

from jax import Array


class Stage(NamedTuple):
    """A run of steps of an edit.

    Attributes:
        name: such as "edit" or "invert".
        steps: the number of steps.
        evaluations: network evaluations in a step, those of guidance included.
        repeats: how often the steps are run, one run after the other.
        records: whether a chunk of steps gives arrays for later stages (noise maps).
        replays: the stage whose arrays this one takes, chunk by chunk; "": none.
        early: whether it may end before its last step, see Pipeline.idle.
    """

    name: str
    steps: int
    evaluations: int
    repeats: int = 1
    records: bool = False
    replays: str = ""
    early: bool = False


class Pipeline(Protocol):
    """A kind of edit with all that is static, as pure functions of one picture.

    Implementations are frozen dataclasses, registered static: equal pipelines share programs.
    `stage` is the name of a stage, `repeat` and `first` are traced, `count` is static.
    """

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages in their order."""

    @property
    def keep_on_host(self) -> bool:
        """Whether recorded arrays wait in the memory of the host."""

    def prepare(self, params: Any, request: Any) -> Any:
        """The request in the space of the prior."""

    def init(
        self, params: Any, request: Any, key: Array, state: Any, stage: str, repeat: Array
    ) -> Any:
        """The state before a stage; `state` is the one after the last stage, at first None."""

    def advance(
        self,
        params: Any,
        request: Any,
        key: Array,
        state: Any,
        maps: Any,
        repeat: Array,
        first: Array,
        *,
        stage: str,
        count: int,
        preview: bool,
    ) -> tuple[Any, Any, Any]:
        """`count` steps: (state, recorded arrays or None, predicted x0 for a preview or None).

        maps: the arrays of the replayed stage for these steps, or None.
        """

    def idle(self, state: Any) -> Array:
        """Of an early stage: whether each picture of a batch is finished, from their states."""

    def show(self, params: Any, x0: Array) -> Array:
        """A preview [H, W, C] of a predicted x0."""

    def finish(self, params: Any, given: Any, request: Any, state: Any) -> Any:
        """The result; `given` is the request before `prepare`."""


class Event(NamedTuple):
    """Progress of an edit, after a chunk of steps.

    Attributes:
        stage: the name of the stage.
        step: steps done in this stage, repeats included.
        steps: the number of steps of this stage, repeats included.
        evaluations: network evaluations done so far, in the edit of one picture.
        total: network evaluations of the whole edit, the most of them where a stage ends early.
        seconds: since the edit began, without compiling.
        preview: the predicted clean pictures [B, H, W, C] in [-1, 1], on request.
        batch: the number of this batch in the call, from 1.
        batches: the number of batches in the call.
    """

    stage: str
    step: int
    steps: int
    evaluations: int
    total: int
    seconds: float
    preview: Any = None
    batch: int = 1
    batches: int = 1


class Finished(NamedTuple):
    """The end of an edit.

    Attributes:
        result: of the pipeline's `finish`, leaves [B, ...].
        maps: stage -> its recorded arrays [B, N, ...], if requested.
        seconds: of the edit without compiling. compile_seconds: of compiling.
        rows: rows that were run, padding included.
    """

    result: Any
    maps: dict[str, Any]
    seconds: float
    compile_seconds: float
    rows: int


class Done(NamedTuple):
    """The last item of a stream: what the call would have returned."""

    result: Any


class Cancelled(Exception):
    """An edit was stopped before its end."""


def total_evaluations(pipeline: Pipeline) -> int:
    """Network evaluations of one picture in the whole edit, if no stage ends early."""
    return sum(s.steps * s.evaluations * s.repeats for s in pipeline.stages)
