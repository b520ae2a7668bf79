"""The program: python main.py --config=configs/strokes.py --workdir=out [--mode=edit]."""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from sdedit_jax.run import MODES, asked, mode

BASE = Path(__file__).with_name("configs") / "base.py"
CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file of configs/; base.py by default.", lock_config=True
)
WORKDIR = flags.DEFINE_string("workdir", "", "Folder for results; made if it is not there.")
MODE = flags.DEFINE_enum("mode", "edit", MODES, "What to do.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace results of an earlier run.")


def main(argv: Sequence[str]) -> int:
    """Run the mode; every expected failure is one line and exit code 1."""
    try:
        if len(argv) > 1:
            raise ValueError(f"unknown argument {argv[1]!r}; flags start with --")
        if not WORKDIR.value and MODE.value != "replay":
            raise ValueError("workdir: give a folder for the results, e.g. --workdir=out")
        workdir = Path(WORKDIR.value) if WORKDIR.value else None
        if workdir and MODE.value != "convert":  # that folder appears whole or not at all
            make_folder(workdir)
        given = config_flags.get_override_values(flags.FLAGS["config"])
        asked.check(MODE.value, CONFIG.value, given)
        return mode(MODE.value)(CONFIG.value, workdir, OVERWRITE.value)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; finished results are kept", file=sys.stderr)
        return 130


def make_folder(workdir: Path) -> None:
    """Make the folder for results, and see that it can be written before any work is done."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"workdir: cannot make the folder {workdir}: {error.strerror}") from None
    if not os.access(workdir, os.W_OK):
        raise OSError(f"workdir: {workdir} cannot be written")


def parse(argv: Sequence[str]) -> list[str]:
    """absl's flags; a wrong one is one line that names it, and asking for help is no error."""
    if {"--help", "-help", "-h"} & set(argv):
        app.usage(shorthelp=True, writeto_stdout=True, exitcode=0)
    try:
        rest = flags.FLAGS(with_config(argv))
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.ERROR)  # orbax tells much below
        return rest
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        print(f"error: {reason(argv, error)}", file=sys.stderr)
        sys.exit(1)


def with_config(argv: Sequence[str]) -> list[str]:
    """The arguments, with the base config where they name none."""
    for i, arg in enumerate(argv):
        named = re.fullmatch(r"--?config(?:=(.*))?", arg)
        if named:
            file = (named[1] or "".join(argv[i + 1 : i + 2])).split(":")[0]
            if not Path(file).is_file():
                raise ValueError(f"config: there is no file {file!r}; see configs/")
            return list(argv)
    return [*argv[:1], f"--config={BASE}", *argv[1:]]


def reason(argv: Sequence[str], error: Exception) -> str:
    """What was wrong, in one line; of an unknown field ml_collections tells only the last name."""
    text = " ".join(str(error).split())
    fields = [arg.split("=")[0] for arg in argv if re.match(r"--?config\.", arg)]
    unknown = [f for f in fields if any(repr(part) in text for part in f.split(".")[1:])]
    if unknown and isinstance(error, AttributeError | KeyError):
        return f"{unknown[0]}: the config has no such field"
    return text


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
