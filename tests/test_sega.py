"""Semantic guidance: the original's numbers from its recorded estimates, and what must hold."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hooks import Hook
from recorded import arrays, close, player, settings

from sdedit_jax.diffusion import grids, sampler, sde, solvers, timesteps
from sdedit_jax.diffusion.noise import SampleNoise, ZeroNoise
from sdedit_jax.diffusion.solvers import Prediction, StatefulPredictor
from sdedit_jax.guidance import LeditsPP
from sdedit_jax.guidance.sega import SEGA, SEGACond, concepts, padded, semantic, top
from sdedit_jax.priors import adapters
from sdedit_jax.priors.analytic import gaussian

CASES = [
    "single_default_nowarm", "single_warm2", "three", "reverse", "momentum0", "momentum_strong",
    "cooldown", "cooldown_scalar", "weights", "threshold_extremes", "batch2_neg", "sem_supplied",
    "empty_concept",
]  # fmt: skip
DDIM = timesteps.Timesteps("ddim", "leading", offset=1, clean=False)  # of Stable Diffusion
SHIPPED = ["three", "weights", "cooldown"]
K, N, SHAPE = 3, 8, (6, 6, 2)


def concepts_of(setting, cond):
    p = setting["params"]
    return concepts(
        cond,
        scale=p["edit_guidance_scale"],
        reverse=p["reverse_editing_direction"],
        warmup=p["edit_warmup_steps"],
        cooldown=p["edit_cooldown_steps"],
        threshold=p["edit_threshold"],
        weight=1.0 if p["edit_weights"] is None else p["edit_weights"],
        momentum=p["edit_momentum_scale"],
        beta=p["edit_mom_beta"],
    )


@jax.jit
def run_original(against, edit, many):
    return along(against, edit, many, "sega-original")


def along(against, edit, many, mode):
    """Guidance and momentum after each step, from estimates [N, H, W, C] and [N, K, H, W, C]."""

    def one(memory, each):
        push, memory, _ = semantic(each[0], each[1], many, memory, each[2], mode)
        return memory, (push, memory)

    start = jnp.zeros(edit.shape[1:])
    return jax.lax.scan(one, start, (against, edit, jnp.arange(len(edit))))[1]


# --- the original's numbers -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "file, case",
    [("sd_sega.npz", case) for case in SHIPPED] + [("io_sega.npz", case) for case in CASES],
)
def test_guidance_and_momentum_of_the_original(golden, file, case):
    a = arrays(golden(file), case + "__")
    batch = [0, 1] if case == "batch2_neg" else [...]
    for row in batch:
        pick = slice(None) if row is ... else (slice(None), row)
        edit = a["edit"] if row is ... else a["edit"][:, :, row]
        many = concepts_of(settings(golden(file), case), np.arange(edit.shape[1]))
        push, memory = run_original(a["uncond"][pick], edit, many._replace(cond=None))
        close(push, a["sem_guidance"][pick], 1e-6)
        close(np.sum(memory, axis=1), a["momentum"][pick], 1e-6)


@pytest.mark.parametrize("case", ["none", "three", "sem_supplied", "empty_concept"])
def test_states_of_the_original(golden, case):
    """The whole of a DDIM run: against, text, concepts and the user's own guidance, in the loop."""
    a = arrays(golden("io_sega.npz"), case + "__")
    edit = a.get("edit", np.zeros((N, 0, *a["uncond"].shape[1:]), np.float32))
    said = np.concatenate([a["uncond"][:, None], a["text"][:, None], edit], axis=1)
    prior = player(a["timesteps"], said)
    setting = settings(golden("io_sega.npz"), case)
    many = concepts_of(setting, np.arange(2, said.shape[1]))
    cond = SEGACond(1, 0, setting["guidance_scale"], many, a.get("sem_in"))
    grid = timesteps.TimestepGrid(DDIM, N)(prior.process, jnp.float32(1), N)
    predict = SEGA(prior.predict, "sega-original").bind(prior.params, cond)
    path = sampler.reverse(
        predict, prior.process, solvers.Ancestral(eta=0), grid, ZeroNoise(), a["init_latents"],
        observe=lambda seen: seen.x_next,
    )[1]  # fmt: skip
    close(path, a["latents"], 1e-5)


