"""SDEdit (Meng et al., 2108.01073): noise the guide to t0, then run the reverse SDE of the prior.

Algorithm 1 (VE): x = guide + sigma(t0) z, then x <- x + e^2 score + e z with e^2 = sigma^2(t) -
sigma^2(s). The other algorithms differ by the process, the rule and the grid; masks and repeats are
as there. An `SDEdit` is the static plan; everything that may change without compiling is in a
`Request`.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.grids import MakeGrid
from sdedit_jax.guide import Guide
from sdedit_jax.prior import Prior, mask_of_state
from sdedit_jax.rules import Rule
from sdedit_jax.samplers import Noise, Refine, State, advance, begin, chain, hold, keyed
from sdedit_jax.sde import perturb


class Request(NamedTuple):
    """All that may change without compiling.

    Attributes:
        t0: strength in [0, 1], traced.
        guide: image [H, W, C] in [-1, 1] and mask [H, W, 1] or [H, W, C].
        cond: a label of a class-conditional prior, the embedding of a text of one that reads
            texts, a Guided pair of these, or None.
    """

    t0: Any
    guide: Guide
    cond: Any = None


class Edited(NamedTuple):
    """An edit's result: image [H, W, C], and the largest squared norm of the score on the way (see
    samplers.State)."""

    image: Array
    score_sq: Array


class Randomness(NamedTuple):
    """All noise of an edit.

    Attributes:
        start: repeat -> the noise [H, W, C] that takes the guide to t0.
        steps: repeat -> the noise of the loop.
    """

    start: Callable[[Array], Array]
    steps: Callable[[Array], Noise]


def random(key: Array, shape: tuple[int, ...]) -> Randomness:
    """Noise from the image's key: repeat k uses fold_in(key, k) alone."""

    def of(k: Array, part: int) -> Array:
        return jax.random.fold_in(jax.random.fold_in(key, k), part)

    return Randomness(
        lambda k: jax.random.normal(of(k, 0), shape), lambda k: keyed(of(k, 1), shape)
    )


class SDEdit(NamedTuple):
    """The static plan of an edit.

    Attributes:
        prior: its params are not used; they come as an argument.
        rule, grid, n: the transition rule, the grid and the number of steps (N asked = N run).
        hold: how the kept region is held, one of samplers.HOLDS; None: no mask anywhere.
        repeats: the paper's K.
        refine: further refinements, before the mask's.
        final: whether the last step takes its mean or a sample.
    """

    prior: Prior
    rule: Rule
    grid: MakeGrid
    n: int
    hold: str | None = "level"
    repeats: int = 1
    refine: Refine = Refine()
    final: str = "mean"

    @property
    def nfe(self) -> int:
        """Evaluations of the network in one edit, those of a corrector among them."""
        return self.n * self.evaluations * self.repeats

    @property
    def evaluations(self) -> int:
        """Evaluations of the network in one step."""
        return self.rule.nfe + self.refine.nfe


def edit(plan: SDEdit) -> Callable[..., Edited]:
    """The plan as a pure function (params, request, key, randomness=None) -> Edited.

    Strength 0 returns the guide unchanged.
    """

    def run(
        params: Any, request: Request, key: Array, randomness: Randomness | None = None
    ) -> Edited:
        picture, request = request.guide.image, opened(plan, params, request)
        noise = randomness or random(key, request.guide.image.shape)

        def repeat(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], None]:
            x0, score_sq = carry
            state = start(plan, request, noise, k, x0)
            state = steps(plan, params, request, noise, k, x0, state)
            x0 = mix(plan, request, x0, state.x)
            return (x0, jnp.maximum(score_sq, state.score_sq)), None

        carry = (request.guide.image, jnp.zeros(()))
        (x0, score_sq), _ = jax.lax.scan(repeat, carry, jnp.arange(plan.repeats))
        return finish(plan, params, request, x0, picture, score_sq)

    return run


def opened(plan: SDEdit, params: Any, request: Request) -> Request:
    """The request in the space of the prior, its mask as the plan reads it; what the network is
    shown of the guide is in its cond."""
    prior, guide = plan.prior, jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), request.guide)
    image, mask = prior.codec.encode(params, guide.image), guide.mask
    if plan.hold == "official":  # the released code edits all that is not fully kept
        mask = jnp.where(mask > 0, 1.0, 0.0)
    cond = request.cond
    if prior.see is not None:
        cond = prior.see(params, guide.image, mask, cond)
    mask = jnp.broadcast_to(mask_of_state(mask, image.shape), image.shape)
    return request._replace(guide=Guide(image, mask), cond=cond)


def start(plan: SDEdit, request: Request, noise: Randomness, k: Array, x0: Array) -> State:
    """The carry of repeat k at t0."""
    return begin(plan.rule, perturb(plan.prior.process, x0, request.t0, noise.start(k)))


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
) -> State:
    """`count` reverse steps of repeat k from step `first` on (all by default)."""
    process = plan.prior.process
    held = (
        Refine() if plan.hold is None else hold(x0, request.guide.mask, plan.hold, noise.start(k))
    )
    return advance(
        lambda x, t: plan.prior.predict(params, x, t, request.cond),
        process,
        plan.rule,
        plan.grid(process, jnp.asarray(request.t0, jnp.float32), plan.n),
        noise.steps(k),
        state,
        first=first,
        count=count,
        refine=chain(plan.refine, held),
        final=plan.final,
    )[0]


def mix(plan: SDEdit, request: Request, x0: Array, x: Array) -> Array:
    """The guide of the next repeat: the result where it may change, x0 where it is kept."""
    return x if plan.hold is None else request.guide.mask * x + (1 - request.guide.mask) * x0


def finish(
    plan: SDEdit, params: Any, request: Request, x0: Array, picture: Array, score_sq: Array
) -> Edited:
    """The picture [H, W, C] of x0; at strength 0 the guide, `picture`, as it came, and no score."""
    made, ran = plan.prior.codec.decode(params, x0), jnp.asarray(request.t0) > 0
    image = jnp.where(ran, made, jnp.asarray(picture, jnp.float32))
    return Edited(image, jnp.where(ran, score_sq, 0.0))


def proposition_1(sigma: float, score_sq: float, d: int, delta: float = 0.05) -> float:
    """The bound on |guide - result|^2 that holds with probability 1 - delta (SDEdit, Proposition
    1).

    sigma^2 (C sigma^2 + d + 2 sqrt(-d ln delta) - 2 ln delta), for VE, one repeat and no mask.

    Args:
        sigma: sigma(t0). score_sq: C, the largest squared norm of the score. d: H W C.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta must be in (0, 1), got {delta}")
    log = math.log(delta)
    return sigma**2 * (score_sq * sigma**2 + d + 2 * math.sqrt(-d * log) - 2 * log)
