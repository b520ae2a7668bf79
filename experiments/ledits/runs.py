"""Edits in batches of one fixed size: LEDITS and LEDITS++, text-guided SDEdit, DDIM inversion.

All run on latents, through the project's own functions. Photos, texts, scales and strengths are
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
from sdedit_jax import build, editor, grids, images, parallel, prompts, samplers, words
from sdedit_jax.concepts import parse
from sdedit_jax.data import source
from sdedit_jax.edits import inversion, sdedit
from sdedit_jax.edits.ledits import Recipe
from sdedit_jax.grids import Grid
from sdedit_jax.guidance import cfg
from sdedit_jax.guide import Guide
from sdedit_jax.prior import IDENTITY, Prior
from sdedit_jax.rules import Prediction, Rule, Step, ancestral
from sdedit_jax.sde import SDE

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
    """A text prior with compiled ends: embed (text) -> [M, K]; encode, decode over batches."""

    prior: Prior
    embed: Callable[[str], Array]
    encode: Callable[..., Array]
    decode: Callable[..., Array]

    @property
    def digest(self) -> str:
        return self.prior.card.get("sha256", "")[:16]


def opened(folder: str) -> Opened:
    """Load a prior that reads texts."""
    prior = sj.load_prior(folder)
    embed = functools.cache(lambda text: prompts.embedding(prior, text))
    codec = prior.codec
    encode = jax.jit(jax.vmap(lambda params, x: codec.encode(params, x), (None, 0)))
    return Opened(prior, embed, encode, jax.jit(jax.vmap(codec.decode, (None, 0))))


def in_batches(run: Callable[..., Any], params: Any, *batch: Any, rows: int = ROWS) -> Any:
    """run(params, *batch) for leaves [n, ...], `rows` of them at a time; leaves of numpy."""
    size, out = jax.tree.leaves(batch)[0].shape[0], []
    for first in range(0, size, rows):
        some = np.minimum(np.arange(first, first + rows), size - 1)
        made = run(params, *jax.tree.map(lambda a, some=some: a[some], batch))
        out.append(jax.tree.map(lambda a, n=size - first: np.asarray(a)[:n], made))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *out)


def latents(o: Opened, photos: Sequence[Photo]) -> np.ndarray:
    """The latents [n, h, w, c] of photos of the prior's size."""
    fitted = [images.fit(photo.image, o.prior.shape[0], "crop")[0] for photo in photos]
    return in_batches(o.encode, o.prior.params, jnp.stack([images.to_unit(p) for p in fitted]))


def pictures(o: Opened, states: np.ndarray) -> np.ndarray:
    """Latents as pictures, uint8 [n, H, W, 3]."""
    made = in_batches(o.decode, o.prior.params, jnp.asarray(states))
    return np.stack([images.from_unit(picture) for picture in made])


def keys(photos: Sequence[Photo], seed: int = 0) -> Array:
    """A key for each photo, as the program has it."""
    return jnp.stack([editor.image_key(seed, photo.id) for photo in photos])


# --- LEDITS and LEDITS++ --------------------------------------------------------------------------


class Ledits(NamedTuple):
    """A recipe compiled for batches.

    Attributes:
        invert: (params, requests, keys) -> Inverted. replay: (params, requests, Inverted) ->
            latents. back: the same under the guidance of the inversion.
    """

    made: Recipe
    steps: int
    invert: Callable[..., Any]
    replay: Callable[..., Array]
    back: Callable[..., Array]