@pytest.mark.parametrize("predicts", ["v", "x0"])
def test_guidance_is_of_the_output_of_the_network(golden, rng, predicts):
    """The recorded estimates as v, or x0, of a network: the original guides what a network gives.
    The states are those of DDIM in float64 along the guided outputs."""
    a = arrays(golden("sd_sega.npz"), "three__")
    setting, shape = settings(golden("sd_sega.npz"), "three"), a["uncond"].shape
    text, start = (rng.standard_normal(s).astype(np.float32) for s in (shape, shape[1:]))
    said = np.concatenate([a["uncond"][:, None], text[:, None], a["edit"]], axis=1)
    steps = 1 + 125 * np.arange(len(said))[::-1]  # those of 8 steps

    def net(params, x, label, y=None, key=None):
        i = jnp.argmin(jnp.abs(params["steps"] - label[0]))
        return params["said"][i, y[0]][None]

    params = {"steps": jnp.asarray(steps), "said": jnp.asarray(said)}
    prior = player(steps, said)
    cond = SEGACond(1, 0, 7.5, concepts_of(setting, np.arange(2, said.shape[1])))
    grid = timesteps.TimestepGrid(DDIM, len(said))(prior.process, jnp.float32(1), len(said))
    predict = SEGA(adapters.DDPM(net, prior.process, predicts=predicts), "sega-original")
    path = sampler.reverse(
        predict.bind(params, cond), prior.process, solvers.Ancestral(eta=0), grid, ZeroNoise(),
        start, observe=lambda seen: seen.x_next,
    )[1]  # fmt: skip

    u, text = (said[:, c].astype(np.float64) for c in (0, 1))
    outs = u + 7.5 * (text - u) + a["sem_guidance"]
    bar = np.cumprod(1 - oracles.scaled_linear_betas())
    x, wanted = start.astype(np.float64), []
    for out, i, j in zip(outs, steps, [*steps[1:], 0], strict=True):
        (alpha, to), (sigma, rest) = (np.sqrt([b[i], b[j]]) for b in (bar, 1 - bar))
        x0 = alpha * x - sigma * out if predicts == "v" else out
        x = to * x0 + rest * (x - alpha * x0) / sigma
        wanted.append(x)
    close(path, np.stack(wanted), 1e-5)


def test_nan_of_the_original(rng):
    """Every warm concept has cooled down, another is not yet warm: the original divides 0 by 0."""
    against, edit = estimates(rng)
    many = concepts(np.arange(2), warmup=[0, 5], cooldown=[3, 8])._replace(cond=None)
    push = run_original(against, edit[:, :2], many)[0]
    wrong = np.isnan(push).all(axis=(1, 2, 3))
    assert wrong.tolist() == [False] * 3 + [True] * 2 + [False] * 3
    assert np.isfinite(along(against, edit[:, :2], many, "mended")[0]).all()


def test_original_acts_only_above_scale_1():
    for scale, acts in [(1.0, False), (1.5, True)]:
        eps = guided("sega-original", scale=scale, warmup=0)
        text = guided("sega-original", scale=scale, scales=0.0, warmup=0)
        assert (np.abs(eps - text).max() > 0) == acts


# --- what our mode mends --------------------------------------------------------------------------


def estimates(rng, k=K):
    each = rng.standard_normal((N, k + 1, *SHAPE)).astype(np.float32)
    return each[:, 0], each[:, 1:]


@pytest.mark.parametrize("warmup", [0, 3])
def test_both_modes_agree_where_nothing_is_odd(rng, warmup):
    """One warm-up for all, and momentum of one kind: the sum over all, as in the original."""
    against, edit = estimates(rng)
    many = concepts(np.arange(K), scale=[2, 3, 4], warmup=warmup, cooldown=[4, 6, None], beta=0.6)
    many = many._replace(cond=None)
    ours, original = (along(against, edit, many, m)[0] for m in ("mended", "sega-original"))
    close(ours, original, 1e-6)
    assert not np.any(ours[:warmup])


