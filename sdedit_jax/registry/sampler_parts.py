"""Parts of a sampler by name: solvers, grids and correctors.

In a config a part is one string, a name with literal keyword arguments: "ancestral(eta=0.5)". It is
parsed here, once, and never evaluated.
"""

import ast
import dataclasses
import functools
import inspect
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sdedit_jax.diffusion import grids, timesteps
from sdedit_jax.diffusion.correctors import Langevin
from sdedit_jax.diffusion.solvers import (
    PLMS,
    Adaptive,
    Ancestral,
    DPMpp,
    EulerMaruyama,
    Heun,
    ProbabilityFlow,
    ReverseDiffusion,
    SASolver,
    UniPC,
)
from sdedit_jax.files.schema import kind_of
from sdedit_jax.files.wording import brief
from sdedit_jax.registry.fields import TEXT
from sdedit_jax.registry.names import pick
from sdedit_jax.text.spelling import hint

Table = Mapping[str, Callable[..., Any]]


@dataclasses.dataclass(frozen=True)
class SchedulerStep:
    """The step of DDIM or DDPM of diffusers, not yet fitted to a prior.

    Attributes:
        name: "ddim" or "ddpm". eta: scale of the noise.
    """

    name: str
    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must be in [0, 1], got {self.eta}")


# edits of pictures clip x0 to [-1, 1] unless the string says otherwise
SOLVERS: dict[str, Callable[..., Any]] = {
    "ancestral": functools.partial(Ancestral, clip_x0=True),
    "ddim": functools.partial(Ancestral, eta=0.0, clip_x0=True),
    "reverse_diffusion": ReverseDiffusion,
    "euler_maruyama": EulerMaruyama,
    "adaptive": Adaptive,
    "probability_flow": ProbabilityFlow,
    "heun": Heun,
    "dpmpp_2m": functools.partial(DPMpp, order=2, sde=False, clip_x0=True),
    "dpmpp_3m": functools.partial(DPMpp, order=3, sde=False, clip_x0=True),
    "dpmpp_2m_sde": functools.partial(DPMpp, order=2, sde=True, clip_x0=True),
    "dpmpp_3m_sde": functools.partial(DPMpp, order=3, sde=True, clip_x0=True),
    "unipc": functools.partial(UniPC, clip_x0=True),
    "sa_solver": functools.partial(SASolver, clip_x0=True),
    "plms": PLMS,
    "diffusers_ddim": functools.partial(SchedulerStep, "ddim"),
    "diffusers_ddpm": functools.partial(SchedulerStep, "ddpm", 1.0),
}


@dataclasses.dataclass(frozen=True)
class Scheduler:
    """Timesteps of diffusers, not yet fitted to a prior and a number of steps.

    Attributes:
        name: one of timesteps.SCHEDULERS.
        spacing: one of timesteps.SPACINGS; "auto": the prior's own.
        skip: steps at the noisy end that are not run.
    """

    name: str
    spacing: str = "auto"
    skip: int = 0

    def __post_init__(self) -> None:
        allowed = ("auto", *timesteps.SPACINGS)
        if self.spacing not in allowed:
            raise ValueError(f"spacing must be one of {list(allowed)}, got {self.spacing!r}")
        if self.skip < 0:
            raise ValueError(f"skip must be at least 0, got {self.skip}")


GRIDS: dict[str, Callable[..., Any]] = {
    "uniform": grids.Uniform,
    "log_snr": grids.UniformLogSNR,
    "karras": grids.Karras,
    "score_sde": grids.ScoreSDE,
    "paper": functools.partial(grids.Uniform, end="zero"),
    "diffusers_ddim": functools.partial(Scheduler, "ddim"),
    "diffusers_ddpm": functools.partial(Scheduler, "ddpm"),
    "diffusers_dpmpp": functools.partial(Scheduler, "dpmpp"),
    "diffusers_pndm": functools.partial(Scheduler, "pndm"),
}

CORRECTORS: dict[str, Callable[..., Any]] = {
    "none": lambda: None,
    "langevin": Langevin,
}


