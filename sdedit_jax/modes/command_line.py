"""The program: sdedit --config=NAME --workdir=FOLDER [--mode=MODE] and fields of the config."""

import gc
import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from sdedit_jax import signals
from sdedit_jax.files.wording import brief, one_line
from sdedit_jax.modes import MODES, flag_files, screen
from sdedit_jax.registry import included
from sdedit_jax.text import spelling

USAGE = """\
sdedit --config=NAME --config.input=PICTURE --workdir=FOLDER [--mode=MODE] [--config.FIELD=VALUE]

Edit pictures with a diffusion prior. Without --config.input, the example of the config is edited.

  sdedit --list                                      configs, priors and presets
  sdedit --config=strokes --workdir=out              edit the example of a config
  sdedit --config=strokes --config.input=my.png --workdir=out
"""

PARSING = "Error whilst parsing config file"
"""In the message of ml_collections about a config file that raises."""
NUMBER_OF_DEVICES = "JAX_NUM_CPU_DEVICES"
"""JAX's variable for the number of devices that it makes of a CPU."""
COLLECTED = 50_000
"""New objects between two garbage collections. Imports and traces of JAX make many that stay."""
LONGEST = 200
"""Characters of the message of an error in a config file; ml_collections writes whole configs."""

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The name of an included config, or a file; base by default.", lock_config=True
)
WORKDIR = flags.DEFINE_string("workdir", "", "Folder for results, created if missing.")
MODE = flags.DEFINE_string("mode", "edit", f"What to do: {', '.join(MODES)}.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace results of an earlier run.")
KEEP = flags.DEFINE_bool("keep", False, "Keep earlier results: write to WORKDIR/run-2, run-3 ..")
RESUME = flags.DEFINE_bool("resume", False, "Finish the interrupted run in WORKDIR.")
LIST = flags.DEFINE_bool("list", False, "List configs, priors and presets, and end.")
OWN = ("config", "workdir", "mode", "overwrite", "keep", "resume", "list")
"""The names of these flags."""


def start() -> None:
    """Run the program with the arguments of the command line, and exit."""
    screen.prepare()
    gc.set_threshold(COLLECTED)
    try:
        with signals.program():
            try:
                app.run(main, flags_parser=parse)
            finally:
                sys.stdout.flush()
    except KeyboardInterrupt as error:
        sys.exit(interrupted(error))
    except OSError as error:  # of stdout
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(1)


def share_cores() -> None:
    """Let JAX see a CPU as one device for each core, or the power of two below.

    A batch of edits is then divided among the cores. One device for all of them divides each
    operation, which keeps them less busy; a step of training gains nothing. Who sets the number of
    devices themselves gets that number.
    """
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        os.environ.setdefault(NUMBER_OF_DEVICES, str(1 << ((cores or 1).bit_length() - 1)))


def main(argv: Sequence[str]) -> int:
    """Run the mode; every expected failure is one line and exit code 1."""
    try:
        if len(argv) > 1:
            raise ValueError(f"unknown argument {argv[1]!r}; flags start with --")
        if LIST.value:
            from sdedit_jax.modes import listing

            print("\n".join(listing.lines()))
            return 0
        if not isinstance(CONFIG.value, ConfigDict):
            got = brief(CONFIG.value)
            raise TypeError(f"config: get_config() must return a ConfigDict, got {got}")
        if MODE.value != "train":
            share_cores()
        from sdedit_jax.modes import check, check_config, run_in, target

        given = config_flags.get_override_values(flags.FLAGS["config"])
        check_config(CONFIG.value, MODE.value)
        check.check(MODE.value, CONFIG.value, given)
        options = (OVERWRITE.value, KEEP.value, RESUME.value)
        where = target(WORKDIR.value, MODE.value, *options)
        return run_in(where, CONFIG.value, MODE.value)
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        return interrupted(error)


def interrupted(error: KeyboardInterrupt) -> int:
    """Print that a signal came; the exit code."""
    print("error: interrupted; finished results are kept", file=sys.stderr)
    return getattr(error, "exit_code", 130)


# --- flags ----------------------------------------------------------------------------------------


def parse(argv: Sequence[str]) -> list[str]:
    """absl's flags; a wrong one is one line with its name, and --help exits with 0."""
    if {"--help", "-help", "-h"} & set(argv):
        print(f"{USAGE}\nFlags:\n{flags.FLAGS.module_help(__name__)}")
        sys.exit(0)
    try:
        sys.argv = argv = with_config(argv)  # ml_collections reads the fields from sys.argv
        name_configs()
        logging.set_verbosity(logging.ERROR)  # orbax logs much below; --verbosity changes it
        return flags.FLAGS(argv)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a config file is a program, which may raise or exit
        text = mistake(argv, error) or reason(argv, error)
        if not text:
            raise
        print(f"error: {one_line(text)}", file=sys.stderr)
        sys.exit(1)


