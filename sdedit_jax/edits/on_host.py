"""Inversion and replay with the maps in the memory of the host, for large states and many steps.

The steps go in chunks: one compiled program inverts a chunk and hands its maps to the host, another
takes them back for the replay. Not one pure function, hence apart from inversion.py.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.edits.inversion import (
    Inversion,
    Request,
    check,
    encoded,
    finish,
    path_of,
    source_begin,
    source_steps,
    target_begin,
    target_steps,
)
from sdedit_jax.samplers import State


def edit(plan: Inversion, chunk: int = 10, batch: bool = False) -> Callable[..., Array]:
    """Inversion and replay as a function (params, request, key) -> image [H, W, C].

    Chunks of steps share one compiled program each way (the last chunk may be shorter).

    Args:
        chunk: maps on the device at a time.
        batch: request and key have a leading axis B, and so has the result.
    """
    check(plan)
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1 step, got {chunk}")

    def program(part: Callable, rows: str) -> Callable:
        """A compiled part; `rows` has a 0 where an argument has a row for each image."""
        axes = tuple(0 if row == "0" else None for row in rows)
        return jax.jit(jax.vmap(part, axes) if batch else part)

    def opened(params: Any, request: Request, key: Array) -> tuple[Request, State, State]:
        request = encoded(plan, params, request)
        source = source_begin(plan, params, request, path_of(request, key))
        return request, source, target_begin(plan, params, request, source.x)

    def back(count: int) -> Callable:
        def part(params: Any, request: Request, key: Array, state: State, first: Array) -> tuple:
            return source_steps(plan, params, request, path_of(request, key), state, first, count)

        return program(part, "-000-")

    def forth(params: Any, request: Request, zs: Array, state: State, first: Array) -> State:
        return target_steps(plan, params, request, zs, state, first)[0]

    opening, closing = program(opened, "-00"), program(lambda *a: finish(plan, *a), "-00")
    spans = [(jnp.int32(i), min(chunk, plan.steps - i)) for i in range(0, plan.steps, chunk)]
    backs = {count: back(count) for _, count in spans}
    forward = program(forth, "-000-")

    def run(params: Any, request: Request, key: Array) -> Array:
        photo, (request, source, target) = request, opening(params, request, key)
        maps = []
        for first, count in spans:
            source, zs = backs[count](params, request, key, source, first)
            maps.append(jax.device_get(zs))
        for (first, _), zs in zip(spans, maps, strict=True):
            target = forward(params, request, zs, target, first)
        return closing(params, photo, target.x)

    return run
