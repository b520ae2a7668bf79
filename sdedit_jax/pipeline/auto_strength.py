"""Automatic strength of a prior: its calibration, and the strengths of guides by it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sdedit_jax import devices, images
from sdedit_jax.diffusion.strength import describe, t_from_sigma
from sdedit_jax.edits import auto_strength
from sdedit_jax.edits.auto_strength import Fit, Observed
from sdedit_jax.images.guide import Guide
from sdedit_jax.pipeline import calls, executor
from sdedit_jax.pipeline.observation import ObservationPipeline, Request
from sdedit_jax.pipeline.samples import samples
from sdedit_jax.priors.conditioning import CFGCond
from sdedit_jax.priors.prior import Prior, mask_of_state
from sdedit_jax.tasks import TaskInput, simulate
from sdedit_jax.tasks.common import with_strength_map

FIELD = "auto_t0"
"""Of a prior's metadata: its calibration."""
WAYS = {"guide": "picture", "map": "pixel"}
"""A way to find strengths -> what has a strength of its own."""
PAINTINGS = 2
"""Of each photo of a calibration, beside one with scribbles."""
COLORS = (3, 50)
WIDTHS = (0.6, 1.0, 1.0, 1.4, 1.8, 2.6)
"""Windows of the paintings, as shares of the usual one."""
PICTURES_WITHIN, WINDOWS_WITHIN = 0.96, 0.98
"""Shares of photos, and of windows of photos, that count as the prior's own."""
ROWS = 16
"""Windows of a photo in each direction that a calibration takes, of all that overlap."""
DIGITS = 6


class Calibration(NamedTuple):
    """What metadata holds under FIELD.

    Attributes:
        sigmas, draws: levels, and draws of noise at each.
        picture, window: the fit of whole pictures, and that of windows.
    """

    sigmas: tuple[float, ...]
    draws: int
    picture: Fit
    window: Fit


class Found(NamedTuple):
    """The strength of a guide, and the share of it [H, W] for each pixel, where they differ."""

    t0: float
    shares: np.ndarray | None = None


def calibration(prior: Prior) -> Calibration:
    """The calibration of a prior.

    Raises:
        ValueError: it has none, or a damaged one.
    """
    name, values = prior.metadata.get("name", ""), prior.metadata.get(FIELD)
    if values is None and not name:
        raise ValueError(
            "auto_t0: the prior is not calibrated, and no folder that --mode=calibrate can write to"
        )
    if values is None:
        raise ValueError(
            f"auto_t0: the prior {name} is not calibrated; run sdedit --mode=calibrate"
            f" --config.prior={name} once, with --config.input=PHOTOS if you have its photos"
        )
    try:
        return _calibration(values)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"auto_t0: the calibration of {name} is damaged: {error}") from None


def _calibration(values: Mapping[str, Any]) -> Calibration:
    sigmas, draws = tuple(float(s) for s in values["sigmas"]), values["draws"]
    if not (sigmas and 0 < min(sigmas) and np.all(np.isfinite(sigmas))):
        raise ValueError(f"sigmas must be above 0 and finite, got {values['sigmas']}")
    if not (isinstance(draws, int) and draws > 0):
        raise ValueError(f"draws must be a whole number above 0, got {draws!r}")
    fits = (_fit(values[part], len(sigmas)) for part in ("picture", "window"))
    return Calibration(sigmas, draws, *fits)


def find(
    prior: Prior,
    guides: Sequence[Guide],
    conds: Sequence[Any],
    way: str,
    *,
    batch: int = 16,
    devices: int = 0,
    cancel: executor.Cancel | None = None,
) -> list[Found]:
    """The strengths of guides.

    With a mask, that of its region. A guide is judged as a picture of its class or prompt, and
    without guidance.

    Args:
        prior: without guidance. way: one of WAYS.
        batch: guides at a time. devices: local devices to use; 0: all.

    Raises:
        ValueError: a mask is 0 everywhere. Cancelled: `cancel` was set.
    """
    known, same = calibration(prior), [0] * len(guides)
    options = {"batch": batch, "devices": devices, "cancel": cancel}
    seen = observe(prior, guides, conds, known.sigmas, known.draws, same, **options)
    return [_found(prior, known, *pair, way) for pair in zip(guides, seen, strict=True)]


