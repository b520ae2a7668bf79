"""The program: python main.py --config=configs/strokes.py --workdir=out [--mode=edit]."""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from sdedit_jax.run import MODES, mode

CONFIG = config_flags.DEFINE_config_file("config", None, "A file of configs/.", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", "", "Folder for results; made if it is not there.")
MODE = flags.DEFINE_enum("mode", "edit", MODES, "What to do.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace results of an earlier run.")


def main(argv: Sequence[str]) -> int:
    """Run the mode; every expected failure is one line and exit code 1."""
    try:
        if len(argv) > 1:
            raise ValueError(f"unknown argument {argv[1]!r}; flags start with --")
        if CONFIG.value is None:
            raise ValueError("config: give one, e.g. --config=configs/strokes.py")
        if not WORKDIR.value and MODE.value != "replay":
            raise ValueError("workdir: give a folder for the results, e.g. --workdir=out")
        workdir = Path(WORKDIR.value)
        if WORKDIR.value:
            workdir.mkdir(parents=True, exist_ok=True)
        return mode(MODE.value)(CONFIG.value, workdir, OVERWRITE.value)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; finished results are kept", file=sys.stderr)
        return 130


def parse(argv: Sequence[str]) -> list[str]:
    """absl's flags; a wrong one is one line that names it."""
    try:
        rest = flags.FLAGS(list(argv))
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # orbax tells much at INFO
        return rest
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        text = " ".join(str(error).split())
        print(f"error: {text}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
