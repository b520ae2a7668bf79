"""Edits in batches of one fixed size: LEDITS and LEDITS++, text-guided SDEdit, DDIM inversion.

All run on latents, through the project's executor. Photos, prompts, scales and strengths are
traced: each way to edit compiles once.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import sdedit_jax as sj
from sdedit_jax import devices, images, registry
from sdedit_jax.data.pictures import source
from sdedit_jax.diffusion.noise import image_key
from sdedit_jax.edits import inversion, sdedit
from sdedit_jax.edits.inversion import Inverted
from sdedit_jax.edits.ledits import Recipe
from sdedit_jax.images.guide import Guide
from sdedit_jax.pipeline import executor, ledits_settings, settings
from sdedit_jax.pipeline.base import Finished, Pipeline
from sdedit_jax.pipeline.ledits import LEDITSPipeline
from sdedit_jax.pipeline.ledits_settings import Prompts
from sdedit_jax.pipeline.sdedit import SDEditPipeline
from sdedit_jax.priors import conditioning
from sdedit_jax.priors.conditioning import CFGCond
from sdedit_jax.priors.prior import IDENTITY, Prior
from sdedit_jax.text.concept_parser import parse

ROWS = 8
"""Photos at a time; the last batch is filled up."""


# --- photos ---------------------------------------------------------------------------------------


class Photo(NamedTuple):
    """A held-out photo uint8 [H, W, 3] with its caption, "a photo of a dark red apple"."""

    image: np.ndarray
    caption: str
    id: str

    @property
    def colour(self) -> str:
        return " ".join(self.caption.split()[4:-1])

    @property
    def noun(self) -> str:
        return self.caption.split()[-1]


def held_out(data: str) -> list[Photo]:
    """The photos of the split `test` of a zip or folder with captions.csv, by their paths."""
    found = source(data, "test", "captions")
    captions = [found.names[label] for label in found.labels]
    return [
        Photo(image, caption, f"test_{i:04d}")
        for i, (image, caption) in enumerate(zip(found.images, captions, strict=True))
    ]


def spread(photos: Sequence[Photo], count: int) -> list[Photo]:
    """`count` photos evenly spaced in the list, so over all fruits and their turns."""
    rows = np.unique(np.linspace(0, len(photos) - 1, count).round().astype(int))
    return [photos[i] for i in rows]


# --- a prior, and batches through it --------------------------------------------------------------


class Opened(NamedTuple):
    """A text prior.

    Attributes:
        prior: as loaded. space: the same on latents, without the autoencoder.
        embed: text -> [M, K]. encode, decode: (params, batch), compiled.
    """

    prior: Prior
    space: Prior
    embed: Callable[[str], Array]
    encode: Callable[..., Array]
    decode: Callable[..., Array]

    @property
    def digest(self) -> str:
        return self.prior.metadata.get("sha256", "")[:16]


def opened(folder: str) -> Opened:
    """Load a prior that reads prompts."""
    prior = sj.load_prior(folder)
    embed = functools.cache(lambda text: conditioning.embedding(prior, text))
    codec = prior.codec
    encode = jax.jit(jax.vmap(lambda params, x: codec.encode(params, x), (None, 0)))
    decode = jax.jit(jax.vmap(codec.decode, (None, 0)))
    space = prior.replace(codec=IDENTITY, shape=ledits_settings.state_shape(prior, prior.shape))
    return Opened(prior, space, embed, encode, decode)


def in_batches(run: Callable[..., Any], *batch: Any, rows: int = ROWS) -> Any:
    """run(*batch) for leaves [n, ...], `rows` of them at a time; leaves of numpy."""
    size, out = jax.tree.leaves(batch)[0].shape[0], []
    for first in range(0, size, rows):
        some = np.minimum(np.arange(first, first + rows), size - 1)
        made = run(*jax.tree.map(lambda a, some=some: a[some], batch))
        out.append(jax.tree.map(lambda a, n=size - first: np.asarray(a)[:n], made))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *out)


def execute(o: Opened, pipeline: Pipeline, requests: Any, keys: Array, maps: bool = False) -> Any:
    """The results of the executor for requests [n, ...], ROWS of them at a time.

    Args:
        maps: give (result, recorded arrays).
    """

    def run(requests: Any, keys: Array) -> Any:
        done = once(o, pipeline, requests, keys, maps)
        return (done.result, done.maps) if maps else done.result

    return in_batches(run, requests, keys)


def once(o: Opened, pipeline: Pipeline, requests: Any, keys: Array, maps: bool = False) -> Finished:
    """One batch through the executor."""
    events = executor.run(
        pipeline, o.prior.params, requests, keys,
        devices=1, rows=len(keys), listen=False, keep_maps=maps,
    )  # fmt: skip
    return executor.finish(events)


def latents(o: Opened, photos: Sequence[Photo]) -> np.ndarray:
    """The latents [n, h, w, c] of photos of the prior's size."""
    fitted = [images.fit(photo.image, o.prior.shape[:2], "crop")[0] for photo in photos]
    encode = functools.partial(o.encode, o.prior.params)
    return in_batches(encode, jnp.stack([images.to_unit(p) for p in fitted]))


