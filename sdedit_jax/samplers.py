"""The one reverse loop, its noise, and the refinements that may stand before or after its steps.

The loop owns the network call, the noise and the carry; a rule (rules.py) is the algebra of one
step. It handles one image [H, W, C]; batches come from vmap, devices from parallel.py.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.grids import Grid
from sdedit_jax.rules import Prediction, Remembering, Rule, Step
from sdedit_jax.sde import SDE, level, transition

Predict = Callable[[Array, Array], Prediction]
"""(x [H, W, C], t) -> Prediction, everything else bound."""

Draw = Callable[[], Array]
Noise = Callable[[Array], Draw]
"""step index -> a function that gives the next standard normal of this step at each call."""


# --- noise ----------------------------------------------------------------------------------------


def keyed(key: Array, shape: tuple[int, ...]) -> Noise:
    """Noise drawn from a key: call j of step i depends on (key, i, j) alone."""

    def at(index: Array) -> Draw:
        step_key, calls = jax.random.fold_in(key, index), itertools.count()
        return lambda: jax.random.normal(jax.random.fold_in(step_key, next(calls)), shape)

    return at


def recorded(z: Array) -> Noise:
    """Recorded noise z [N, calls, H, W, C], replayed in call order.

    Raises:
        ValueError: a step draws more often than was recorded.
    """

    def at(index: Array) -> Draw:
        row, calls = z[index], itertools.count()

        def draw() -> Array:
            call = next(calls)
            if call >= len(row):
                raise ValueError(f"z holds {len(row)} draws for each step, a step asks for more")
            return row[call]

        return draw

    return at


class Aim(NamedTuple):
    """In the place of noise: the states that the steps shall reach; their noise is solved for.

    Attributes:
        at: step index -> the state after the step [H, W, C].
    """

    at: Callable[[Array], Array]


def solved(target: Array, law: Step) -> Array:
    """The z with which a step reaches the target: z = (target - mean) / std; 0 where std is 0."""
    noisy = law.std > 0
    return jnp.where(noisy, (target - law.mean) / jnp.where(noisy, law.std, 1.0), 0.0)


# --- refinements ----------------------------------------------------------------------------------


class Context(NamedTuple):
    """What a refinement is told of the step.

    Attributes:
        process, t, s, index: the process, the step's times, its index in the grid.
        z: the noise of the rule in this step; None before the step.
        noisy: 0 where the step takes its mean (the last one with final="mean"), else 1.
        draw: the noise source. predict: the bound predictor.
    """

    process: SDE
    t: Array
    s: Array
    index: Array
    z: Array | None
    noisy: Array
    draw: Draw
    predict: Predict


Refinement = Callable[[Array, Context], Array]


class Refine(NamedTuple):
    """Changes of the state before and after each step: (x, Context) -> x, or None.

    Attributes:
        nfe: evaluations of the network by both, per step.
        mixes: whether a picture's result depends on the others of its batch.
    """

    before: Refinement | None = None
    after: Refinement | None = None
    nfe: int = 0
    mixes: bool = False


def chain(*refines: Refine) -> Refine:
    """All refinements, in the order given."""

    def join(parts: list[Refinement]) -> Refinement | None:
        def run(x: Array, context: Context) -> Array:
            for part in parts:
                x = part(x, context)
            return x

        return run if parts else None

    return Refine(
        join([r.before for r in refines if r.before]),
        join([r.after for r in refines if r.after]),
        sum(r.nfe for r in refines),
        any(r.mixes for r in refines),
    )


HOLDS = ("level", "paper", "official")


def hold(guide: Array, mask: Array, mode: str = "level", z: Array | None = None) -> Refine:
    """Keep the guide where mask is 0, noised to the level of the state; fractions blend.

    Args:
        guide: [H, W, C] in [-1, 1].
        mask: [H, W, 1] or [H, W, C]; 1 where the edit may change pixels.
        mode: "level": fresh noise at the level s just reached. "paper": the level t before the step
            with the step's own noise (SDEdit, masked algorithms). "official": the level t with the
            one noise `z` of the whole run (released code).
        z: [H, W, C], for "official".
    """
    if mode not in HOLDS:
        raise ValueError(f"mode must be one of {list(HOLDS)}, got {mode!r}")
    if mode == "official" and z is None:
        raise ValueError('hold with mode "official" needs z, the noise of the start')
    mask = jnp.broadcast_to(mask, guide.shape)

    def after(x: Array, context: Context) -> Array:
        noise = {"level": context.draw, "paper": lambda: context.noisy * context.z}.get(mode)
        at = context.s if mode == "level" else context.t
        alpha, sigma = level(context.process, at)
        kept = alpha * guide + sigma * (noise() if noise else z)
        return mask * x + (1 - mask) * kept

    return Refine(after=after)


NORMS = ("image", "batch")


def langevin(snr: float = 0.16, steps: int = 1, norm: str = "image", axis: str = "batch") -> Refine:
    """Langevin corrector before each step (score_sde Algorithms 4 and 5).

    x <- x + e g + sqrt(2 e) z with g the score, e = 2 a^2 (snr |z| / |g|)^2, a^2 = alpha_t^2 /
    alpha_s^2 (1 for VE).

    Args:
        norm: |z|, |g| of the image, or with "batch" their means over the vmapped axis `axis`, as
            the original has it; a result then depends on its neighbours, so it serves replays only.
    """
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {list(NORMS)}, got {norm!r}")
    if not snr > 0 or steps < 1:
        raise ValueError(f"langevin needs snr > 0 and steps >= 1, got snr={snr}, steps={steps}")

    def size(v: Array) -> Array:
        length = jnp.sqrt(jnp.sum(v**2))
        return jax.lax.pmean(length, axis) if norm == "batch" else length

    def before(x: Array, context: Context) -> Array:
        a = transition(context.process, context.t, context.s)[0]
        sigma = level(context.process, context.t)[1]
        for _ in range(steps):
            score = -context.predict(x, context.t).eps / sigma
            z = context.draw()
            e = 2 * a**2 * (snr * size(z) / size(score)) ** 2
            x = x + e * score + jnp.sqrt(2 * e) * z
        return x

    return Refine(before, nfe=steps, mixes=norm == "batch")


# --- the loop -------------------------------------------------------------------------------------


class State(NamedTuple):
    """The carry: the state x, the rule's memory, the largest squared norm of the score that a step
    began with so far (not of those inside correctors and probes), the predictor's memory."""

    x: Array
    memory: Any
    score_sq: Array
    recall: Any = ()


