"""Measures of a picture against another one: of an edit against its guide, photo or reference.

    l2           norm of the difference over all values in [0, 1]; l2_squared its square
    rms          root of the mean squared difference
    psnr         decibels of 1 / rms^2
    ssim         structural similarity
    .._kept      over the pixels that the mask keeps (mask = 0)
    .._edited    over the pixels that may change (mask > 0)

Measures by networks, such as LPIPS, are values of the same type; opening.py opens them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from sdedit_jax.evaluation.ssim import RADIUS, ssim_map

REGIONS = {
    "": "",
    "kept": ", over the pixels with mask = 0",
    "edited": ", over those with mask > 0",
}

Of = Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]


@dataclass(frozen=True)
class Paired:
    """A measure of a picture against another one.

    Attributes:
        name: with the region, such as "rms_kept".
        of: (a, b, mask) -> float64 [B], of uint8 [B, H, W, 3] and float32 [B, H, W] in [0, 1],
            white may change; None: everything may. Row i depends on row i alone, and is nan where
            it has no pixel of the region.
        definition: one sentence. unit: "" for a bare number. better: "lower" or "higher".
        region: "" for all pixels, "kept" or "edited".
        facts: what else a reader must know, such as the sha256 of weights.
    """

    name: str
    of: Of
    definition: str
    unit: str = ""
    better: str = "lower"
    region: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> dict[str, Any]:
        """What stands beside a number in results, for JSON."""
        words = {"unit": self.unit, "better": self.better, "definition": self.definition}
        return {**words, **self.facts}


def inside(region: str, mask: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """The pixels of a region of REGIONS: bool [B, H, W].

    Raises:
        ValueError: a mask of another shape than [B, H, W].
    """
    if mask is not None and mask.shape != shape:
        raise ValueError(f"mask must be of shape {shape}, got {mask.shape}")
    if not region:
        return np.ones(shape, bool)
    edited = np.ones(shape, bool) if mask is None else mask > 0
    return edited if region == "edited" else ~edited


def _squares(
    region: str, a: np.ndarray, b: np.ndarray, mask: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The sum of squared differences of levels, and the number of values: [B] each.

    Sums are exact in integers. An empty region has nan values.
    """
    check(a, b)
    where = inside(region, mask, a.shape[:3])
    apart = np.square(a.astype(np.int32) - b) * where[..., None]
    count = where.sum((1, 2)) * np.float64(a.shape[-1])
    return apart.sum((1, 2, 3), dtype=np.int64), np.where(count > 0, count, np.nan)


def check(a: np.ndarray, b: np.ndarray) -> None:
    """Raise ValueError unless both are uint8 [B, H, W, 3] of one shape."""
    right = a.dtype == b.dtype == np.uint8 and a.shape == b.shape
    if not (right and a.ndim == 4 and a.shape[-1] == 3):
        raise ValueError(
            f"a and b must be uint8 [B, H, W, 3] of one shape, got {a.dtype} {a.shape} and"
            f" {b.dtype} {b.shape}"
        )


def _l2_squared(region: str, a: np.ndarray, b: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    total, count = _squares(region, a, b, mask)
    return np.where(np.isnan(count), np.nan, total / 255**2)


def _l2(region: str, a: np.ndarray, b: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    return np.sqrt(_l2_squared(region, a, b, mask))


def _rms(region: str, a: np.ndarray, b: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    total, count = _squares(region, a, b, mask)
    return np.sqrt(total / count) / 255


def _psnr(region: str, a: np.ndarray, b: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    total, count = _squares(region, a, b, mask)
    return 10 * np.log10(255**2 * count / np.maximum(total, 1))


def _ssim(region: str, a: np.ndarray, b: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    check(a, b)
    windows = inside(region, mask, a.shape[:3])[:, RADIUS:-RADIUS, RADIUS:-RADIUS]
    count = windows.sum((1, 2))
    total = np.where(windows, ssim_map(a, b), 0).sum((1, 2))
    return total / np.where(count > 0, count, np.nan)


NORM = "Euclidean norm of the difference over all values in [0, 1]"
KINDS: Mapping[str, tuple[Callable[..., np.ndarray], str, str, str]] = {
    "l2": (_l2, NORM, "", "lower"),
    "l2_squared": (_l2_squared, f"square of the {NORM}", "", "lower"),
    "rms": (_rms, "root mean square of the difference of values in [0, 1]", "", "lower"),
    "psnr": (
        _psnr,
        "10 log10 of 1 / (mean squared difference of values in [0, 1]), where equal pictures count"
        " as if one value differed by 1 / 255",
        "dB",
        "higher",
    ),
    "ssim": (
        _ssim,
        "structural similarity (Wang et al. 2004) with a normal window of 11 x 11 pixels and sigma"
        " 1.5, mean over RGB and over the windows inside the picture",
        "",
        "higher",
    ),
}


def _measure(kind: str, region: str) -> Paired:
    of, definition, unit, better = KINDS[kind]
    name = f"{kind}_{region}" if region else kind
    where = (
        REGIONS[region].replace("over", "of windows around") if kind == "ssim" else REGIONS[region]
    )
    return Paired(name, partial(of, region), definition + where, unit, better, region)


def by_network(name: str, of: Of, definition: str, facts: Mapping[str, Any]) -> dict[str, Paired]:
    """A distance by a network: over all pixels, the kept and the edited ones, by name.

    Args:
        of: (a, b, mask) -> float64 [B]; it averages over the mask, and refuses an empty one.
    """
    named = {region: f"{name}_{region}" if region else name for region in REGIONS}
    return {
        one: Paired(one, partial(_over, of, region), definition + REGIONS[region], "", "lower",
                    region, facts)
        for region, one in named.items()
    }  # fmt: skip


def _over(of: Of, region: str, a: np.ndarray, b: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    check(a, b)
    if not region:
        return of(a, b, None)
    where = inside(region, mask, a.shape[:3])
    found, rows = np.full(len(a), np.nan), where.any((1, 2))
    if rows.any():
        found[rows] = of(a[rows], b[rows], where[rows].astype(np.float32))
    return found


PAIRED: Mapping[str, Paired] = {
    one.name: one for one in (_measure(kind, region) for region in REGIONS for kind in KINDS)
}
"""The measures that need no network, by name."""
