"""One HTML file about a run: facts, tables, plots, and each result beside its guide.

The file holds its pictures, style and script, so that it opens from a disk without a network. All
text is escaped. A content security policy allows the script of the template alone.
"""

import base64
import functools
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from sdedit_jax.files import picture_file

if TYPE_CHECKING:
    import jinja2

TEMPLATE = "report.html"
MOST = 200
"""Rows that may have pictures."""

TYPES = {"PNG": "image/png", "WEBP": "image/webp"}

Value = str | float | None


class Picture(NamedTuple):
    """A picture as a file, PNG or WebP, with what it shows."""

    label: str
    data: bytes


class Row(NamedTuple):
    """A result.

    Attributes:
        name: of the result.
        before: what the result is compared with first, usually its guide; None: nothing.
        after: the result; None: the row has numbers only.
        others: further pictures to compare with.
        numbers: a number for each column of the report; None, or no entry: it has none.
        text: a line about the result, such as its prompt.
        recipe: JSON of the recipe. replay: the command that makes the result again.
    """

    name: str
    before: Picture | None
    after: Picture | None
    others: tuple[Picture, ...]
    numbers: Mapping[str, float | None]
    text: str = ""
    recipe: str = ""
    replay: str = ""


class Plot(NamedTuple):
    """A plot as a file, PNG, WebP or SVG."""

    caption: str
    data: bytes


class Table(NamedTuple):
    """A table; the names of its columns have the units of their numbers."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]


class Report(NamedTuple):
    """What a page shows.

    Attributes:
        title: of the page. facts: name -> value, such as the prior, strength, sampler and device.
        tables, plots: a summary. rows: the results.
        columns: the numbers of the rows that are shown, in order, with their units.
        notes: paragraphs about the numbers.
    """

    title: str
    facts: Mapping[str, str]
    tables: Sequence[Table]
    plots: Sequence[Plot]
    rows: Sequence[Row]
    columns: Sequence[str]
    notes: Sequence[str] = ()


def render(report: Report) -> str:
    """The page as HTML.

    Raises:
        ValueError: more than MOST rows have pictures, a table has a row of another length, or a
            picture is no PNG or WebP.
    """
    _check(report)
    files = dict.fromkeys(one.data for row in report.rows for one in pictures_of(row))
    columns = {name: [row.numbers.get(name) for row in report.rows] for name in report.columns}
    return _template().render(
        report=report,
        places={name: decimals(values) for name, values in columns.items()},
        numbers={data: number for number, data in enumerate(files)},
        urls=[_url(data) for data in files],
    )


def pictures_of(row: Row) -> Iterator[Picture]:
    """The pictures of a row that has a result."""
    if row.after is not None:
        yield row.after
        if row.before is not None:
            yield from (row.before, *row.others)


def shown(value: Value, places: int | None = None) -> str:
    """A value as text, a dash for one that is missing.

    Args:
        places: decimal places; None: four digits.
    """
    if isinstance(value, str):
        return value
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if float(value).is_integer() and abs(value) < 1e9:
        places = 0 if places is None else places
    text = f"{value:.4g}" if places is None else f"{value:.{places}f}"
    return text.replace("-", "−", 1) if text.startswith("-") else text


def decimals(values: Iterable[Value]) -> int | None:
    """Decimal places by which the largest number of a column has four digits, without needless 0s.

    None where the numbers are whole, or so unlike that some would lose all digits.
    """
    numbers = [value for value in values if not isinstance(value, str | None)]
    sizes = [abs(value) for value in numbers if math.isfinite(value) and value]
    if not sizes or all(float(value).is_integer() for value in sizes):
        return None
    most = max(0, 3 - math.floor(math.log10(max(sizes))))
    if most > 6 or min(sizes) < max(sizes) / 1000:
        return None
    rounded = [round(size, most) for size in sizes]
    exact = (n for n in range(most) if [round(size, n) for size in rounded] == rounded)
    return next(exact, most)


def _sortable(value: float | None) -> str:
    """A number for the script of the page; "" for one that is missing."""
    return "" if value is None or math.isnan(value) else repr(float(value))


def _numeric(table: Table) -> list[bool]:
    """Whether each column of a table has no text."""
    columns = range(len(table.columns))
    return [not any(isinstance(row[i], str) for row in table.rows) for i in columns]


def _places(table: Table) -> list[int | None]:
    """The decimal places of each column of a table."""
    return [decimals(row[i] for row in table.rows) for i in range(len(table.columns))]


def _url(data: bytes) -> str:
    return f"data:{_type(data)};base64,{base64.b64encode(data).decode()}"


def _type(data: bytes) -> str:
    """The media type of a file."""
    if data.lstrip()[:5] in (b"<?xml", b"<svg ", b"<!DOC"):
        return "image/svg+xml"
    return TYPES[_opened(data).format]


def _aspect(data: bytes) -> str:
    """Width / height of a picture, for CSS."""
    width, height = _opened(data).size
    return f"{width} / {height}"


def _opened(data: bytes) -> Image.Image:
    try:
        return picture_file.opened(data, "the picture", tuple(TYPES))
    except ValueError:
        text = f"report: pictures must be PNG or WebP files, got {data[:8]!r}"
        raise ValueError(text) from None


def _sha256(script: str) -> str:
    """The digest of a script, as a content security policy has it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _check(report: Report) -> None:
    count = sum(row.after is not None for row in report.rows)
    if count > MOST:
        raise ValueError(f"report: at most {MOST} rows may have pictures, got {count}")
    for table in report.tables:
        for row in table.rows:
            if len(row) != len(table.columns):
                raise ValueError(
                    f"report: the table {table.caption!r} has {len(table.columns)} columns, and a"
                    f" row of {len(row)} values"
                )


@functools.cache
def _template() -> "jinja2.Template":
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"shown": shown, "sortable": _sortable, "numeric": _numeric}
    made.filters |= {"places": _places, "url": _url, "aspect": _aspect, "sha256": _sha256}
    return made.get_template(TEMPLATE)
