"""The dtype in which a loaded prior holds each parameter.

In the compute mode bfloat16 a network converts most parameters at each use. Such a parameter is
held in bfloat16: it needs half the memory, and no step of an edit converts it again.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from sdedit_jax import registry
from sdedit_jax.priors.prior import Prior

FLOAT32 = jnp.dtype(jnp.float32)
MOVES = frozenset({"broadcast_in_dim", "reshape", "rev", "slice", "squeeze", "transpose"})
"""Primitives of one operand that move numbers and leave their values."""


def held(prior: Prior, compute: str) -> Any:
    """The dtype of each parameter: that to which every use converts it, else float32.

    Args:
        prior: its params may be shapes.
        compute: its compute mode.

    Returns:
        a tree of dtypes, in the structure of the params.
    """
    if compute != "bfloat16":
        return jax.tree.map(lambda _: FLOAT32, prior.params)
    program = jax.make_jaxpr(functools.partial(_all_parts, prior))(prior.params).jaxpr
    dtypes = [u.pop() if len(u) == 1 else FLOAT32 for u in _uses(program, program.invars)]
    return jax.tree.unflatten(jax.tree.structure(prior.params), dtypes)


def _all_parts(prior: Prior, params: Any) -> Any:
    """What an edit evaluates: the encoder of texts, the codec, the network."""
    image, cond = jnp.zeros(prior.shape), _cond(prior, params)
    if prior.prepare_cond is not None:
        cond = prior.prepare_cond(params, image, image[..., :1], cond)
    x = prior.codec.encode(params, image)
    return prior.predict(params, x, jnp.float32(0.5), cond), prior.codec.decode(params, x)


def _cond(prior: Prior, params: Any) -> Any:
    """The embedding of an empty text, the first class, or None."""
    if prior.text is not None:
        return prior.text.encode(params, jnp.asarray(prior.text.tokenize("").ids))
    known = registry.classes(prior)
    return None if known is None or known.count is None else jnp.int32(0)


def _uses(program: core.Jaxpr, variables: Sequence[core.Var]) -> list[set[Any]]:
    """For each variable of a program the dtypes that its uses read: FLOAT32, if not converted."""
    found: list[set[Any]] = [set() for _ in variables]
    origin = {variable: i for i, variable in enumerate(variables)}

    def of(value: Any) -> int | None:
        return None if isinstance(value, core.Literal) else origin.get(value)

    for equation in program.eqns:
        name = equation.primitive.name
        for i in {of(value) for value in equation.invars} - {None}:
            if name in MOVES:
                origin[equation.outvars[0]] = i
            else:
                converts = name == "convert_element_type"
                found[i].add(equation.params["new_dtype"] if converts else FLOAT32)
    for i in {of(value) for value in program.outvars} - {None}:
        found[i].add(FLOAT32)
    return found
