"""The config of a run, resolved: the example where no input is given, home folders, drawn seeds."""

from typing import Any

from ml_collections import ConfigDict

from sdedit_jax import registry
from sdedit_jax.diffusion.noise import drawn_seed
from sdedit_jax.files.paths import expand
from sdedit_jax.registry import included

TEXTS = ("prompt", "negative_prompt", "source_prompt", "concepts", "name", "credit")
"""Fields that hold no paths."""


EXAMPLES = ("edit", "sweep", "search", "autotune", "evaluate")
"""Modes that take the example of a config where no input is given."""


def resolve(config: ConfigDict, mode: str) -> ConfigDict:
    """A copy of a config with every value that the run uses.

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
    return with_seeds(found)


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


def with_seeds(config: ConfigDict) -> ConfigDict:
    """The config with a drawn seed in the place of each -1; the seeds of a training are its own.

    Raises:
        TypeError, ValueError: a value that is no seed.
    """
    if "seed" in config:
        given = config.seed
        config.seed = drawn_seed(given)
        if given == -1:
            print(f"seed      {config.seed}, drawn")
    if "sweep" in config and -1 in config.sweep.seeds:
        seeds = (drawn_seed(seed) if seed == -1 else seed for seed in config.sweep.seeds)
        config.sweep.seeds = tuple(seeds)
        print(f"seeds     {config.sweep.seeds}, drawn")
    return config
