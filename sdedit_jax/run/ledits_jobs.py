"""Photos in batches through LEDITS: measured, each with the recipe by which it can be replayed."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sdedit_jax import editor, images, parallel, record, words
from sdedit_jax.concepts import shown as as_text
from sdedit_jax.edits import inversion, on_host
from sdedit_jax.run.ledits_session import Opened, Photo, rows_of, slots_of, start
from sdedit_jax.run.session import described, plain
from sdedit_jax.tasks import TaskInput


class Done(NamedTuple):
    """A finished edit: pictures uint8, measurements and recipe, and what was compiled for it."""

    photo: Photo
    edited: np.ndarray
    back: np.ndarray
    entry: dict[str, Any]
    recipe: dict[str, Any]
    compile_seconds: float = 0.0


class Part:
    """A function (params, *rows) over the devices, compiled at its first call for batches of one
    size; `seconds` is how long that took."""

    def __init__(self, fn: Callable, rows: int, devices: int) -> None:
        axes = (None, *[0] * rows)
        self.over = parallel.mapped(jax.vmap(fn, axes), axes, devices)
        self.devices, self.compiled, self.seconds = devices, None, 0.0

    def __call__(self, params: Any, *batch: Any) -> Any:
        size, spread = jax.tree.leaves(batch)[0].shape[0], parallel.spread(batch, self.devices)
        if self.compiled is None:
            began = time.perf_counter()
            self.compiled = self.over.lower(params, *spread).compile()
            self.seconds = time.perf_counter() - began
        return parallel.gather(self.compiled(params, *spread), size)


class Program(NamedTuple):
    """Encoding, the edit and the way back, decoding; each for a batch."""

    encode: Callable
    both: Callable
    decode: Callable

    @property
    def seconds(self) -> float:
        """What compiling took so far; with maps on the host the loop's is not counted apart."""
        return sum(part.seconds for part in self if isinstance(part, Part))


def batches(opened: Opened, photos: Sequence[Photo]) -> Iterator[Done | str]:
    """The photos batch by batch, the last one filled up.

    Raises:
        ValueError: the device fails, as it does for want of memory.
    """
    rows = rows_of(opened, photos)
    split = [photos[first : first + rows] for first in range(0, len(photos), rows)]
    drawn = any(photo.masks for photo in photos)
    yield from batches_of(opened, split, rows, slots_of(photos), drawn)


def batches_of(
    opened: Opened, split: Sequence[Sequence[Photo]], rows: int, slots: int, drawn: bool
) -> Iterator[Done | str]:
    """Batches of `rows` photos, with `slots` concepts each, with masks or without.

    Raises:
        ValueError: see `batches`.
    """
    run = program(opened)
    try:
        for batch in split:
            padded = [*batch, *[batch[-1]] * (rows - len(batch))]
            yield from run_batch(opened, run, batch, padded, slots, drawn)
    except jax.errors.JaxRuntimeError as error:
        text = str(error).strip().splitlines()[0]
        raise ValueError(
            f"batch: the device failed with {rows} photo(s) at a time ({text}); a smaller"
            " --config.batch needs less memory, and so does --config.maps=host or keys"
        ) from None


def program(opened: Opened) -> Program:
    """The parts that a batch goes through."""
    codec, plan, n = opened.prior.codec, opened.plan, opened.devices
    encode = Part(lambda params, image: codec.encode(params, image), 1, n)
    decode = Part(codec.decode, 1, n)
    if plan.keep != "host":
        return Program(encode, Part(words.both(plan), 2, n), decode)
    there = on_host.edit(plan, batch=True)
    back = on_host.edit(words.own(plan, inversion.Request(0, 0, 0, 0))[0], batch=True)

    def both(params: Any, request: inversion.Request, keys: Any) -> tuple:
        same = words.own(plan, request)[1]
        return there(params, request, keys), back(params, same, keys)

    return Program(encode, both, decode)


