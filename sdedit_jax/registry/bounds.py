"""Bounds of all values of a config, and of the work that they ask for."""

import copy
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sdedit_jax.files.values import Maybe
from sdedit_jax.files.wording import brief
from sdedit_jax.registry.fields import (
    CONVERT,
    EVALUATION,
    FREE,
    LEDITS,
    MEASURE,
    OPEN_IN_EDITS,
    OPEN_IN_RUNS,
    OPTIONS,
    SDEDIT,
    TEXT,
    TRAIN,
    TRAIN_TEXT,
    TRAIN_VAE,
    Fields,
)
from sdedit_jax.registry.names import pick
from sdedit_jax.text.spelling import hint

STAGES: Mapping[str, Fields] = {"prior": TRAIN, "vae": TRAIN_VAE, "text": TRAIN_TEXT}
METHODS = ("sdedit", "ledits")
DEEPEST = 3
"""Parts inside each other."""

MOST_EVALUATIONS = 100_000
"""Of the network for one picture; the released SDEdit makes 1500."""
MOST_RESULTS = 1_000_000
"""Of one run."""
MOST_TOTAL = 10**10
"""Evaluations of one run."""
MOST_PIXELS = 2**26
"""Of the pictures that are edited or trained at a time: 64 of 1024 x 1024."""
MOST_SHEET = 2**28
"""Pixels of a contact sheet."""
MOST_MAPS = 2**28
"""Values of the noise maps of a photo."""
MOST_PARAMETERS = 10**10
"""Of a network that is trained."""


def check(config: Mapping[str, Any], where: str = "") -> None:
    """Check all fields of a config: their names, types, ranges and numbers of values.

    Args:
        config: plain values, such as `ConfigDict.to_dict()` or JSON gives.
        where: before the names of fields in messages, such as "recipe: ".

    Raises:
        ValueError: an unknown or missing field, or a value that is not allowed.
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"{where}config must be an object, got {brief(config)}")
    fields = fields_of(config, where)
    opened = OPEN_IN_RUNS if "run" in config else OPEN_IN_EDITS
    found = dict(_leaves(config, _parts(fields, opened), where))
    for name, value in found.items():
        if name in fields:
            fields[name].check(value, where + name)
        elif name.partition(".")[0] in opened:
            FREE.check(value, where + name)
        else:
            raise ValueError(f"{where}{_unknown(name, config, fields)}")
    free = (*opened, "options")  # what a task, network or process has defaults for
    for name, kind in fields.items():
        if name not in found and not isinstance(kind, Maybe) and name.partition(".")[0] not in free:
            raise ValueError(f"{where}{name}: the config lacks this field")


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """A checked config with null for each absent field that may be null."""
    made = copy.deepcopy(dict(config))
    for name, kind in fields_of(config).items():
        *parts, last = name.split(".")
        inner = made
        for part in parts:
            inner = inner.setdefault(part, {})
        if isinstance(kind, Maybe):
            inner.setdefault(last, None)
    return made


def _unknown(name: str, config: Mapping[str, Any], fields: Fields) -> str:
    """The message about a field that a config of its kind has not."""
    task = config.get("task")
    owner = f"task {task!r}" if task and name.startswith("options.") else "the config"
    return f"{brief(name)[1:-1]}: {owner} has no such field{hint(name, fields)}"


def fields_of(config: Mapping[str, Any], where: str = "") -> Fields:
    """The fields that a config has, by what it is for.

    Raises:
        ValueError: an unknown method, task or stage, or a config that is for no mode.
    """
    if "card" in config:
        return CONVERT
    if "a" in config and "b" in config:
        return MEASURE
    if "run" in config:
        return pick(STAGES, _name(config, "stage", "prior", where), f"{where}stage")
    evaluation = EVALUATION if "cluster" in config else {}
    method = _name(config, "method", "sdedit", where)
    if method == "ledits":
        return {**LEDITS, **evaluation}
    pick(dict.fromkeys(METHODS), method, f"{where}method")
    if "task" not in config:
        raise ValueError(f"{where}task: the config lacks this field")
    task = pick(OPTIONS, _name(config, "task", "", where), f"{where}task")
    return {**SDEDIT, **task, **evaluation}


def _name(config: Mapping[str, Any], field: str, default: str, where: str) -> str:
    """A field that decides which others there are."""
    name = config.get(field, default)
    TEXT.check(name, where + field)
    return name


def _parts(fields: Fields, opened: Sequence[str]) -> frozenset[str]:
    """The names of all parts of a config."""
    dotted = (name.split(".") for name in fields)
    return frozenset(".".join(one[:n]) for one in dotted for n in range(1, len(one))) | {*opened}


def _leaves(
    config: Mapping[str, Any], parts: Collection[str], where: str, before: str = ""
) -> Iterator[tuple[str, Any]]:
    """The values of a config by their dotted names."""
    for key, value in config.items():
        if not isinstance(key, str):
            raise ValueError(f"{where}{before or 'config'}: a name must be text, got {brief(key)}")
        name = before + key
        inside = before.partition(".")[0] in (*OPEN_IN_EDITS, *OPEN_IN_RUNS)
        if name in parts and not isinstance(value, Mapping):
            raise ValueError(f"{where}{name} must be an object of fields, got {brief(value)}")
        if isinstance(value, Mapping) and (name in parts or inside) and name.count(".") < DEEPEST:
            yield from _leaves(value, parts, where, f"{name}.")
        else:
            yield name, value


def work(factors: Mapping[str, int], most: int, what: str) -> int:
    """The product of some numbers, bounded before the work begins.

    Args:
        factors: field -> its number. what: the product counts, such as "evaluations a picture".

    Raises:
        ValueError: the product is above `most`; the message has the fields to lower.
    """
    total = math.prod(factors.values())
    if total > most:
        product = " x ".join(map(str, factors.values()))
        raise ValueError(f"{', '.join(factors)}: {product} are {total} {what}, at most {most}")
    return total
