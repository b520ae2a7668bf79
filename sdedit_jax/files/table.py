"""Tables of users' files: CSV with commas, semicolons or tabs."""

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import chain, repeat

from sdedit_jax.files import door

DELIMITERS = ",;\t"


def rows(text: str, name: str, field: str) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of the rows of a table that are not blank; cells without outer spaces.

    The first of DELIMITERS in the first line separates the cells. Cells with it, or with line
    breaks, are in double quotes.

    Args:
        name: of the file. field: the setting that names it, for messages.

    Raises:
        ValueError: a quote is not closed, or another damage.
    """
    yield from rows_of(io.StringIO(text, newline=""), name, field)


def rows_of(lines: Iterable[str], name: str, field: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table that is read line by line; see `rows`.

    Args:
        lines: with their line ends.
    """
    lines, blank, first = iter(lines), 0, ""
    for first in lines:
        if first.strip():
            break
        blank += 1
    text = first.strip()
    delimiter = min((sign for sign in DELIMITERS if sign in text), key=text.index, default=",")
    whole = chain(repeat("\n", blank), [first], lines)
    csv.field_size_limit(door.LINE)
    found = csv.reader(whole, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for cells in found:
            if any(cell.strip() for cell in cells):
                yield found.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise ValueError(
            f"{field}: cannot read {name}: line {found.line_num} is no row of a table: {error}"
        ) from None
