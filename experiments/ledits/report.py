"""Puts the tables of all results into README.md, and draws control.png and compare.png.

    python experiments/ledits/report.py

Told are the rows of the prior that was measured last.
"""

import re
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER.parents[1]), str(FOLDER)]

import compare  # noqa: E402
import control  # noqa: E402
import plots  # noqa: E402
import reconstruct  # noqa: E402
import results  # noqa: E402
import runtime  # noqa: E402

TABLES = {
    "reconstruct": reconstruct.table,
    "runtime": runtime.table,
    "control": control.tables,
    "compare": compare.table,
}


def main() -> None:
    """Rewrite what stands between <!-- NAME --> and <!-- end --> of the README, and the plots."""
    path = FOLDER / "README.md"
    text = path.read_text()
    for name, table in TABLES.items():
        if rows := results.last(FOLDER / f"{name}.jsonl"):
            text = filled(text, name, f"{about(rows[-1])}\n\n{table(rows)}")
    path.write_text(text)
    plots.draw(FOLDER / "control.png", plots.control, results.last(FOLDER / "control.jsonl"))
    plots.draw(FOLDER / "compare.png", plots.compare, results.last(FOLDER / "compare.jsonl"))


def about(row: results.Row) -> str:
    """On what was measured."""
    photos = f", {row['photos']} photos" if row.get("photos") else ""
    return f"Prior `{row['prior']}`{photos}."


def filled(text: str, name: str, made: str) -> str:
    """The text with something else between two marks.

    Raises:
        ValueError: there are no such marks.
    """
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"README.md has no place <!-- {name} --> ... <!-- end -->")
    return pattern.sub(lambda found: f"{found[1]}{made}\n{found[2]}", text)


if __name__ == "__main__":
    main()
