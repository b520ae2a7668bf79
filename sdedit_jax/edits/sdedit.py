"""SDEdit (Meng et al., 2108.01073): noise the guide to t0, then run the reverse SDE of the prior.

Algorithm 1 (VE): x = guide + sigma(t0) z, then x <- x + e^2 score + e z with e^2 = sigma^2(t) -
sigma^2(s). The other algorithms differ by the process, the solver and the grid; masks and repeats
are as there. `SDEdit` is the static plan; everything that may change without compiling is in a
`Request`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.diffusion.grids import Grid, MakeGrid
from sdedit_jax.diffusion.masking import MODES, OF_START, KnownRegion
from sdedit_jax.diffusion.noise import Noise, PathNoise, ReplayNoise, SampleNoise
from sdedit_jax.diffusion.sampler import Hook, Observation, State, advance, begin
from sdedit_jax.diffusion.sde import level, perturb
from sdedit_jax.diffusion.solvers import AdaptiveSolver, Solver
from sdedit_jax.images.guide import Guide
from sdedit_jax.priors.prior import Prior, mask_of_state

NOISE_BY = ("step", "time")


class Recorded(NamedTuple):
    """Recorded noise of an edit, in the space of the prior.

    Attributes:
        start: [K, h, w, c] the noise that takes the guide of each repeat to t0.
        steps: [K, N, calls, h, w, c] the noise of the loop, see noise.ReplayNoise.
        encode: [h, w, c] the noise of a codec's sample; None: its mode.
    """

    start: Any
    steps: Any
    encode: Any = None


class Request(NamedTuple):
    """All that may change without compiling.

    Attributes:
        t0: strength in [0, 1], traced; that of share 1 where the guide has a strength map.
        guide: image [H, W, C] in [-1, 1], mask [H, W, 1] or [H, W, C], strength map [H, W, 1].
        cond: a class label, the embedding of a prompt, a CFGCond pair of these, or None.
        noise: recorded noise in the place of the key's, or None.
    """

    t0: Any
    guide: Guide
    cond: Any = None
    noise: Recorded | None = None


class Attempts(NamedTuple):
    """The steps of an adaptive solver.

    Attributes:
        count: how many it tried. short: whether the number of steps of the plan was too small, so
            that the last one led to x0 from above the grid's end.
    """

    count: Array
    short: Array


class Edited(NamedTuple):
    """The result of an edit.

    Attributes:
        image: [H, W, C].
        score_sq: the largest squared norm of the score at the beginning of a step, if measured.
        attempts: of an adaptive solver.
    """

    image: Array
    score_sq: Array | None = None
    attempts: Attempts | None = None


class Randomness(NamedTuple):
    """All noise of an edit.

    Attributes:
        start: repeat -> the noise [h, w, c] that takes the guide to t0.
        steps: repeat -> the noise of the loop.
    """

    start: Callable[[Array], Array]
    steps: Callable[[Array], Noise]


def sample(key: Array, shape: tuple[int, ...], noise_by: str = "step") -> Randomness:
    """Noise from the image's key: repeat k uses fold_in(key, k) alone.

    Args:
        noise_by: one of NOISE_BY.
    """
    source = PathNoise if noise_by == "time" else SampleNoise

    def part(k: Array, purpose: int) -> Array:
        return jax.random.fold_in(jax.random.fold_in(key, k), purpose)

    return Randomness(lambda k: jax.random.normal(part(k, 0), shape), lambda k: source(part(k, 1)))


@jax.tree_util.register_static
@dataclass(frozen=True)
class SDEdit:
    """The static plan of an edit.

    Attributes:
        prior: its static part counts; parameters come as an argument.
        solver, grid, n: the solver, the grid and the number of steps, all of which are run; for an
            adaptive solver the bound of its attempts.
        hold: the level of noise of the kept region, one of masking.MODES; None: it is not kept
            during the run.
        repeats: the paper's K.
        corrector: a hook before each step, such as correctors.Langevin, or None.
        final: whether the last step takes its mean or a sample.
        noise_by: what decides the noise of a step: its number, "step", or its times on one Brownian
            path, "time".
    """

    prior: Prior
    solver: Solver
    grid: MakeGrid
    n: int
    hold: str | None = "level"
    repeats: int = 1
    corrector: Hook | None = None
    final: str = "mean"
    noise_by: str = "step"

    @property
    def evaluations(self) -> int:
        """Network evaluations in a step."""
        return self.solver.evaluations + (self.corrector.evaluations if self.corrector else 0)

    @property
    def adaptive(self) -> bool:
        """Whether each picture has its own number of steps."""
        return isinstance(self.solver, AdaptiveSolver)

    @property
    def nfe(self) -> int:
        """Network evaluations in an edit; the most of them for an adaptive solver."""
        return self.n * self.evaluations * self.repeats


def randomness_of(plan: SDEdit, request: Request, key: Array) -> Randomness:
    """The noise of a prepared request: the recorded one where it has one, else the key's."""
    if request.noise is None:
        return sample(key, request.guide.image.shape, plan.noise_by)
    start, loop = jnp.asarray(request.noise.start), jnp.asarray(request.noise.steps)
    before = plan.corrector.evaluations if plan.corrector else 0
    return Randomness(lambda k: start[k], lambda k: ReplayNoise(loop[k], before))


