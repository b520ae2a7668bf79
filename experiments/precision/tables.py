"""The results as tables in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from measures import OTHERS, SETS


def tables(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Differences of pixels, means and standard deviations of channels, and KID."""
    return [
        *table(
            ["prior, t0", *(f"{name}: {n}" for name in OTHERS for n in ("mean", "p99", "max"))],
            [[name_of(row), *pixels(row)] for row in rows],
        ),
        "",
        *table(
            [
                "prior, t0",
                "features",
                *(f"{name} to photos" for name in SETS),
                *(f"{name} to float32" for name in OTHERS),
            ],
            [[name_of(row), name, *kids(own)] for row in rows for name, own in row["kid"].items()],
        ),
        "",
        *table(
            ["prior, t0", "", *rows[0]["channels"]],
            [[name_of(row), n, *colours(row, n)] for row in rows for n in ("mean", "std")],
        ),
        "",
        *table(
            ["prior, t0", "float32, outside", "bfloat16, outside", "between them, inside"],
            [[name_of(row), *edges(row["masked"])] for row in rows],
        ),
    ]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def name_of(row: Mapping[str, Any]) -> str:
    """The prior and the t0 of a row."""
    return f"{row['prior']}, {row['t0']:g}"


def pixels(row: Mapping[str, Any]) -> list[str]:
    """The cells of the differences."""
    found = [row["difference"][name] for name in OTHERS]
    return [f"{own[n]:.3g}" for own in found for n in ("mean", "p99", "max")]


def kids(own: Mapping[str, Any]) -> list[str]:
    """The cells of the distances on one set of features."""
    found = [*own["photos"].values(), *own["float32"].values()]
    return [f"{value:.4f} ± {error:.4f}" for value, error in found]


def colours(row: Mapping[str, Any], name: str) -> list[str]:
    """The cells of the means, or of the standard deviations, of red, green and blue."""
    return [" ".join(f"{v:.1f}" for v in own[name]) for own in row["channels"].values()]


def edges(own: Mapping[str, Any]) -> list[str]:
    """The cells of the edits with a mask."""
    return [*(str(value) for value in own["outside"].values()), f"{own['inside']:.3g}"]