def with_config(argv: Sequence[str]) -> list[str]:
    """The arguments, flag files read, with the file of the last config named, else the base's."""
    program, *rest = argv
    rest = flag_files.expanded(rest)
    kept, name = [], "base"
    while rest:
        argument = rest.pop(0)
        found = re.fullmatch(r"--?config(?:=(.*))?", argument, re.DOTALL)
        if not found:
            kept.append(argument)
        elif found[1] is not None:
            name = found[1]
        else:
            name = rest.pop(0) if rest else ""
    name, colon, parameter = name.partition(":")
    return [program, f"--config={included.config(name)}{colon}{parameter}", *kept]


def name_configs() -> None:
    """Let configs of users import the included ones as `configs`, as they do in a checkout."""
    if "configs" not in sys.modules and importlib.util.find_spec("configs") is None:
        sys.modules["configs"] = importlib.import_module("sdedit_jax.configs")


# --- what was wrong, in one line ------------------------------------------------------------------


def mistake(argv: Sequence[str], error: BaseException) -> str:
    """A mistake in the config file, with the file and line; "" where the error is another one."""
    named = [arg.partition("=")[2].split(":")[0] for arg in argv if re.match(r"--?config=", arg)]
    file, text = "".join(named), " ".join(str(error).split())
    if isinstance(error, SyntaxError):
        line = f", line {error.lineno}" if error.lineno else ""
        return f"config: {error.filename or file}{line}: {error.msg}"
    if isinstance(error, AttributeError) and "has no attribute 'get_config'" in text:
        return f"config: {file} has no function get_config()"
    for one in chain(error):
        frames = traceback.extract_tb(one.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == Path(file)]
        if lines:
            text = " ".join(str(one).split())[:LONGEST]
            return f"config: {file}, line {lines[-1]}: {type(one).__name__}: {text}"
    if isinstance(error, MemoryError | RecursionError):
        return f"config: {file}: it is nested too deeply, or too large"
    if PARSING in text:
        one = [*chain(error)][-1]
        return f"config: {file}: {' '.join(str(one).split())[:LONGEST]}"
    return ""


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it was raised from; absl wraps those of a config file."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def reason(argv: Sequence[str], error: BaseException) -> str:
    """What was wrong with the flags or the config; "" where the program exits.

    For an unknown field ml_collections gives the last name only.
    """
    text = " ".join(str(error).split())
    if "type does not support indexing" in text:
        return f"config: get_config() must return a ConfigDict with fields: {text}"
    fields = [arg.split("=")[0] for arg in argv if re.match(r"--?config\.", arg)]
    unknown = [f for f in fields if any(quotes(text, part) for part in f.split(".")[1:])]
    if unknown and isinstance(error, AttributeError | KeyError):
        near = similar_field(unknown[0], plain_config(argv))
        return f"{unknown[0]}: the config has no such field{near}"
    if isinstance(error, flags.UnrecognizedFlagError):
        name, known = error.flagname, {flag: f"--{flag}" for flag in OWN}
        field = similar_field(f"--config.{name}", plain_config(argv))
        return f"unknown flag --{name}{spelling.hint(name, known, known) or field}"
    if isinstance(error, flags.Error):
        return text[: 4 * LONGEST] + found_strength(argv)
    if not isinstance(error, Exception):  # --helpfull exits
        return ""
    short = (text or type(error).__name__)[: 4 * LONGEST]
    return short if re.match(r"(config|flagfile|flag|--)", short) else f"config: {short}"


def found_strength(argv: Sequence[str]) -> str:
    """The hint at auto_t0, where t0 is to be found as in Python."""
    asked = [m[1] for arg in argv if (m := re.fullmatch(r"--?config\.t0=(auto|map)", arg))]
    way = {"auto": "guide", "map": "map"}
    return f"; did you mean --config.auto_t0={way[asked[0]]}?" if asked else ""


def quotes(text: str, name: str) -> bool:
    """Whether a message quotes a name; ml_collections quotes some messages twice."""
    return bool(re.search(rf"'{re.escape(name)}\\?'", text))


def plain_config(argv: Sequence[str]) -> ConfigDict:
    """The config that the arguments name, without their changes."""
    kept = [arg for arg in with_config(argv) if not re.match(r"--?config\.", arg)]
    found = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", flag_values=found, sys_argv=kept)
    found(kept, known_only=True)
    return found.config


def similar_field(argument: str, config: ConfigDict) -> str:
    """The hint at a field of a similar name, for one of a part of the config in that part."""
    _, *parts, last = argument.split(".")
    fields = [*fields_of(config)]
    some = [field for field in fields if field[:-1] == parts] if parts else fields
    known = {field[-1]: ".".join(["--config", *field]) for field in some}
    return spelling.hint(last, known, known)


def fields_of(config: ConfigDict) -> Iterator[list[str]]:
    """The names of all fields of a config, each with those of the parts around it."""
    for name, value in config.items():
        yield [str(name)]
        if isinstance(value, ConfigDict):
            yield from ([str(name), *inner] for inner in fields_of(value))