def test_concepts_do_not_touch_each_other(rng):
    """Mended guidance is the sum of what each concept does alone, whatever their times."""
    against, edit = estimates(rng)
    given = {"scale": [2, 3, 4], "warmup": [0, 2, 5], "cooldown": [4, None, 7], "momentum": 0.4}
    many = concepts(np.arange(K), **given)._replace(cond=None)
    together = along(against, edit, many, "mended")[0]
    alone = [
        along(against, edit[:, [c]], jax.tree.map(lambda a, c=c: a[[c]], many), "mended")[0]
        for c in range(K)
    ]
    close(together, sum(alone), 1e-6)


def test_one_concept_by_hand(rng):
    """A single concept in float64 numpy."""
    against, edit = estimates(rng, 1)
    many = concepts(
        np.zeros(1), scale=2.5, reverse=True, warmup=2, cooldown=6, threshold=0.8, weight=0.7,
        momentum=0.3, beta=0.6,
    )._replace(cond=None)  # fmt: skip
    nu, wanted = np.zeros(SHAPE), []
    for i in range(N):
        psi = -2.5 * (edit[i, 0].astype(np.float64) - against[i])
        least = np.quantile(np.abs(psi), 0.8, axis=(0, 1))
        push = 0.7 * np.where(np.abs(psi) >= least, psi, 0) * (i < 6) + 0.3 * nu
        nu = 0.6 * nu + 0.4 * push
        wanted.append(push * (i >= 2))
    got, _ = along(against, edit, many, "mended")
    close(got, np.stack(wanted), 1e-6)


# --- identities -----------------------------------------------------------------------------------


def told(params, x, t, cond=None, key=None):
    """A network whose estimate depends on its cond, a number, at every place differently."""
    wave = jnp.sin(3.0 * cond + 7 * jnp.arange(x.size, dtype=jnp.float32)).reshape(x.shape)
    return Prediction(params * x + t * wave)


def guided(mode="mended", *, scale=2.0, index=3, many=None, **given):
    """Estimate of a guided predictor at one step after some steps."""
    given = {"scale": given.pop("scales", 4.0), "warmup": 1, **given}
    many = concepts(np.arange(2.0, 4.0), **given) if many is None else many
    predict = SEGA(told, mode).bind(0.5, SEGACond(1.0, 0.0, scale, many))
    x = jnp.linspace(-1, 1, np.prod(SHAPE)).reshape(SHAPE)
    memory = predict.init(x)
    for i in range(index):
        memory = predict.predict(memory, x, 0.5, i)[1]
    return np.asarray(predict.predict(memory, x, 0.5, index)[0].eps)


def plain(cond):
    x = jnp.linspace(-1, 1, np.prod(SHAPE)).reshape(SHAPE)
    return np.asarray(told(0.5, x, 0.5, cond).eps)


@pytest.mark.parametrize("mode", ["mended", "sega-original"])
@pytest.mark.parametrize(
    "off", [{"scales": 0.0}, {"active": False}, {"weight": -1.0}, {"warmup": 9}]
)
def test_concepts_that_are_off_leave_the_text_guidance(mode, off):
    want = plain(0.0) + 2 * (plain(1.0) - plain(0.0))
    np.testing.assert_allclose(guided(mode, **off), want, atol=1e-6)


def test_scale_0_leaves_the_text_out():
    push = guided(scale=0.0) - plain(0.0)
    np.testing.assert_allclose(guided(scale=3.0) - 3 * (plain(1.0) - plain(0.0)), plain(0.0) + push,
                               atol=1e-5)  # fmt: skip


def test_no_concepts_at_all():
    many = concepts(np.zeros(0))
    want = plain(0.0) + 2 * (plain(1.0) - plain(0.0))
    np.testing.assert_allclose(guided(many=many), want, atol=1e-6)


@pytest.mark.parametrize("mode", ["mended", "sega-original"])
def test_padding_changes_no_bit(mode):
    given = {"scale": [3.0, 5.0], "warmup": [0, 2], "cooldown": [None, 7], "momentum": 0.5}
    many = concepts(np.arange(2.0, 4.0), **given)
    wide = padded(many, 5)
    wide = wide._replace(cond=np.where(wide.active, wide.cond, np.nan))  # whatever stands there
    for index in (1, 4, 7):
        np.testing.assert_array_equal(
            guided(mode, many=many, index=index), guided(mode, many=wide, index=index)
        )