def ledits(o: Opened, preset: str, **numbers: float | None) -> Ledits:
    """A preset with its number of steps; t0 and scales may still differ between requests."""
    made = words.recipe(preset, numbers)
    plan = words.latent_plan(o.prior, made)
    own = plan._replace(target=plan.source)

    def back(params: Any, request: inversion.Request, inverted: inversion.Inverted) -> Array:
        return inversion.replay(own)(params, request._replace(target=request.source), inverted)

    each = (inversion.invert(plan), inversion.replay(plan), back)
    return Ledits(made, plan.steps, *(jax.jit(jax.vmap(fn, (None, 0, 0))) for fn in each))


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
) -> inversion.Request:
    """Requests [n, ...] for the same concepts on all photos.

    Args:
        captioned: the source text is the photo's caption; else the photo is not described.
        slots: rows of the concepts. t0: strength; None: the recipe's.
    """
    asked = parse(concepts)
    rows = [
        words.request(
            o.prior, way.made, words.Words(photo.caption if captioned else "", concepts=asked),
            state, o.embed, slots=slots,
        )
        for photo, state in zip(photos, states, strict=True)
    ]  # fmt: skip
    strength = way.made.t0 if t0 is None else t0
    return parallel.stack([row._replace(t0=np.float32(strength)) for row in rows])


# --- text-guided SDEdit ---------------------------------------------------------------------------


def text_sdedit(o: Opened, steps: int) -> Callable[..., Array]:
    """(params, requests, keys) -> latents: what `sj.text_edit` runs, on latents in batches."""
    plan = build.plan(build.guided(o.prior), build.sampling({"steps": steps}))
    plan = plan._replace(prior=plan.prior._replace(params=None, codec=IDENTITY))

    def run(params: Any, request: sdedit.Request, key: Array) -> Array:
        return sdedit.edit(plan)(params, request, key).image

    return jax.jit(jax.vmap(run, (None, 0, 0)))


def text_conds(o: Opened, texts: Sequence[tuple[str, str]], scales: Sequence[float]) -> Any:
    """Guided conds [n, ...] from (prompt, negative prompt) and the scale of each photo."""
    pairs = [[o.embed(text) for text in pair] for pair in texts]
    return parallel.stack(
        [prompts.guided(*pair, scale) for pair, scale in zip(pairs, scales, strict=True)]
    )


def sdedit_requests(states: np.ndarray, t0s: Sequence[float], conds: Any) -> sdedit.Request:
    """Requests [n, ...] that may change everything, each from its own strength."""
    free = np.ones((*states.shape[:-1], 1), np.float32)
    return sdedit.Request(jnp.asarray(t0s, jnp.float32), Guide(states, free), conds)


# --- DDIM inversion -------------------------------------------------------------------------------


def ddim_inversion(o: Opened, steps: int) -> tuple[Callable[..., Array], Callable[..., Array]]:
    """DDIM inversion (Song et al. 2020, 2010.02502): there and back without noise.

    Both ways take the deterministic step x_s = alpha_s x0 + sigma_s eps, eps being that of the
    state where the step begins; there s > t. The photo's latent counts as the state at t = 0.001.
    Each way is (params, latents, t0, conds of the guidance) -> latents; there they are Guided too.
    """
    guided, process = cfg(o.prior.predict), o.prior.process

    def way(up: bool) -> Callable[..., Array]:
        def run(params: Any, x: Array, t0: Array, cond: Any) -> Array:
            grid = grids.above(grids.uniform())(process, t0, steps)
            grid = Grid(grid.s[::-1], grid.t[::-1]) if up else grid
            predict = inversion.bind(guided)(params, cond)
            return samplers.reverse(predict, process, flow(), grid, _silent(x), x)[0].x

        return jax.jit(jax.vmap(run, (None, 0, 0, 0)))

    return way(True), way(False)


def flow() -> Rule:
    """DDIM's step, which leads up as well as down: `ancestral(0)` without its std, which has no
    meaning for s > t."""
    down = ancestral(0.0)

    def step(
        process: SDE, memory: tuple, x: Array, prediction: Prediction, t: Array, s: Array
    ) -> tuple[Step, tuple]:
        law = down.step(process, memory, x, prediction, t, s)[0]
        return Step(law.mean, jnp.zeros_like(t)), memory

    return Rule(down.init, step)


def _silent(x: Array) -> samplers.Noise:
    return lambda index: lambda: jnp.zeros_like(x)