def parse(text: Any, table: Table, field: str) -> Any:
    """The part of a string like "ancestral(eta=0.5)"; a part that is a value already is returned.

    Args:
        table: name -> the part's constructor. field: its name in messages.

    Raises:
        ValueError: another form, an unknown name or parameter (the message has those that exist),
            or a value of another type or out of its range.
    """
    if not isinstance(text, str):
        value = text is None or (dataclasses.is_dataclass(text) and not isinstance(text, type))
        if not value:
            raise TypeError(f"{field} must be a string or a frozen dataclass, got {brief(text)}")
        return text
    name, given = _split(text, field)
    allowed = parameters(pick(table, name, field))
    for parameter, value in given.items():
        if parameter not in allowed:
            raise ValueError(
                f"{field}: {name} has no parameter {brief(parameter)}{hint(parameter, allowed)};"
                f" it has {sorted(allowed)}"
            )
        _check_value(value, allowed[parameter], f"{field}: {parameter} of {name}")
    try:
        return table[name](**given)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{field}: {error}") from None


def _check_value(value: Any, parameter: inspect.Parameter, field: str) -> None:
    """Raise ValueError for a value of another type, or for a number of an absurd size."""
    kind = kind_of(parameter.annotation) or kind_of(type(parameter.default))
    free = value == math.inf == parameter.default
    if kind and not free:
        kind.check(value, field)


def parameters(make: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a constructor that a string may set: not those that its name stands for."""
    plain = make.func if isinstance(make, functools.partial) else make
    every = inspect.signature(plain).parameters
    return {n: p for n, p in every.items() if n != "axis" and n not in _meaning(make, list(every))}


def _meaning(make: Callable[..., Any], names: Sequence[str]) -> list[str]:
    """The parameters that the name of a constructor fixes."""
    if not isinstance(make, functools.partial):
        return []
    return [*names[: len(make.args)], *(name for name in make.keywords if name != "clip_x0")]


def as_text(part: Any, table: Table) -> str:
    """The string of a part: its name, and the parameters that differ from the name's own.

    A part that is not in the table is given by its repr.
    """
    if part is None:
        return "none"
    found = [text for name, make in table.items() if (text := _as(part, name, make))]
    return min(found, key=len, default=repr(part))


def _as(part: Any, name: str, make: Callable[..., Any]) -> str:
    """The string of a part under one name of a table; "" where it is not of this name."""
    partial = isinstance(make, functools.partial)
    if (make.func if partial else make) is not type(part):
        return ""
    own = make()
    fields = [f.name for f in dataclasses.fields(part)]
    given = {f: getattr(part, f) for f in fields if getattr(part, f) != getattr(own, f)}
    if any(f in given for f in _meaning(make, fields)):
        return ""
    inside = ", ".join(f"{f}={value!r}" for f, value in given.items())
    return f"{name}({inside})" if given else name


def _split(text: str, field: str) -> tuple[str, dict[str, Any]]:
    """Name and literal keyword arguments of a part's string."""
    wrong = ValueError(
        f'{field} must be a name, or a name with keyword arguments such as "ancestral(eta=0.5)",'
        f" got {brief(text)}"
    )
    try:
        TEXT.check(text, field)
        with warnings.catch_warnings(action="ignore"):  # of Python's own about odd literals
            node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, {}
        named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if not named or node.args or any(k.arg is None for k in node.keywords):
            raise wrong
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise wrong from None
    return node.func.id, {k.arg: _literal(k, text, node.func.id, field) for k in node.keywords}


def _literal(given: ast.keyword, text: str, name: str, field: str) -> Any:
    """The value of an argument; inf is a number too."""
    if isinstance(given.value, ast.Name) and given.value.id == "inf":
        return float("inf")
    try:
        return ast.literal_eval(given.value)
    except (ValueError, TypeError, MemoryError, RecursionError):
        shown = ast.get_source_segment(text.strip(), given.value)[:80]
        raise ValueError(
            f"{field}: {brief(given.arg)[1:-1]} of {name} must be a number, a string, True, False"
            f" or None, got {shown}"
        ) from None