FINALS = ("mean", "sample")


def begin(rule: Rule, x: Array, predict: Predict | Remembering | None = None) -> State:
    """The carry before the first step from x [H, W, C]; a predictor with memory must be named."""
    return State(x, rule.init(x), jnp.zeros(()), remembering(predict).init(x))


def remembering(predict: Predict | Remembering | None) -> Remembering:
    """The predictor as one with memory; what has none remembers ()."""
    if isinstance(predict, Remembering):
        return predict
    return Remembering(lambda x: (), lambda memory, x, t, index: (predict(x, t), memory))


def advance(
    predict: Predict | Remembering,
    process: SDE,
    rule: Rule,
    grid: Grid,
    noise: Noise | Aim,
    state: State,
    *,
    first: Array | int = 0,
    count: int | None = None,
    refine: Refine | None = None,
    final: str = "mean",
) -> tuple[State, Array]:
    """`count` steps of the grid from step `first` on, as one lax.scan.

    A predictor's memory advances by one evaluation a step; refinements and the probe see it as it
    was before the step.

    Args:
        noise: the source of each step's z; or an Aim, from which z is solved.
        first: index of the first step; may be traced, so that equal chunks share one program.
        final: whether the grid's last step takes its mean or a sample.

    Returns:
        the carry after the steps, and x after each of them [count, H, W, C]; with an Aim the z.
    """
    if final not in FINALS:
        raise ValueError(f"final must be one of {list(FINALS)}, got {final!r}")
    refine = refine or Refine()
    last, guided, aimed = len(grid.t) - 1, remembering(predict), isinstance(noise, Aim)

    def one(state: State, i: Array) -> tuple[State, Array]:
        def look(x: Array, t: Array) -> Prediction:
            return guided.predict(state.recall, x, t, i)[0]

        t, s, draw = grid.t[i], grid.s[i], _no_draw if aimed else noise(i)
        noisy = jnp.where((i == last) & (final == "mean"), 0.0, 1.0)
        context = Context(process, t, s, i, None, noisy, draw, look)
        x = refine.before(state.x, context) if refine.before else state.x
        prediction, recall = guided.predict(state.recall, x, t, i)
        score_sq = jnp.sum(prediction.eps**2) / level(process, t)[1] ** 2
        if rule.probe:
            prediction = prediction, look(*rule.probe(process, x, prediction, t, s))
        law, memory = rule.step(process, state.memory, x, prediction, t, s)
        z = solved(noise.at(i), law) if aimed else draw()
        x = law.mean + noisy * law.std * z
        x = refine.after(x, context._replace(z=z)) if refine.after else x
        state = State(x, memory, jnp.maximum(state.score_sq, score_sq), recall)
        return state, z if aimed else x

    count = len(grid.t) if count is None else count
    return jax.lax.scan(one, state, first + jnp.arange(count))


def reverse(
    predict: Predict | Remembering,
    process: SDE,
    rule: Rule,
    grid: Grid,
    noise: Noise | Aim,
    x: Array,
    *,
    refine: Refine | None = None,
    final: str = "mean",
) -> tuple[State, Array]:
    """The whole grid from x; see `advance`."""
    state = begin(rule, x, predict)
    return advance(predict, process, rule, grid, noise, state, refine=refine, final=final)


def _no_draw() -> Array:
    raise ValueError("noise is an Aim, from which only the rule's z is solved: no refinement draws")
