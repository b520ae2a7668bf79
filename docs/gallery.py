"""Makes the pictures of the gallery again: python docs/gallery.py [NAME ...].

Each picture of docs/gallery.md stands below the command that makes it. This program runs the
commands in a new folder, and keeps the contact sheet of each. NAME is a picture without suffix.
"""

import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).parent
SHOWN = re.compile(r"^```bash\n(.*?)^```\n\n!\[[^\]]*\]\(([^)]+)\)", re.MULTILINE | re.DOTALL)


def main() -> None:
    """Make the named pictures, or all."""
    wanted = set(sys.argv[1:])
    for command, picture in shown():
        if not wanted or picture.stem in wanted:
            print(picture.relative_to(DOCS.parent))
            make(command, picture)


def shown() -> Iterator[tuple[list[str], Path]]:
    """(arguments of the program, picture) of each picture of the gallery."""
    for block, picture in SHOWN.findall((DOCS / "gallery.md").read_text(encoding="utf-8")):
        program, *args = shlex.split(block.replace("\\\n", " "))
        if program != "sdedit":
            raise ValueError(f"gallery.md: {picture} stands below {program!r}, not sdedit")
        yield args, DOCS / picture


def make(args: list[str], picture: Path) -> None:
    """Run the program, and store its contact sheet without the recipes."""
    with tempfile.TemporaryDirectory() as folder:
        changed = [arg for arg in args if not arg.startswith("--workdir=")]
        program = [sys.executable, "-m", "sdedit_jax", f"--workdir={folder}", *changed]
        subprocess.run(program, check=True, cwd=DOCS.parent)
        (sheet,) = [*Path(folder).glob("sheet.png"), *Path(folder).glob("*_sweep.png")][:1]
        with Image.open(sheet) as opened:
            drawn = opened.convert("RGB")
        drawn.save(picture, quality=88, optimize=True)


if __name__ == "__main__":
    main()
