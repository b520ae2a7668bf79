"""The config of a run, resolved: the example where no input is given, home folders, drawn seeds."""

from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from sdedit_jax import registry
from sdedit_jax.diffusion.noise import drawn_seed
from sdedit_jax.files.paths import expand
from sdedit_jax.registry import included

TEXTS = ("prompt", "negative_prompt", "source_prompt", "concepts", "name", "credit")
"""Fields that hold no paths."""


EXAMPLES = ("edit", "sweep", "search", "autotune", "evaluate", "doctor")
"""Modes that take the example of a config where no input is given."""


def resolve(
    config: ConfigDict, mode: str, earlier: Callable[[str], Any] = lambda field: None
) -> ConfigDict:
    """A copy of a config with every value that the run uses.

    Args:
        earlier: "seed" or "sweep.seeds" -> the value of an interrupted run, or None; it takes the
            place of drawn seeds.

    Raises:
        TypeError, ValueError: a value that is no seed.
    """
    found = at_home(config)
    if "example" in found:
        example = found.example
        with found.unlocked():
            del found.example
        if mode in EXAMPLES and not found.input and example:
            found = with_example(found, example)
    if mode == "evaluate" and found.get("seed") == -1:
        raise ValueError("seed: an evaluation that is run again needs a seed of its own, got -1")
    return with_seeds(found, earlier)


def with_example(config: ConfigDict, example: ConfigDict) -> ConfigDict:
    """The config with the input of its example, and with the options that belong to it.

    They hold where an option is unset, unless one of the options `example.unless` is set.
    """
    config.input = included.example(example.input)
    print(f"input     {config.input}, the example of this config")
    options = example.get("options", {})
    if not options or any(config.options.get(name) for name in example.get("unless", ())):
        return config
    defaults = registry.default_options(config.task)
    for name, value in options.items():
        if name in defaults and _unset(config.options.get(name), defaults[name]):
            config.options[name] = included.example(value) if isinstance(value, str) else value
    return config


DRAWN = {True: "drawn", False: "of the interrupted run"}


def _unset(value: Any, default: Any) -> bool:
    """Whether nobody has set an option: None, or empty or 0 where that is the default."""
    return value is None or (not value and not default)


def at_home(config: ConfigDict) -> ConfigDict:
    """A copy of the config; "~" in its fields, except those of TEXTS, is the home folder."""
    found = config.copy_and_resolve_references()
    for name, value in found.items():
        if isinstance(value, ConfigDict):
            found[name] = at_home(value)
        elif isinstance(value, str) and name not in TEXTS:
            found[name] = expand(value)
    return found


def with_seeds(config: ConfigDict, earlier: Callable[[str], Any]) -> ConfigDict:
    """The config with a drawn seed in the place of each -1; the seeds of a training are its own.

    Raises:
        TypeError, ValueError: a value that is no seed.
    """
    if "seed" in config:
        given = config.seed
        found = earlier("seed") if given == -1 else None
        config.seed = drawn_seed(given if found is None else found)
        if given == -1:
            print(f"seed      {config.seed}, {DRAWN[found is None]}")
    if "sweep" in config and -1 in config.sweep.seeds:
        found = earlier("sweep.seeds")
        seeds = config.sweep.seeds if found is None else found
        config.sweep.seeds = tuple(drawn_seed(seed) for seed in seeds)
        print(f"seeds     {config.sweep.seeds}, {DRAWN[found is None]}")
    return config
