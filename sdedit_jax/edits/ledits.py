"""LEDITS (Tsaban and Passos, 2307.00522) and LEDITS++ (Brack et al., 2311.16711): a photo is
inverted, then replayed under a target prompt and concepts.

LEDITS: edit-friendly inversion with DDPM steps, semantic guidance (sega.py) in the replay.
LEDITS++: the same with SDE-DPM-Solver++ steps, without a target prompt, the concepts in implicit
masks (leditspp.py). A `Recipe` holds all numbers of a way to edit; PRESETS names those of the
sources:

    ledits, leditspp        ours: exact inversion, mended guidance, strength as a noise level
    ledits-app              the demo of LEDITS: last map zeroed, the oddities of SEGA's code
    cog-ledits              the hosted LEDITS: the demo's steps, stronger prompts and concepts
    ddpm-inversion-paper    edit-friendly DDPM inversion alone: a target prompt, no concepts
    ddim-inversion          DDIM inversion, deterministic both ways, with semantic guidance
    leditspp-diffusers      the pipeline of diffusers: ends clean, so the last map is 0
    leditspp-original       the authors' repository: exact, M2 alone

Workflows: a target prompt alone; concepts alone (the empty prompt as target); or both.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from sdedit_jax.diffusion.grids import Above, Listed, MakeGrid, Uniform, UniformLogSNR
from sdedit_jax.diffusion.solvers import Ancestral, DPMpp, Solver
from sdedit_jax.diffusion.timesteps import TimestepGrid, Timesteps
from sdedit_jax.edits.inversion import Inversion, Request
from sdedit_jax.guidance.cfg import CFG
from sdedit_jax.guidance.leditspp import INTERSECT_TO, MASKS, LeditsPP, LeditsPPCond
from sdedit_jax.guidance.sega import MODES, SEGA, Concepts, SEGACond, concepts
from sdedit_jax.priors.conditioning import CFGCond
from sdedit_jax.priors.prior import Prior
from sdedit_jax.text.concept_parser import KINDS

GUIDANCES = (*MODES, *MASKS)
"""MODES guide by text and concepts (SEGA), MASKS by concepts alone in such masks (LEDITS++)."""


class Recipe(NamedTuple):
    """The numbers of a way to edit.

    Attributes:
        n, skip, solver, grid, zero_last, method: see Inversion.
        t0: strength where the grid begins; a fixed grid begins where `skip` says.
        guidance: of the replay, one of GUIDANCES.
        source_scale: of the guidance to the source prompt in the inversion.
        target_scale: of the guidance to the target prompt; not used by MASKS.
        concept: defaults of a concept, see sega.concepts.
        removal: defaults of a concept that is removed, where they differ.
        intersect_to: see leditspp.
    """

    n: int
    solver: Solver
    grid: MakeGrid
    guidance: str
    concept: Mapping[str, Any]
    skip: int = 0
    zero_last: bool = False
    t0: float = 1.0
    source_scale: float = 3.5
    target_scale: float = 15.0
    intersect_to: float = INTERSECT_TO
    removal: Mapping[str, Any] = {}
    method: str = "ddpm"

    @property
    def listed(self) -> bool:
        """Whether the grid has its own beginning."""
        return self.grid.fixed


_DDIM = Timesteps("ddim", "leading", offset=1, clean=False)
_DPM = Timesteps("dpmpp", "leading", offset=1, clean=True)
_MOMENTUM = {"momentum": 0.3, "beta": 0.6}
_PLUS = {"scale": 5.0, "warmup": 0, "threshold": 0.9}


def ledits_recipe(n: int = 50, t0: float = 0.64) -> Recipe:
    """Ours: n steps even in t from t0; the reconstruction is exact."""
    concept = {**KINDS["custom"], **_MOMENTUM}
    return Recipe(n, Ancestral(), Above(Uniform()), "mended", concept, t0=t0)


def ledits_app(n: int = 100, skip: int = 36) -> Recipe:
    """The demo: the last n - skip of n steps, eta 1, last map zeroed."""
    solver, concept = Ancestral(linear_eta=True), {**KINDS["custom"], **_MOMENTUM}
    grid = TimestepGrid(_DDIM, n)
    return Recipe(n, solver, grid, "sega-original", concept, skip, zero_last=True)


def cog_ledits(n: int = 100, skip: int = 36) -> Recipe:
    """The hosted LEDITS (chenxwh/cog-ledits): as the demo, with one concept to add at scale 15 and
    one to remove at scale 7. It keeps its maps in float16; here they have the state's type."""
    concept = {"scale": 15, "warmup": 1, "threshold": 0.95, "momentum": 0.5, "beta": 0.6}
    made = ledits_app(n, skip)
    return made._replace(target_scale=20.0, concept=concept, removal={"scale": 7})


def ddpm_inversion_paper(n: int = 100, skip: int = 36) -> Recipe:
    """The released code of edit-friendly inversion: a target prompt at scale 15, no concepts."""
    solver = Ancestral(linear_eta=True)
    return Recipe(n, solver, TimestepGrid(_DDIM, n), "mended", {}, skip, zero_last=True)