def applied(
    prior: Prior,
    items: Sequence[TaskInput],
    names: Sequence[str],
    conds: Sequence[Any],
    way: str,
    **options: Any,
) -> tuple[list[TaskInput], list[float]]:
    """The inputs with the strength maps that are found, and their strengths, which are printed.

    Args:
        options: of `find`.
    """
    every = find_and_print(prior, [item.guide for item in items], names, conds, way, **options)
    made = [
        item if found.shares is None else with_strength_map(item, found.shares)
        for item, found in zip(items, every, strict=True)
    ]
    return made, [found.t0 for found in every]


def find_and_print(
    prior: Prior,
    guides: Sequence[Guide],
    names: Sequence[str],
    conds: Sequence[Any],
    way: str,
    **options: Any,
) -> list[Found]:
    """The strengths of guides, with a line for each; see `find`."""
    every = find(prior, guides, conds, way, **options)
    for name, found in zip(names, every, strict=True):
        print(f"found     {name}: {describe(prior.process, found.t0)}")
    return every


def _found(prior: Prior, known: Calibration, guide: Guide, seen: Observed, way: str) -> Found:
    region = np.asarray(mask_of_state(guide.mask, seen.denoised.shape[1:]))[..., 0]
    if not np.any(region):
        raise ValueError("mask: is 0 everywhere, so no pixel may change")
    if way == "guide":
        found = auto_strength.statistic(seen.energies, region)
        return Found(_short(float(_t0(prior, auto_strength.of_picture(known.picture, found)))))
    sigmas = auto_strength.of_pixels(known.window, seen.energies) * (region > 0)
    t0, most = _t0(prior, sigmas), _short(float(_t0(prior, sigmas.max())))
    if not most:
        return Found(0.0)
    shares = images.in_levels((t0 / most).astype(np.float32))
    factor = guide.image.shape[0] // len(shares)
    return Found(most, shares.repeat(factor, 0).repeat(factor, 1))


def observe(
    prior: Prior,
    guides: Sequence[Guide],
    conds: Sequence[Any],
    sigmas: tuple[float, ...],
    draws: int,
    numbers: Sequence[int],
    cancel: executor.Cancel | None = None,
    **options: Any,
) -> list[Observed]:
    """What the denoiser makes of guides, on the host.

    Args:
        numbers: of the noise of each guide.
        **options: batch and devices of `find`.
    """
    pipeline = ObservationPipeline(prior.static, sigmas, draws)
    requests = [
        Request(Guide(guide.image, guide.mask), unguided(cond))
        for guide, cond in zip(guides, conds, strict=True)
    ]
    keys = [jax.random.fold_in(jax.random.key(0), number) for number in numbers]
    call = calls.Call(pipeline, prior.params, requests, keys, list, **options)
    return calls.run(call, cancel)


def unguided(cond: Any) -> Any:
    """The condition itself, of one that guides."""
    return cond.cond if isinstance(cond, CFGCond) else cond


def _t0(prior: Prior, sigma: Any) -> np.ndarray:
    """t0 of levels; 0 of level 0."""
    t0 = np.asarray(t_from_sigma(prior.process, jnp.maximum(jnp.asarray(sigma), 1e-6)))
    return np.where(np.asarray(sigma) > 0, t0, 0.0)


# --- calibration ----------------------------------------------------------------------------------


class Rows(NamedTuple):
    """What a calibration takes from one photo: statistics, and squared differences of guides.

    Attributes:
        errors: [1, L] mean squared denoising errors of the photo.
        photo, paintings, scribbled: [1, F], [PAINTINGS, F] and [1, F].
        differences: [PAINTINGS, L] of the paintings.
        photo_windows, windows: [N, F] of the photo, [K, F] of the scribbles.
        window_differences: [K, L].
    """

    errors: np.ndarray
    photo: np.ndarray
    paintings: np.ndarray
    scribbled: np.ndarray
    differences: np.ndarray
    photo_windows: np.ndarray
    windows: np.ndarray
    window_differences: np.ndarray


def calibrate(
    prior: Prior, pictures: Iterable[np.ndarray], cond: Any, source: str
) -> Mapping[str, Any]:
    """The calibration of a prior, for its metadata.

    Args:
        prior: without guidance. pictures: its photos or samples, uint8 [H, W, 3].
        source: what they are, for the metadata.
    """
    sigmas = auto_strength.SIGMAS
    every = [_rows(prior, picture, cond, i) for i, picture in enumerate(pictures)]
    rows = Rows(*map(np.concatenate, zip(*every, strict=True)))
    errors, groups = rows.errors.mean(axis=0), np.arange(len(every))
    levels, window_levels = (
        auto_strength.needed(part, errors, sigmas)
        for part in (rows.differences, rows.window_differences)
    )
    others, first = np.concatenate([rows.paintings, rows.scribbled]), auto_strength.TELLING
    picture = auto_strength.fitted(
        rows.photo, groups, others, rows.paintings, levels, PICTURES_WITHIN,
        first * auto_strength.KINDS,
    )  # fmt: skip
    window = auto_strength.fitted(
        rows.photo_windows, groups.repeat([len(one.photo_windows) for one in every]),
        rows.windows, rows.windows, window_levels, WINDOWS_WITHIN,
    )  # fmt: skip
    return {
        "source": source,
        "pictures": len(every),
        "sigmas": list(sigmas),
        "draws": auto_strength.DRAWS,
        "picture": _values(picture),
        "window": _values(window),
    }