@pytest.mark.parametrize("mode", ["mended", "sega-original"])
def test_order_does_not_matter(mode):
    given = {"scale": [3.0, 5.0, 2.0], "warmup": [0, 2, 3], "threshold": [0.5, 0.7, 0.9]}
    many = concepts(np.arange(2.0, 5.0), **given)
    first = guided(mode, many=many, index=4)
    for order in itertools.permutations(range(3)):
        other = jax.tree.map(lambda a, order=order: a[list(order)], many)
        np.testing.assert_allclose(guided(mode, many=other, index=4), first, atol=1e-5)


def test_a_concept_stays_in_its_mask():
    mask = np.zeros((2, *SHAPE[:2], 1), np.float32)
    mask[0, :3], mask[1, :, 4:] = 1, 1
    push = guided(mask=mask, scale=0.0, threshold=0.0) - plain(0.0)
    free = guided(scale=0.0, threshold=0.0) - plain(0.0)
    assert not np.any(push[3:, :4])
    np.testing.assert_allclose(push[:3, 4:], free[:3, 4:], atol=1e-5)


@pytest.mark.parametrize("q", [0.0, 0.2, 0.5, 0.8, 0.975, 1.0])
@pytest.mark.parametrize("n", [1, 16, 256, 4096])
def test_top(rng, q, n):
    """The values from their quantile on, itself included; equal ones stand or fall together."""
    values = rng.standard_normal(n).astype(np.float32)
    want = values >= np.quantile(values.astype(np.float64), q) - 2e-4 / n
    np.testing.assert_array_equal(jax.jit(top)(values, np.float32(q)), want)
    if q < 0.5:  # where most are 0, so is the quantile, and every value counts
        values[: -(-n * 3 // 4)] = 0
        want = np.abs(values) >= 0
        np.testing.assert_array_equal(jax.jit(top)(np.abs(values), np.float32(q)), want)


def test_changing_numbers_compiles_nothing():
    traces = []

    @jax.jit
    def run(cond):
        traces.append(None)
        predict = SEGA(told).bind(0.5, cond)
        x = jnp.ones(SHAPE)
        return predict.predict(predict.init(x), x, 0.5, 2)[0].eps

    for scale in (1.0, 3.0):
        many = concepts(
            np.asarray([2.0, scale]), scale=[scale, 2], threshold=0.1 * scale, warmup=int(scale),
            cooldown=[None, 3 + scale], reverse=scale > 2, active=[True, scale > 2],
            mask=np.full((2, *SHAPE[:2], 1), scale, np.float32),
        )  # fmt: skip
        run(SEGACond(np.float32(scale), np.float32(0), np.float32(scale), many))
    assert len(traces) == 1


# --- guidance as a value, and its masks -----------------------------------------------------------


def test_equal_guidance_is_one_value():
    for kind, field, other in ((SEGA, "mode", "sega-original"), (LeditsPP, "masks", "noise")):
        assert kind(told) == kind(told) and hash(kind(told)) == hash(kind(told))
        assert kind(told) != kind(told, **{field: other}) and kind(told) != kind(plain)
        assert jax.tree.leaves(kind(told)) == []
    assert LeditsPP(told) != LeditsPP(told, intersect_to=1.0)


def test_masks_are_the_share_of_channels_above_the_threshold(rng):
    """By numpy's quantile; 0 before the warm-up, after the cool-down, and for padding."""
    against, edit = estimates(rng)
    many = concepts(np.arange(K), warmup=[0, 2, 0], cooldown=[4, None, None], threshold=0.7)
    many = many._replace(cond=None, active=np.asarray([True, True, False]))
    for index, acts in ((0, [1, 0, 0]), (3, [1, 1, 0]), (5, [0, 1, 0])):
        masks = semantic(against[0], edit[0], many, jnp.zeros((K, *SHAPE)), index)[2]
        size = np.abs(edit[0] - against[0])
        share = (size >= np.quantile(size, 0.7, axis=(1, 2), keepdims=True)).mean(-1, keepdims=True)
        np.testing.assert_allclose(masks, share * np.reshape(acts, (K, 1, 1, 1)), atol=1e-6)
    none = concepts(np.zeros(0))._replace(cond=None)
    assert semantic(against[0], edit[0, :0], none, None, 0)[2].shape == (0, *SHAPE[:2], 1)


def test_the_prediction_carries_the_masks():
    many, x = concepts(np.arange(2.0, 4.0), warmup=[0, 9], threshold=0.5), jnp.ones(SHAPE)
    predict = SEGA(told).bind(0.5, SEGACond(1.0, 0.0, 2.0, many))
    masks = predict.predict(predict.init(x), x, 0.5, 1)[0].masks
    assert masks.shape == (2, *SHAPE[:2], 1) and 0.4 < masks[0].mean() < 0.6 and not masks[1].any()


# --- memory of the predictor in the loop ----------------------------------------------------------


def test_the_loop_carries_the_memory():
    """A predictor that counts: the loop hands each step what the last one left; hooks and
    further evaluations of the solver only look."""
    seen = []

    def predict(memory, x, t, index):
        jax.debug.callback(lambda *a: seen.append(tuple(int(v) for v in a)), memory, index)
        return Prediction(0 * x), memory + 1

    counting = StatefulPredictor(lambda x: jnp.int32(10), predict)

    def before(x, context):
        return x + 0 * context.predict(x, context.t).eps

    process, grid = sde.VP(), grids.Uniform()(sde.VP(), 0.5, 3)
    noise = SampleNoise(jax.random.key(0))
    for solver in (solvers.Ancestral(), solvers.Heun()):
        seen.clear()
        state, _ = sampler.reverse(
            counting, process, solver, grid, noise, jnp.ones((2, 2, 1)),
            hooks=[Hook(before)],
        )  # fmt: skip
        jax.effects_barrier()
        assert int(state.guidance) == 13
        assert set(seen) == {(10, 0), (11, 1), (12, 2)}
        assert len(seen) == 3 * (1 + solver.evaluations)


def test_chunks_hand_the_memory_on():
    many = concepts(np.zeros(1), warmup=1, momentum=0.8, beta=0.5, threshold=0.2)
    prior = gaussian(sde.VP(), jnp.zeros(SHAPE), 0.5)

    def two(params, x, t, cond=None, key=None):
        eps = prior.predict(params, x, t).eps
        return Prediction(eps + 0.1 * cond * jnp.roll(x, 1, axis=0))

    cond = SEGACond(np.float32(1), np.float32(2), 1.5, many)
    predict = SEGA(two).bind(prior.params, cond)
    solver, grid = solvers.Ancestral(), grids.Uniform()(prior.process, 0.6, 4)
    noise = SampleNoise(jax.random.key(1))
    x = jax.random.normal(jax.random.key(2), SHAPE)
    whole = sampler.reverse(predict, prior.process, solver, grid, noise, x)[0]
    state = sampler.begin(solver, x, predict)
    for first in (0, 2):
        state = sampler.advance(
            predict, prior.process, solver, grid, noise, state, first=first, count=2
        )[0]
    # scans of other lengths are other programs, which may differ in the last bit
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-6), state, whole)


# --- bad input ------------------------------------------------------------------------------------


def test_bad_input():
    cond = np.arange(2)
    for given, said in [
        ({"scale": [1, 2, 3]}, "scale must be one value or 2"),
        ({"threshold": [0.5, 1.5]}, r"threshold must be in \[0, 1\]"),
        ({"warmup": -1}, "warmup must be at least 0"),
        ({"cooldown": [None, -2]}, "cooldown must be at least 0"),
        ({"mask": np.ones((3, 2, 2, 1))}, "mask must have one row"),
    ]:
        with pytest.raises(ValueError, match=said):
            concepts(cond, **given)
    with pytest.raises(ValueError, match="mode must be one of"):
        SEGA(told, "sega")
    with pytest.raises(ValueError, match="k must be at least"):
        padded(concepts(cond), 1)