def pictures(o: Opened, states: np.ndarray) -> np.ndarray:
    """Latents as pictures, uint8 [n, H, W, 3]."""
    made = in_batches(functools.partial(o.decode, o.prior.params), jnp.asarray(states))
    return np.stack([images.from_unit(picture) for picture in made])


def keys(photos: Sequence[Photo], seed: int = 0) -> Array:
    """A key for each photo, as the program has it."""
    return jnp.stack([image_key(seed, photo.id) for photo in photos])


# --- LEDITS, LEDITS++ and DDIM inversion ----------------------------------------------------------


class Ledits(NamedTuple):
    """A preset on a prior: `invert` and `replay` run batches of requests."""

    o: Opened
    resolved: ledits_settings.Resolved

    @property
    def made(self) -> Recipe:
        return self.resolved.recipe

    @property
    def steps(self) -> int:
        """Steps each way."""
        return self.resolved.plan.steps

    def pipeline(self, slots: int, stage: str) -> LEDITSPipeline:
        """One stage of the edit as a pipeline of its own."""
        return self.resolved.pipeline(slots, True, run=(stage,))

    def invert(self, requests: inversion.Request, keys: Array) -> Inverted:
        """The inversions of photos."""
        result, maps = execute(self.o, self.pipeline(0, "invert"), requests, keys, maps=True)
        return Inverted(result.start, maps["invert"])

    def replay(self, requests: inversion.Request, inverted: Inverted) -> np.ndarray:
        """The latents [n, h, w, c] of edits."""
        slots = requests.target.concepts.scale.shape[1]
        requests = requests._replace(maps=inverted)
        none = jnp.stack([image_key(0, "")] * len(inverted.x))
        return execute(self.o, self.pipeline(slots, "edit"), requests, none).image


def ledits(o: Opened, preset: str, **numbers: float | None) -> Ledits:
    """A preset with its number of steps; t0 and scales may still differ between requests."""
    return Ledits(o, ledits_settings.resolve(o.space, preset, numbers, stored={}))


def requests(
    o: Opened,
    way: Ledits,
    photos: Sequence[Photo],
    states: np.ndarray,
    concepts: str = "",
    *,
    captioned: bool = False,
    slots: int = 1,
    t0: float | None = None,
    prompts: Sequence[tuple[str, str]] | None = None,
    scales: Sequence[float] | None = None,
) -> inversion.Request:
    """Requests [n, ...] for the same concepts on all photos.

    Args:
        captioned: the source prompt is the photo's caption; else the photo is not described.
        slots: rows of the concepts. t0: strength; None: the recipe's.
        prompts: (target prompt, negative prompt) of each photo. scales: guidance to the targets.
    """
    concepts = parse(concepts)
    prompts = prompts or [("", "")] * len(photos)
    scales = scales or [way.made.target_scale] * len(photos)
    rows = [
        ledits_settings.request(
            o.space, way.made._replace(target_scale=scale),
            Prompts(photo.caption if captioned else "", *pair, concepts),
            state, o.embed, guided=True, slots=slots,
        )
        for photo, state, pair, scale in zip(photos, states, prompts, scales, strict=True)
    ]  # fmt: skip
    strength = way.made.t0 if t0 is None else t0
    return devices.stack([row._replace(t0=np.float32(strength)) for row in rows])


# --- text-guided SDEdit ---------------------------------------------------------------------------


def text_sdedit(o: Opened, steps: int) -> Callable[..., np.ndarray]:
    """(requests, keys) -> latents: what `sj.text_edit` runs, on latents in batches."""
    sampling = settings.sampling({"steps": steps, "rule": "dpmpp_2m_sde(clip_x0=False)"})
    plan = settings.resolve(registry.guided(o.space), sampling, 0.5).plan
    return lambda requests, keys: execute(o, SDEditPipeline(plan), requests, keys).image


def text_conds(o: Opened, texts: Sequence[tuple[str, str]], scales: Sequence[float]) -> Any:
    """Conditions [n, ...] from (prompt, negative prompt) and the scale of each photo."""
    pairs = [[o.embed(text) for text in pair] for pair in texts]
    return devices.stack(
        [CFGCond(*pair, np.float32(scale)) for pair, scale in zip(pairs, scales, strict=True)]
    )


def sdedit_requests(states: np.ndarray, t0s: Sequence[float], conds: Any) -> sdedit.Request:
    """Requests [n, ...] that may change everything, each from its own strength."""
    free = np.ones((*states.shape[:-1], 1), np.float32)
    return sdedit.Request(jnp.asarray(t0s, jnp.float32), Guide(states, free), conds)