def ddim_inversion(n: int = 50, t0: float = 0.64) -> Recipe:
    """DDIM inversion: n steps even in t up to t0 and down again, without noise.

    The reconstruction is inexact, and worse with a source scale above 1 (hence 1).
    """
    concept, grid = {**KINDS["custom"], **_MOMENTUM}, Above(Uniform())
    made = Recipe(n, Ancestral(eta=0.0), grid, "mended", concept, t0=t0, method="ddim")
    return made._replace(source_scale=1.0, target_scale=7.5)


def leditspp_recipe(n: int = 20, t0: float = 0.85) -> Recipe:
    """Ours: n steps even in log-SNR from t0, exact, M1 M2 at all times."""
    grid = Above(UniformLogSNR(sigma_end=0.05))
    return Recipe(n, DPMpp(), grid, "intersect", _PLUS, t0=t0, intersect_to=1.0)


def leditspp_diffusers(n: int = 30, skip: float = 0.15) -> Recipe:
    """diffusers' pipeline: the last n of int(n (1 + skip)) steps, ending clean.

    Its inversion takes the two texts for one another: eps = eps_source + 3.5 (eps_u - eps_source),
    a scale of -2.5 and not of 3.5. Without a source prompt that is nothing.
    """
    total = int(n * (1 + skip))
    grid = TimestepGrid(_DPM, total)
    made = Recipe(total, DPMpp(), grid, "intersect", _PLUS, total - n, zero_last=True)
    return made._replace(source_scale=1 - 3.5)


def leditspp_original(n: int = 50, skip: float = 0.1) -> Recipe:
    """The authors' repository: n steps even from 1000 (1 - skip) - 1 to 1, then step 0.

    With fewer than 15 steps its replay takes the last one in first order, its inversion does not,
    and the photo does not come back; here both are alike. Its attention is of 16 x 16 queries,
    whatever the size.
    """
    steps = np.linspace(1000 - 1000 * skip - 1, 1, n).astype(int).tolist()
    return Recipe(n, DPMpp(), Listed(tuple(steps)), "noise", _PLUS)


PRESETS: Mapping[str, Callable[..., Recipe]] = {
    "ledits": ledits_recipe,
    "leditspp": leditspp_recipe,
    "ledits-app": ledits_app,
    "cog-ledits": cog_ledits,
    "ddpm-inversion-paper": ddpm_inversion_paper,
    "ddim-inversion": ddim_inversion,
    "leditspp-diffusers": leditspp_diffusers,
    "leditspp-original": leditspp_original,
}


def recipe(preset: str, **given: Any) -> Recipe:
    """The recipe of a preset; `given` are the numbers that its function takes.

    Raises:
        ValueError: no such preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {list(PRESETS)}, got {preset!r}")
    return PRESETS[preset](**given)


def plan(prior: Prior, made: Recipe, keep: str = "device") -> Inversion:
    """The static plan of a recipe; `keep` as in Inversion."""
    if made.guidance not in GUIDANCES:
        raise ValueError(f"guidance must be one of {list(GUIDANCES)}, got {made.guidance!r}")
    if made.guidance in MASKS:
        target = LeditsPP(prior.predict, made.guidance, made.intersect_to)
    else:
        target = SEGA(prior.predict, made.guidance)
    return Inversion(
        prior.static, CFG(prior.predict), target, made.solver, made.grid, made.n, made.skip,
        made.zero_last, keep, made.method,
    )  # fmt: skip


def request(
    made: Recipe,
    image: Any,
    *,
    source: Any,
    empty: Any,
    many: Concepts,
    target: Any = None,
    against: Any = None,
    t0: Any = None,
) -> Request:
    """The request of an edit by a recipe; texts are what the prior takes as its cond.

    Args:
        image: the photo [H, W, C] in [-1, 1].
        source, empty: the text that describes the photo, or the empty one; the empty text.
        many: concepts, see `concepts_of`; none: with no rows. Masks are drawn on the picture.
        target: the target text; None: the empty text. LEDITS++ takes no target.
        against: the negative text; None: the empty one.
        t0: strength; None: the recipe's.

    Raises:
        ValueError: a target where none is taken.
    """
    against = empty if against is None else against
    if made.guidance in MASKS and target is not None:
        raise ValueError(
            f"target: guidance {made.guidance!r} is by concepts alone; give the change as a concept"
        )
    to = (
        LeditsPPCond(against, many)
        if made.guidance in MASKS
        else SEGACond(empty if target is None else target, against, made.target_scale, many)
    )
    origin = CFGCond(source, empty, made.source_scale)
    return Request(made.t0 if t0 is None else t0, image, origin, to)


def unguided(own: Inversion) -> Inversion:
    """The plan for requests whose inversion has no guidance: one evaluation a step, not two."""
    return dataclasses.replace(own, source=own.source.predict)


def without_guidance(found: Request) -> Request:
    """A request for a plan of `unguided`."""
    return found._replace(source=found.source.cond)


def concepts_of(made: Recipe, cond: Any, *, reverse: Any = False, **given: Any) -> Concepts:
    """Concepts with the recipe's values where none are given; see sega.concepts."""
    own = {n: np.where(reverse, value, made.concept[n]) for n, value in made.removal.items()}
    return concepts(cond, reverse=reverse, **{**made.concept, **own, **given})
