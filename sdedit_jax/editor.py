"""A plan compiled for batches: vmap in a device, devices through parallel.py, progress by chunks.

The reverse scan runs in equal chunks that share one executable, so that a long edit can tell how
far it is. What is compiled depends on the plan, the picture size and the number of rows; strength,
guides, masks, labels and keys are arguments.
"""

import hashlib
import numbers
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax import parallel
from sdedit_jax.edits import sdedit
from sdedit_jax.edits.sdedit import Edited, Request, SDEdit


class Editor(NamedTuple):
    """A plan compiled for `rows` pictures on `devices` devices.

    Attributes:
        begin: (request, keys, k, x0) -> state. steps: (params, request, keys, k, x0, state, first)
            -> state after `chunk` steps. mix: (request, x0, state) -> x0. finish: (params, request,
            x0, picture, score_sq) -> Edited.
        seconds: compile time.
    """

    plan: SDEdit
    rows: int
    devices: int
    chunk: int
    encode: Any
    begin: Any
    steps: Any
    mix: Any
    finish: Any
    seconds: float


def image_key(seed: int, id: str, sample: int = 0) -> Array:
    """The key of one picture: it depends on seed, id and sample number alone.

    Raises:
        ValueError: the seed is not in [0, 2**32), where each seed gives noise of its own.
    """
    if not isinstance(seed, numbers.Integral) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be a whole number in [0, 2**32 - 1], got {seed!r}")
    name = int.from_bytes(hashlib.sha256(id.encode()).digest()[:4], "big")
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), name), sample)


def chunk_of(n: int) -> int:
    """The largest divisor of n that is at most n / 10 (at least 1)."""
    return max(c for c in range(1, max(n // 10, 1) + 1) if n % c == 0)


def compile_editor(
    plan: SDEdit, params: Any, request: Request, keys: Array, devices: int = 0
) -> Editor:
    """Compile the plan for requests like `request` (leaves [B, ...]) and keys [B].

    Raises:
        ValueError: a corrector whose step size is the batch's: a picture would depend on what is
            edited beside it, and on how many devices there are.
    """
    if plan.refine.mixes:
        raise ValueError('sampler.norm must be "image" here: a batch norm mixes the pictures')
    n, chunk = parallel.count(devices), chunk_of(plan.n)
    rows = keys.shape[0]
    start = time.perf_counter()
    request, keys = parallel.spread((request, keys), n)
    k, first = jnp.int32(0), jnp.int32(0)

    def encode(params: Any, request: Request) -> Request:
        return sdedit.opened(plan, params, request)

    def begin(request: Request, key: Array, k: Array, x0: Array) -> Any:
        return sdedit.start(plan, request, sdedit.random(key, x0.shape), k, x0)

    def steps(params: Any, request: Request, key: Array, k: Array, x0: Array, *rest: Any) -> Any:
        noise = sdedit.random(key, x0.shape)
        state, first = rest
        return sdedit.steps(plan, params, request, noise, k, x0, state, first=first, count=chunk)

    def mix(request: Request, x0: Array, state: Any) -> Array:
        return sdedit.mix(plan, request, x0, state.x)

    def finish(params: Any, request: Request, x0: Array, *rest: Array) -> Edited:
        return sdedit.finish(plan, params, request, x0, *rest)

    def build(fn: Callable[..., Any], axes: tuple[int | None, ...], *args: Any) -> Any:
        over = parallel.mapped(jax.vmap(fn, axes, axis_name="batch"), axes, n)
        return over.lower(*args).compile()

    encode = build(encode, (None, 0), params, request)
    picture, request = request.guide.image, encode(params, request)
    x0 = request.guide.image
    begin = build(begin, (0, 0, None, 0), request, keys, k, x0)
    state = begin(request, keys, k, x0)
    axes = (None, 0, 0, None, 0, 0, None)
    steps = build(steps, axes, params, request, keys, k, x0, state, first)
    mix = build(mix, (0, 0, 0), request, x0, state)
    finish = build(finish, (None, 0, 0, 0, 0), params, request, x0, picture, state.score_sq)
    seconds = time.perf_counter() - start
    return Editor(plan, rows, n, chunk, encode, begin, steps, mix, finish, seconds)


def run(
    editor: Editor,
    params: Any,
    request: Request,
    keys: Array,
    progress: Callable[[int], None] | None = None,
) -> Edited:
    """Edit the rows of `request` (leaves [B, ...]) with keys [B]; B as compiled.

    Args:
        progress: told the number of network evaluations per picture after each chunk.
    """
    request, keys = parallel.spread((request, keys), editor.devices)
    picture, request = request.guide.image, editor.encode(params, request)
    x0, score_sq = request.guide.image, None
    for repeat in range(editor.plan.repeats):
        k = jnp.int32(repeat)
        state = editor.begin(request, keys, k, x0)
        for first in range(0, editor.plan.n, editor.chunk):
            state = editor.steps(params, request, keys, k, x0, state, jnp.int32(first))
            if progress:
                jax.block_until_ready(state.x)
                progress(editor.chunk * editor.plan.evaluations)
        x0 = editor.mix(request, x0, state)
        score_sq = state.score_sq if score_sq is None else jnp.maximum(score_sq, state.score_sq)
    edited = editor.finish(params, request, x0, picture, score_sq)
    return jax.tree.map(np.asarray, parallel.gather(edited, editor.rows))