def steps_of(plan: SDEdit, request: Request) -> Grid:
    """The steps of a run of the plan."""
    return plan.grid(plan.prior.process, jnp.asarray(request.t0, jnp.float32), plan.n)


def start_of(plan: SDEdit, request: Request) -> tuple[Array, Array | None]:
    """(t, shares): the time where the steps begin, and the strength map as shares of it.

    That time is t0 times the largest share; listed steps begin at t0.
    """
    t0, shares = jnp.asarray(request.t0, jnp.float32), request.guide.strength_map
    if shares is None or plan.grid.fixed:
        return t0, shares
    most = jnp.max(shares)
    return t0 * most, shares / jnp.where(most > 0, most, 1.0)


def prepare(plan: SDEdit, params: Any, request: Request) -> Request:
    """The request in the space of the prior.

    The mask and the strength map have the size of the state. A network that sees the guide
    (inpainting) gets it as a part of cond.
    """
    if plan.hold is None and request.guide.strength_map is not None:
        raise ValueError(f"hold: a strength map needs one of {list(MODES)}, got None")
    prior, guide = plan.prior, jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), request.guide)
    z = None if request.noise is None else request.noise.encode
    image, mask = prior.codec.encode(params, guide.image, z), guide.mask
    if plan.hold == "official":  # the released code edits all that is not fully kept
        mask = jnp.where(mask > 0, 1.0, 0.0)
    t0, shares = start_of(plan, request)
    if shares is not None:
        mask = jnp.where(shares > 0, mask, 0.0)
        shares = mask_of_state(shares, image.shape)
    cond = request.cond
    if prior.prepare_cond is not None:
        cond = prior.prepare_cond(params, guide.image, mask, cond)
    mask = jnp.broadcast_to(mask_of_state(mask, image.shape), image.shape)
    return request._replace(t0=t0, guide=Guide(image, mask, shares), cond=cond)


def start(plan: SDEdit, request: Request, noise: Randomness, k: Array, x0: Array) -> State:
    """The carry of repeat k at t0."""
    return begin(plan.solver, perturb(plan.prior.process, x0, request.t0, noise.start(k)))


def steps(
    plan: SDEdit,
    params: Any,
    request: Request,
    noise: Randomness,
    k: Array,
    x0: Array,
    state: State,
    *,
    first: Array | int = 0,
    count: int | None = None,
    observe: Callable[[Observation], Any] | None = None,
) -> tuple[State, Any]:
    """`count` reverse steps of repeat k from step `first` on (all by default).

    Args:
        observe: what to keep of each step, a pytree; None: nothing.

    Returns:
        the carry, and the observations with a leading axis [count].
    """
    process, hooks = plan.prior.process, [plan.corrector] if plan.corrector else []
    if plan.hold is not None:
        z = noise.start(k) if plan.hold in OF_START else None
        shares = request.guide.strength_map
        begins = None
        if shares is not None:  # the largest share begins with the run, whatever its grid is
            begins = jnp.where(shares >= 1, jnp.inf, shares * request.t0)
        hooks.append(KnownRegion(x0, request.guide.mask, plan.hold, z, begins))
    return advance(
        lambda x, t: plan.prior.predict(params, x, t, request.cond),
        process,
        plan.solver,
        steps_of(plan, request),
        noise.steps(k),
        state,
        first=first,
        count=count,
        hooks=hooks,
        final=plan.final,
        observe=observe,
    )


def score_norm(seen: Observation) -> Array:
    """|score|^2 at the beginning of a step, not inside correctors and further evaluations."""
    norm = jnp.sum(seen.prediction.eps**2) / level(seen.process, seen.t)[1] ** 2
    return jnp.where(seen.idle, 0.0, norm)


def tally(seen: Observation) -> Attempts:
    """A step of an adaptive solver, as numbers to add."""
    return Attempts(jnp.where(seen.idle, 0, 1), jnp.where(seen.short & ~seen.idle, 1, 0))


def mix(plan: SDEdit, request: Request, x0: Array, x: Array) -> Array:
    """The guide of the next repeat: the result where it may change, x0 where it is kept."""
    return request.guide.mask * x + (1 - request.guide.mask) * x0


def finish(
    plan: SDEdit,
    params: Any,
    request: Request,
    x0: Array,
    score_sq: Array | None = None,
    attempts: Attempts | None = None,
) -> Edited:
    """The picture [H, W, C] of x0; at strength 0 the guide of the unprepared `request`, and 0."""
    made, ran = plan.prior.codec.decode(params, x0), start_of(plan, request)[0] > 0
    image = jnp.where(ran, made, jnp.asarray(request.guide.image, jnp.float32))
    measured = jax.tree.map(lambda a: jnp.where(ran, a, 0), (score_sq, attempts))
    return Edited(image, *measured)


def proposition_1(sigma: float, score_sq: float, d: int, delta: float = 0.05) -> float:
    """The bound on |guide - result|^2 that holds with probability 1 - delta (Proposition 1).

    sigma^2 (C sigma^2 + d + 2 sqrt(-d ln delta) - 2 ln delta), for VE, one repeat and no mask.

    Args:
        sigma: sigma(t0). score_sq: C, the largest squared norm of the score. d: H W C.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta must be in (0, 1), got {delta}")
    log = math.log(delta)
    return sigma**2 * (score_sq * sigma**2 + d + 2 * math.sqrt(-d * log) - 2 * log)