def run_batch(
    opened: Opened,
    run: Program,
    batch: Sequence[Photo],
    padded: Sequence[Photo],
    slots: int,
    drawn: bool,
) -> Iterator[Done | str]:
    """The rows of one batch, measured."""
    began, before = time.perf_counter(), run.seconds
    params, seed = opened.params, opened.config.seed
    latents = run.encode(params, jnp.stack([jnp.asarray(p.item.guide.image) for p in padded]))
    requests = [
        words.request(
            opened.prior, opened.made, photo.words, latent, opened.embed,
            slots=slots, masks=photo.masks if drawn else None,
        )
        for photo, latent in zip(padded, latents, strict=True)
    ]  # fmt: skip
    keys = jnp.stack([editor.image_key(seed, photo.item.id) for photo in padded])
    states = run.both(params, parallel.stack(requests), keys)
    pictures = [np.asarray(run.decode(params, state)) for state in (*states, latents)]
    latents, back = np.asarray(latents), np.asarray(states[1])
    compiling = run.seconds - before
    seconds = (time.perf_counter() - began - compiling) / len(batch)
    for row, photo in enumerate(batch):
        if not all(np.isfinite(picture[row]).all() for picture in pictures):
            yield f"{photo.name}: the prior gave values that are not finite (NaN or infinity)"
            continue
        place = {"rows": len(padded), "row": row, "devices": opened.devices}
        place |= {"slots": slots, "masks": drawn}
        missed = float(np.abs(back[row] - latents[row]).max())
        entry = {"latent_error": missed, "latent_largest": float(np.abs(latents[row]).max())}
        shown = [images.from_unit(picture[row]) for picture in pictures]
        done = finished(opened, photo, shown, entry, place, seconds)
        yield done._replace(compile_seconds=0.0 if row else compiling)


def finished(
    opened: Opened, photo: Photo, shown: list, missed: dict, place: dict, seconds: float
) -> Done:
    """Measure, and write down the recipe."""
    if not opened.made.t0:  # strength 0 passes no autoencoder
        shown = [photo.item.fitted] * 3
    edited, back, through = shown
    back_away, edit_away = distance(back, photo.item), distance(edited, photo.item)
    entry = {
        "file": f"{photo.name}_edit.png",
        "id": photo.item.id,
        "seed": opened.config.seed,
        "words": told(photo),
        **edit_away,
        "reconstruction": {
            **missed,
            **back_away,
            "rms_of_the_autoencoder_alone": distance(through, photo.item)["rms"],
        },
        "seconds": round(seconds, 3),
    }
    return Done(photo, edited, back, entry, recipe(opened, photo, edited, place))


def distance(picture: np.ndarray, item: TaskInput) -> dict[str, float]:
    """Distances of a picture to the photo, on [0, 1] values."""
    away = (picture.astype(np.float64) - item.fitted) / 255
    return {"l2": float(np.sqrt(np.sum(away**2))), "rms": float(np.sqrt(np.mean(away**2)))}


def told(photo: Photo) -> dict[str, Any]:
    """The words of a photo as a file of prompts says them."""
    asked = [as_text(concept) for concept in photo.words.concepts]
    return {**photo.words._asdict(), "concepts": asked, "masks": list(photo.files)}


def recipe(opened: Opened, photo: Photo, shown: np.ndarray, place: dict) -> dict[str, Any]:
    """All that makes this picture again."""
    card, config, made = opened.prior.card, opened.config, opened.made
    masks = [np.zeros(0) if mask is None else mask for mask in photo.masks]
    return {
        "format": 1,
        "config": {**plain(config), "task": "ledits"},
        "id": photo.item.id,
        "seed": config.seed,
        "sample": 0,
        "cut": "_edit",
        "strength": described(opened.prior.process, start(opened))._asdict(),
        "words": told(photo),
        "numbers": words.told(made),
        "sampler": {"rule": config.preset, "steps": opened.plan.steps, "grid": "", "repeats": 1},
        "size": list(photo.item.fitted.shape),
        "prior": {"name": card.get("name", ""), "sha256": card.get("sha256", "")},
        "guide": {"sha256": record.digest(photo.item.fitted)},
        "mask": {"sha256": [record.digest(mask) for mask in masks]},
        "original": {"sha256": record.digest(photo.item.original)},
        "picture": {"sha256": record.digest(shown)},
        "place": place,
        "environment": record.environment(config.compute),
    }
