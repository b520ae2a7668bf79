"""One HTML file about a run: facts, tables, plots, and each result beside its guide.

The file holds its pictures, style and script, so that it opens from a disk without a network. All
text is escaped. A content security policy allows the script of the template alone.
"""

import base64
import functools
import hashlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
from PIL import Image, UnidentifiedImageError

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
    template = _environment().get_template(TEMPLATE)
    return template.render(
        report=report,
        numbers={data: number for number, data in enumerate(files)},
        urls=[_url(data) for data in files],
    )


def pictures_of(row: Row) -> Iterator[Picture]:
    """The pictures of a row that has a result."""
    if row.after is not None:
        yield row.after
        if row.before is not None:
            yield from (row.before, *row.others)


def shown(value: Value) -> str:
    """A value as text: numbers with four digits, and a dash for one that is missing."""
    if isinstance(value, str):
        return value
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    whole = float(value).is_integer() or abs(value) >= 1e4
    text = f"{value:.0f}" if whole and abs(value) < 1e9 else f"{value:.4g}"
    return text.replace("-", "−") if text.startswith("-") else text


def _sortable(value: float | None) -> str:
    """A number for the script of the page; "" for one that is missing."""
    return "" if value is None or math.isnan(value) else repr(float(value))


def _numeric(table: Table) -> list[bool]:
    """Whether each column of a table has no text."""
    return [not any(isinstance(row[i], str) for row in table.rows) for i in range(len(table[1]))]


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
        return Image.open(io.BytesIO(data), formats=tuple(TYPES))
    except UnidentifiedImageError:
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
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"shown": shown, "sortable": _sortable, "numeric": _numeric, "url": _url}
    made.filters |= {"aspect": _aspect, "sha256": _sha256}
    return made