def own_pictures(prior: Prior, cond: Any, count: int, batch: int) -> Iterator[np.ndarray]:
    """Samples of a prior, uint8 [H, W, 3]."""
    draw, keys = samples(prior), jax.random.split(jax.random.key(1), count)
    for first in range(0, count, batch):
        own = keys[first : first + batch]
        conds = devices.stack([unguided(cond)] * len(own))
        for picture in draw(prior.params, conds, own):
            rgb = images.from_unit(picture)
            yield np.broadcast_to(rgb, (*rgb.shape[:2], 3))


def _rows(prior: Prior, photo: np.ndarray, cond: Any, number: int) -> Rows:
    rng = np.random.default_rng(number)
    touched, drawn = simulate.scribbled(photo, rng)
    guides = [*(_painting(photo, rng) for _ in range(PAINTINGS)), touched]
    own, *seen = _seen(prior, [photo, *guides], cond, number)
    apart = [((one.denoised - own.denoised) ** 2).mean(axis=-1) for one in seen]
    mask = np.asarray(mask_of_state(drawn[..., None].astype(np.float32), own.denoised.shape[1:]))
    grid = (slice(None, None, max(min(mask.shape[:2]) // ROWS, 1)),) * 2
    inside = auto_strength.in_windows(mask[None, ..., 0])[grid][..., 0] > 0.5
    whole = np.stack([auto_strength.statistic(one.energies) for one in (own, *seen)])
    return Rows(
        errors=own.energies[:, 0].mean((1, 2))[None] * np.square(auto_strength.SIGMAS),
        photo=whole[:1],
        paintings=whole[1:-1],
        scribbled=whole[-1:],
        differences=np.stack([one.mean((1, 2)) for one in apart[:-1]]),
        photo_windows=np.concatenate(auto_strength.statistics(own.energies)[grid]),
        windows=auto_strength.statistics(seen[-1].energies)[grid][inside],
        window_differences=auto_strength.in_windows(apart[-1])[grid][inside],
    )


def _seen(prior: Prior, pictures: Sequence[np.ndarray], cond: Any, number: int) -> list[Observed]:
    """What the denoiser makes of pictures, with the same noise."""
    guides, count = [_free(prior, picture) for picture in pictures], len(pictures)
    sigmas, draws = auto_strength.SIGMAS, auto_strength.DRAWS
    return observe(prior, guides, [cond] * count, sigmas, draws, [number] * count)


def _free(prior: Prior, picture: np.ndarray) -> Guide:
    """A picture uint8 [H, W, 3] as a guide without a mask."""
    rgb = picture if prior.shape[-1] == 3 else images.in_grey(picture)[..., :1]
    return Guide(images.to_unit(rgb), np.ones((*picture.shape[:2], 1), np.float32))


def _painting(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulated strokes of random width and number of colours."""
    colors = round(np.exp(rng.uniform(*np.log(COLORS))))
    width = simulate.window(min(photo.shape[:2])) * rng.choice(WIDTHS)
    return simulate.simulate(photo, int(colors), max(3, 2 * round((width - 1) / 2) + 1))


def _values(fit: Fit) -> dict[str, Any]:
    """A fit for JSON."""
    return {name: _short(value) for name, value in fit._asdict().items()}


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    return [_short(one) for one in np.asarray(value).tolist()]


def _fit(values: Mapping[str, Any], levels: int) -> Fit:
    fit = Fit(**{name: np.asarray(value, np.float64) for name, value in values.items()})
    size, first = levels * auto_strength.KINDS, len(fit.linear)
    wanted = Fit((size,), (first, first), (first,), (), (size,), (), (2,))
    for name, value, shape in zip(Fit._fields, fit, wanted, strict=True):
        if value.shape != shape or not np.all(np.isfinite(value)):
            raise ValueError(f"{name} must be finite numbers of shape {shape}, got {value.shape}")
    return fit
