"""Peaks of the machine: matrix products, and the convolutions of a network."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params

from sdedit_jax.nets import layers
from sdedit_jax.nets.functional import COMPUTE

MATRIX, CONVOLUTION = "matrix", "conv"
"""First words of the names of products."""


class Convolution(NamedTuple):
    """A convolution 3 x 3, stride 1, of pictures [rows, height, width, inputs]."""

    rows: int
    height: int
    width: int
    inputs: int
    outputs: int

    @property
    def label(self) -> str:
        pixels = f"{self.rows} x {self.height} x {self.width}"
        return f"{CONVOLUTION} {pixels}, {self.inputs} to {self.outputs}"


LARGE = Convolution(8, 64, 64, 256, 256)
"""A convolution of many products that belongs to no network."""


class Cost(NamedTuple):
    """FLOPs and bytes accessed, as the compiler counts them."""

    flop: float
    bytes: float


class Peak(NamedTuple):
    """A compiled product: its name, a call without arguments, and its FLOPs."""

    name: str
    run: Callable[[], Any]
    flop: float


def cost(program: Any) -> Cost:
    """Of a lowered or compiled program; zeros where nothing is counted."""
    found = program.cost_analysis() or {}
    found = found[0] if isinstance(found, list) else found
    return Cost(found.get("flops", 0.0), found.get("bytes accessed", 0.0))


def direct_flop(fn: Callable[..., Any], *args: Any) -> float:
    """FLOPs of a function as the library writes it for accelerators, with nothing in pieces.

    A CPU computes convolutions with fewer products, and strips and pieces in loops whose bodies the
    compiler may count once.
    """
    program = jax.jit(fn).trace(*args).lower(lowering_platforms=("tpu",))
    return cost(program).flop


def sides() -> tuple[int, ...]:
    """The sides of the matrices, by the kind of the device."""
    return (512, 1024, 2048) if jax.default_backend() == "cpu" else (2048, 4096, 8192, 16384)


def large() -> Convolution:
    """LARGE, with more pictures on other devices than CPUs."""
    return LARGE if jax.default_backend() == "cpu" else LARGE._replace(rows=256)


def product(side: int, compute: str) -> Peak:
    """A product of two square matrices."""
    a, b = _normal((2, side, side), compute)
    program = compiled(lambda a, b: a @ b, compute, a, b)
    return Peak(f"{MATRIX} {side} x {side}", lambda: program(a, b), 2.0 * side**3)


def convolution(given: Convolution, compute: str) -> Peak:
    """A convolution as the networks of the library compute it, with the FLOPs of `direct_flop`.

    Products with the zeros around the pictures are not counted.
    """
    x = _normal(given[:4], compute)
    kernel = _normal((3, 3, given.inputs, given.outputs), compute)
    program = compiled(layers.conv, compute, x, kernel)
    flop = direct_flop(layers.conv, x, kernel)
    return Peak(given.label, lambda: program(x, kernel), flop)


def compiled(fn: Callable[..., Any], compute: str, *args: Any) -> Any:
    """The program of `fn` for arguments, with the precision of a compute mode."""
    with jax.default_matmul_precision(COMPUTE[compute][0]):
        return jax.jit(fn).lower(*args).compile()


def _normal(shape: tuple[int, ...], compute: str) -> Any:
    drawn = jax.random.normal(jax.random.key(0), shape, jnp.float32)
    return (drawn / math.sqrt(shape[-2])).astype(COMPUTE[compute][1])


# --- the convolutions of a network ----------------------------------------------------------------


def levels(found: Counter[Convolution]) -> list[Convolution]:
    """For each size of pictures the convolution that costs most, the largest pictures first."""
    best: dict[tuple[int, int], Convolution] = {}
    for one, times in found.items():
        size = one.height, one.width
        if size not in best or times * math.prod(one) > found[best[size]] * math.prod(best[size]):
            best[size] = one
    return [best[size] for size in sorted(best, reverse=True)]


def convolutions(fn: Callable[..., Any], *args: Any) -> Counter[Convolution]:
    """How often a function computes each convolution, by what is traced of it."""
    jaxpr = jax.make_jaxpr(fn)(*args).jaxpr
    return Counter(filter(None, map(_of_equation, _equations(jaxpr))))


def _equations(jaxpr: Any) -> Iterator[Any]:
    """The equations of a jaxpr, with those inside of them."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from _equations(inner)


def _of_equation(equation: Any) -> Convolution | None:
    if equation.primitive.name != "conv_general_dilated":
        return None
    x, kernel = (v.aval.shape for v in equation.invars)
    form = equation.params["dimension_numbers"]
    outputs, inputs, *window = (kernel[i] for i in form.rhs_spec)
    rows, _, *size = (x[i] for i in form.lhs_spec)
    strides = *equation.params["window_strides"], *equation.params["lhs_dilation"]
    plain = set(strides) == {1} and equation.params["feature_group_count"] == 1
    same = tuple(equation.outvars[0].aval.shape[i] for i in form.out_spec[2:]) == tuple(size)
    return (
        Convolution(rows, *size, inputs, outputs) if window == [3, 3] and plain and same else None
    )
