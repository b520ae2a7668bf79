"""Adapters against the originals' label rules, exact priors against their densities."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from sdedit_jax import registry
from sdedit_jax.diffusion import sde
from sdedit_jax.diffusion.strength import t_from_log_snr
from sdedit_jax.nets.functional import network
from sdedit_jax.priors import adapters, analytic

VE, VP, SUBVP = sde.VE(0.02, 100.0), sde.VP(), sde.SubVP()
SHAPE = (3, 4, 2)


def picture(rng):
    return jnp.asarray(rng.normal(size=SHAPE), jnp.float32)


class Stub:
    """A network that notes what it was given and answers with a fixed picture."""

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, params, x, label, y=None, key=None):
        self.params, self.x, self.label, self.y, self.key = params, x, label, y, key
        return self.answer[None]


def asked(make, rng, t, cond=None):
    """(stub after the call, x, its answer, the prediction)."""
    x, answer = picture(rng), picture(rng)
    stub = Stub(answer)
    eps = make(stub)("params", x, jnp.float32(t), cond).eps
    assert stub.params == "params" and stub.x.shape == (1, *SHAPE) and stub.label.shape == (1,)
    assert stub.label.dtype == jnp.float32
    return stub, x, answer, eps


@pytest.mark.parametrize("t", [1.0, 0.5, 0.123])
def test_score_sde_ve(t, rng):
    """The network sees [0, 1] and sigma / 2, and gives the score there: twice ours."""
    stub, x, score, eps = asked(lambda net: adapters.ScoreSDEVE(net, VE), rng, t)
    sigma = 0.01 * 5000.0**t
    np.testing.assert_allclose(stub.x[0], (x + 1) / 2, rtol=1e-6)
    np.testing.assert_allclose(stub.label[0], sigma, rtol=1e-6)
    np.testing.assert_allclose(eps, -2 * sigma * (score / 2), rtol=1e-5)


@pytest.mark.parametrize("t", [1.0, 0.5, 0.123, 1e-5])
def test_score_sde_ve_discrete(t, rng):
    """Label round((1 - t)(N - 1)): 0 is the noisiest level."""
    make = lambda net: adapters.ScoreSDEVEDiscrete(net, VE, 1000)  # noqa: E731
    stub, x, score, eps = asked(make, rng, t)
    assert float(stub.label[0]) == np.round((1 - np.float64(np.float32(t))) * 999)
    np.testing.assert_allclose(stub.x[0], (x + 1) / 2, rtol=1e-6)
    np.testing.assert_allclose(eps, -0.01 * 5000.0**t * score, rtol=1e-5)


@pytest.mark.parametrize("process", [VP, SUBVP])
def test_score_sde_vp(process, rng):
    stub, x, answer, eps = asked(lambda net: adapters.ScoreSDEVP(net, process), rng, 0.37)
    np.testing.assert_allclose(stub.label[0], 999 * 0.37, rtol=1e-6)
    np.testing.assert_array_equal(stub.x[0], x)
    np.testing.assert_array_equal(eps, answer)


def test_ddpm_labels_are_the_steps(rng):
    """Every step i of 1000 stands at t = (i + 1) / 1000."""
    stub = Stub(picture(rng))
    predict = adapters.DDPM(stub, sde.linear_table())
    x = picture(rng)

    def label(t):
        predict({}, x, t)
        return stub.label[0]

    steps = np.arange(1000)
    got = jax.vmap(label)(jnp.asarray((steps + 1) / 1000, jnp.float32))
    np.testing.assert_array_equal(got, steps)
    assert float(label(jnp.float32(1e-6))) == 0  # never below the table
    np.testing.assert_array_equal(predict({}, x, jnp.float32(0.5)).eps, stub.answer)


@pytest.mark.parametrize("process", [VP, sde.linear_table(), VE])
def test_velocity(process, rng):
    """A network that says v of a known x0 and z gives back z."""
    x0, z, t = picture(rng), picture(rng), 0.4
    alpha, sigma = sde.level(process, t)
    predict = adapters.Velocity(Stub(alpha * z - sigma * x0), process)
    x = sde.perturb(process, x0, t, z)
    np.testing.assert_allclose(predict({}, x, jnp.float32(t)).eps, z, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("process", [VE, VP, SUBVP])
@pytest.mark.parametrize("label", adapters.LABELS)
def test_edm_is_the_papers_preconditioning(process, label, rng):
    """D = c_skip u + c_out F(c_in u, c_noise) (Karras et al. table 1), eps = (u - D) / n."""
    d, t = 0.6, 0.55
    make = lambda net: adapters.EDM(net, process, d, label)  # noqa: E731
    stub, x, f, eps = asked(make, rng, t)
    alpha, sigma = (float(v) for v in sde.level(process, t))
    u, n = np.asarray(x, np.float64) / alpha, sigma / alpha
    np.testing.assert_allclose(stub.x[0], u / np.sqrt(n**2 + d**2), rtol=1e-5)
    np.testing.assert_allclose(stub.label[0], np.log(n) / 4 if label == "log" else n, rtol=1e-5)
    denoised = d**2 / (n**2 + d**2) * u + n * d / np.sqrt(n**2 + d**2) * np.asarray(f)
    np.testing.assert_allclose(eps, (u - denoised) / n, rtol=1e-4, atol=1e-5)
    # and D is the x0 of this eps
    x0 = sde.x0_from_eps(process, x, t, eps)
    np.testing.assert_allclose(x0, denoised, rtol=1e-3, atol=1e-3 * n)


def test_edm_with_the_best_network_is_exact(rng):
    """For data N(0, d^2) the best F is 0, at every noise level."""
    d, x = 0.5, picture(rng)
    for process in (VE, VP):
        exact = analytic.gaussian(process, jnp.zeros(SHAPE), d)
        zero = adapters.EDM(Stub(jnp.zeros(SHAPE)), process, d)
        for t in (1e-3, 0.3, 1.0):
            np.testing.assert_allclose(
                zero({}, x, jnp.float32(t)).eps, exact.eps(exact.params, x, t), rtol=2e-5
            )


def test_cond_and_key_reach_the_network(rng):
    stub, x = Stub(picture(rng)), picture(rng)
    key = jax.random.key(0)
    for make in (
        adapters.ScoreSDEVP,
        adapters.DDPM,
        adapters.Velocity,
        adapters.EDM,
        adapters.ScoreSDEVE,
    ):
        make(stub, VP)({}, x, jnp.float32(0.5), 3, key)
        assert stub.y.shape == (1,) and int(stub.y[0]) == 3 and stub.key is key
        make(stub, VP)({}, x, jnp.float32(0.5))
        assert stub.y is None and stub.key is None
    with pytest.raises(ValueError, match=r"label must be one of .* got 'time'"):
        adapters.EDM(stub, VP, label="time")


# --- exact priors ---------------------------------------------------------------------------------

FORMS = [(VE, oracles.ve(0.02, 100.0)), (VP, oracles.vp()), (SUBVP, oracles.subvp())]


@pytest.mark.parametrize(("process", "form"), FORMS)
def test_gaussian_against_the_closed_form(process, form, rng):
    mean, x = rng.normal(size=SHAPE), rng.normal(size=SHAPE)
    for std in (0.3, np.abs(rng.normal(size=SHAPE)) + 0.1):
        made = analytic.gaussian(process, mean, std)
        assert made.shape == SHAPE
        for t in (1e-3, 0.3, 1.0):
            got = made.eps(made.params, jnp.asarray(x, jnp.float32), t)
            want = oracles.gaussian_eps(form, mean, std)(x, t)
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def log_density(form, means, stds, weights, x, t):
    """log p_t of a mixture, float64, at x [H, W, C]."""
    a, s = form.at(t)
    v = (a * stds) ** 2 + s**2
    away = np.sum((x - a * means) ** 2, axis=(1, 2, 3))
    parts = np.log(weights) - away / 2 / v - x.size / 2 * np.log(2 * np.pi * v)
    return np.log(np.sum(np.exp(parts - parts.max()))) + parts.max()


@pytest.mark.parametrize(("process", "form"), FORMS)
def test_mixture_is_the_gradient_of_its_log_density(process, form, rng):
    """eps = -sigma grad log p, by central differences in float64."""
    shape, k = (2, 2, 1), 3
    means, x = rng.normal(size=(k, *shape)), rng.normal(size=shape)
    stds, weights = np.array([0.2, 0.5, 0.3]), np.array([0.5, 0.2, 0.3])
    made = analytic.mixture(process, means, stds, 10 * weights)  # weights need no scale
    for t in (0.05, 0.3, 0.8):
        density = functools.partial(log_density, form, means, stds, weights, t=t)
        h = 1e-5
        grad = np.zeros(x.size)
        for i in range(x.size):
            e = h * np.eye(x.size)[i].reshape(shape)
            grad[i] = (density(x + e) - density(x - e)) / (2 * h)
        got = made.eps(made.params, jnp.asarray(x, jnp.float32), t)
        np.testing.assert_allclose(np.ravel(got), -form.at(t)[1] * grad, rtol=2e-3, atol=2e-4)


def test_mixture_of_one_is_the_gaussian(rng):
    mean, x = picture(rng), picture(rng)
    for process, _ in FORMS:
        one, same = (
            analytic.mixture(process, mean[None], 0.4),
            analytic.gaussian(process, mean, 0.4),
        )
        np.testing.assert_allclose(
            one.eps(one.params, x, 0.4), same.eps(same.params, x, 0.4), rtol=1e-5, atol=1e-6
        )


def test_a_known_picture_leaves_the_noise(rng):
    """With one picture of no width, what is left of x_t is the noise."""
    known, z = picture(rng), picture(rng)
    for process in (VE, VP, sde.linear_table()):
        made = analytic.gaussian(process, known, 0.0)
        x = sde.perturb(process, known, 0.5, z)
        np.testing.assert_allclose(made.eps(made.params, x, 0.5), z, rtol=1e-3, atol=1e-4)


# --- priors as values -----------------------------------------------------------------------------

CONVENTIONS = [
    (adapters.ScoreSDEVE, {}),
    (adapters.ScoreSDEVEDiscrete, {"levels": 12}),
    (adapters.ScoreSDEVP, {}),
    (adapters.DDPM, {"steps": 500, "learned_variance": True, "predicts": "v"}),
    (adapters.Velocity, {}),
    (adapters.EDM, {"sigma_data": 0.4, "label": "sigma"}),
    (adapters.EDMVP, {"beta_d": 10.0}),
    (adapters.EDMVE, {}),
    (adapters.EDMIDDPM, {"steps": 100}),
]


def small_network(channels=8):
    kind = registry.NETS["unet2d"]
    values = {"block_out_channels": [channels], "norm_num_groups": 4, "layers_per_block": 1}
    blocks = {"down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}
    return network(kind, values | blocks)


def test_equal_networks_are_one_value():
    net, again = small_network(), small_network()
    assert net == again and hash(net) == hash(again) and net is not again
    assert net != small_network(16) and net != dataclasses.replace(net, compute="bfloat16")
    params, traces = net.init(jax.random.key(0)), []

    @functools.partial(jax.jit, static_argnums=0)
    def run(net, params, x):
        traces.append(1)
        return net.apply(params, x, jnp.zeros(1))

    x = jnp.ones((1, 8, 8, 3))
    np.testing.assert_array_equal(run(net, params, x), run(again, params, x))
    assert len(traces) == 1


def test_a_network_that_cannot_be_built_gives_one_line():
    with pytest.raises(ValueError, match="mine: config must be an object, got "):
        network(registry.NETS["unet2d"], 3, name="mine")
    with pytest.raises(ValueError, match="compute must be one of"):
        network(registry.NETS["unet2d"], {}, "float16")


@pytest.mark.parametrize(("kind", "given"), CONVENTIONS, ids=lambda v: getattr(v, "__name__", ""))
def test_equal_adapters_compile_once(kind, given):
    made = [kind(small_network(), sde.linear_table(), **given) for _ in range(2)]
    assert made[0] == made[1] and hash(made[0]) == hash(made[1])
    assert made[0] != kind(small_network(), VP, **given)
    assert made[0] != kind(small_network(16), sde.linear_table(), **given)
    assert jax.tree.leaves(made[0]) == []  # static in any tree


def test_other_parameters_make_another_adapter():
    for kind, given in CONVENTIONS:
        for name, value in given.items():
            other = {"label": "log", "predicts": "x0"}.get(name, 2 * value)
            other = (not value) if isinstance(value, bool) else other
            assert kind(None, VP, **given) != kind(None, VP, **{**given, name: other}), name


def test_priors_differ_by_what_is_compiled_alone(rng):
    """Arrays, metadata and texts are no part of it; process, predictor and shape are."""
    one = analytic.gaussian(VP, picture(rng), 0.3)
    other = analytic.gaussian(VP, picture(rng), 0.5).replace(metadata={"name": "other"})
    assert one == other and hash(one) == hash(other) and one.static == other
    assert one.static.params is None and other.static.metadata == {}
    assert one != analytic.gaussian(VE, picture(rng), 0.3)
    assert one != one.replace(shape=(3, 4, 1))
    assert one != analytic.mixture(VP, picture(rng)[None], 0.3)
    traces = []

    @functools.partial(jax.jit, static_argnums=0)
    def eps(static, params, x):
        traces.append(1)
        return static.eps(params, x, 0.4)

    for made in (one, other, analytic.gaussian(sde.VP(), picture(rng), 0.1)):
        x = picture(rng)
        np.testing.assert_allclose(eps(made.static, made.params, x), made.eps(made.params, x, 0.4),
                                   rtol=1e-5, atol=1e-6)  # fmt: skip
    assert len(traces) == 1


def test_a_prior_shows_itself_in_three_lines(rng):
    made = analytic.gaussian(VP, picture(rng), 0.3)
    assert repr(made).split("\n") == [
        "Prior unnamed (GaussianPredictor)",
        "  3 x 4 x 2, in pixels, 25 parameters",
        "  VP(beta_min=0.1, beta_max=20.0)",
    ]
    about = {"name": "house", "network": "unet2d", "sha256": "0123456789abcdef0123"}
    shown = repr(made.replace(metadata=about, process=sde.linear_table(), params=None))
    assert shown.split("\n") == [
        "Prior house (unet2d), sha256 0123456789abcdef",
        "  3 x 4 x 2, in pixels, 0 parameters",
        "  VP table, 1000 levels, log-SNR 9.21 to -10.1",
    ]


# --- a prior on another process -------------------------------------------------------------------

PROCESSES = [VE, VP, SUBVP, sde.linear_table()]


@pytest.mark.parametrize("target", PROCESSES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("own", PROCESSES, ids=lambda p: type(p).__name__)
def test_with_process_is_the_prior_of_that_process(own, target, rng):
    """Exact priors of one data set: the one seen through a process is that of the process."""
    mean, x = picture(rng), picture(rng)
    seen = analytic.gaussian(own, mean, 0.4).with_process(target)
    assert seen.process == target
    straight = analytic.gaussian(target, mean, 0.4)
    for t in (0.2, 0.5, 0.8):
        ends = [float(sde.log_snr(own, end)) for end in (1.0, 1e-3)]
        if ends[0] < float(sde.log_snr(target, t)) < ends[1]:
            at = sde.level(target, t)[0] * x
            np.testing.assert_allclose(
                seen.eps(seen.params, at, t), straight.eps(straight.params, at, t),
                rtol=2e-3, atol=2e-3,
            )  # fmt: skip


def test_with_process_is_a_value_and_its_own_process_changes_nothing(rng):
    made, again = (analytic.gaussian(VP, picture(rng), 0.3) for _ in range(2))
    assert made.with_process(sde.VP()) is made
    one, other = made.with_process(VE), again.with_process(sde.VE(0.02, 100.0))
    assert one == other and hash(one) == hash(other) and one != made
    assert one != made.with_process(sde.VE(0.01, 50.0))
    x, t = picture(rng), jnp.float32(0.6)  # the formula, written out
    at = t_from_log_snr(VP, sde.log_snr(VE, t))
    scale = sde.level(VP, at)[0] / sde.level(VE, t)[0]
    np.testing.assert_array_equal(
        one.predict(one.params, x, t).eps, made.predict(made.params, x * scale, at).eps
    )
