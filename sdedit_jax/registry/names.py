"""Names in configs into code: one rule for all tables, and the table of processes."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from sdedit_jax.diffusion import sde
from sdedit_jax.files.schema import kind_of
from sdedit_jax.files.wording import brief
from sdedit_jax.text.spelling import hint, one_of

SDES: dict[str, Callable[..., sde.SDE]] = {
    "ve": sde.VE,
    "vp": sde.VP,
    "subvp": sde.SubVP,
    "linear": sde.linear_table,
    "scaled_linear": sde.scaled_linear_table,
    "cosine": sde.cosine_table,
    "betas": sde.from_betas,
    "respaced": lambda table, kept: sde.respaced(process(table, "process.table"), kept),
}


def pick(table: Mapping[str, Any], name: str, field: str) -> Any:
    """table[name].

    Raises:
        ValueError: an unknown name; the message has the field and the allowed names.
    """
    return table[one_of(field, name, sorted(table))]


def process(values: Mapping[str, Any], field: str = "process") -> sde.SDE:
    """The process of {"name": one of SDES, ...further arguments}."""
    return call(SDES, values, field)


def call(table: Mapping[str, Any], values: Mapping[str, Any], field: str, *args: Any) -> Any:
    """table[name](*args, **rest) for values {"name": name, **rest}.

    Raises:
        ValueError: no name, an unknown one, unknown arguments, or arguments of another type.
    """
    if not isinstance(values, Mapping) or "name" not in values:
        raise ValueError(f"{field} must be an object with a name, got {brief(values)}")
    rest = {name: value for name, value in values.items() if name != "name"}
    make = pick(table, values["name"], f"{field}.name")
    known = inspect.signature(make).parameters
    for argument, value in rest.items():
        if argument not in known:
            raise ValueError(
                f"{field} {values['name']!r} has no argument {brief(argument)}"
                f"{hint(argument, known)}"
            )
        if kind := kind_of(known[argument].annotation):
            kind.check(value, f"{field}.{argument}")
    try:
        return make(*args, **rest)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{field} {values['name']!r}: {error}") from None
