"""The program: python main.py --config=configs/strokes.py --workdir=out [--mode=edit]."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from sdedit_jax.images import user_path
from sdedit_jax.modes import MODES, check, run
from sdedit_jax.text import spelling

BASE = Path(__file__).with_name("configs") / "base.py"
CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file of configs/; base.py by default.", lock_config=True
)
WORKDIR = flags.DEFINE_string("workdir", "", "Folder for results, created if missing.")
MODE = flags.DEFINE_string("mode", "edit", f"What to do: {', '.join(MODES)}.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace results of an earlier run.")
KEEP = flags.DEFINE_bool("keep", False, "Keep earlier results: write to WORKDIR/run-2, run-3 ..")


def main(argv: Sequence[str]) -> int:
    """Run the mode; every expected failure is one line and exit code 1."""
    try:
        if len(argv) > 1:
            raise ValueError(f"unknown argument {argv[1]!r}; flags start with --")
        given = config_flags.get_override_values(flags.FLAGS["config"])
        check.check(MODE.value, CONFIG.value, given)
        options = {"overwrite": OVERWRITE.value, "keep": KEEP.value}
        return run(CONFIG.value, WORKDIR.value, MODE.value, **options)
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; finished results are kept", file=sys.stderr)
        return 130


def parse(argv: Sequence[str]) -> list[str]:
    """absl's flags; a wrong one is one line with its name, and --help exits with 0."""
    if {"--help", "-help", "-h"} & set(argv):
        app.usage(shorthelp=True, writeto_stdout=True, exitcode=0)
    try:
        rest = flags.FLAGS(with_config(argv))
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.ERROR)  # orbax logs much below
        return rest
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        print(f"error: {reason(argv, error)}", file=sys.stderr)
        sys.exit(1)


def with_config(argv: Sequence[str]) -> list[str]:
    """The arguments, with the base config where they name none."""
    argv = [re.sub(r"^(--?config=)(~.*)", at_home, arg) for arg in argv]
    for i, arg in enumerate(argv):
        named = re.fullmatch(r"--?config(?:=(.*))?", arg)
        if named:
            file = (named[1] or "".join(argv[i + 1 : i + 2])).split(":")[0]
            if not Path(file).is_file():
                own = (Path(os.path.relpath(path)) for path in BASE.parent.glob("*.py"))
                near = spelling.hint_path(file, [*own, *Path(file).parent.glob("*.py")])
                raise ValueError(f"config: there is no file {file!r}; see configs/{near}")
            return argv
    return [*argv[:1], f"--config={BASE}", *argv[1:]]


def at_home(named: re.Match[str]) -> str:
    """An argument whose path starts in the home folder."""
    return named[1] + str(user_path(named[2]))


def reason(argv: Sequence[str], error: Exception) -> str:
    """What was wrong, in one line; for an unknown field ml_collections gives the last name only."""
    text = " ".join(str(error).split())
    fields = [arg.split("=")[0] for arg in argv if re.match(r"--?config\.", arg)]
    unknown = [f for f in fields if any(quotes(text, part) for part in f.split(".")[1:])]
    if unknown and isinstance(error, AttributeError | KeyError):
        near = similar_field(unknown[0], plain_config(argv))
        return f"{unknown[0]}: the config has no such field{near}"
    return text


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
        yield [name]
        if isinstance(value, ConfigDict):
            yield from ([name, *inner] for inner in fields_of(value))


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # names that a terminal cannot show
    app.run(main, flags_parser=parse)
