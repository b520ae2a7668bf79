"""Adapters against the originals' label rules, exact priors against their densities."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from sdedit_jax import prior, sde

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
    stub, x, score, eps = asked(lambda net: prior.score_sde_ve(net, VE), rng, t)
    sigma = 0.01 * 5000.0**t
    np.testing.assert_allclose(stub.x[0], (x + 1) / 2, rtol=1e-6)
    np.testing.assert_allclose(stub.label[0], sigma, rtol=1e-6)
    np.testing.assert_allclose(eps, -2 * sigma * (score / 2), rtol=1e-5)


@pytest.mark.parametrize("t", [1.0, 0.5, 0.123, 1e-5])
def test_score_sde_ve_discrete(t, rng):
    """Label round((1 - t)(N - 1)): 0 is the noisiest level."""
    make = lambda net: prior.score_sde_ve_discrete(net, VE, 1000)  # noqa: E731
    stub, x, score, eps = asked(make, rng, t)
    assert float(stub.label[0]) == np.round((1 - np.float64(np.float32(t))) * 999)
    np.testing.assert_allclose(stub.x[0], (x + 1) / 2, rtol=1e-6)
    np.testing.assert_allclose(eps, -0.01 * 5000.0**t * score, rtol=1e-5)


@pytest.mark.parametrize("process", [VP, SUBVP])
def test_score_sde_vp(process, rng):
    stub, x, answer, eps = asked(lambda net: prior.score_sde_vp(net, process), rng, 0.37)
    np.testing.assert_allclose(stub.label[0], 999 * 0.37, rtol=1e-6)
    np.testing.assert_array_equal(stub.x[0], x)
    np.testing.assert_array_equal(eps, answer)


def test_ddpm_labels_are_the_steps(rng):
    """Every step i of 1000 stands at t = (i + 1) / 1000."""
    stub = Stub(picture(rng))
    predict = prior.ddpm(stub, sde.linear_table())
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
    predict = prior.velocity(Stub(alpha * z - sigma * x0), process)
    x = sde.perturb(process, x0, t, z)
    np.testing.assert_allclose(predict({}, x, jnp.float32(t)).eps, z, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("process", [VE, VP, SUBVP])
@pytest.mark.parametrize("label", prior.LABELS)
def test_edm_is_the_papers_preconditioning(process, label, rng):
    """D = c_skip u + c_out F(c_in u, c_noise) (Karras et al. table 1), eps = (u - D) / n."""
    d, t = 0.6, 0.55
    make = lambda net: prior.edm(net, process, d, label)  # noqa: E731
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
        exact = prior.gaussian(process, jnp.zeros(SHAPE), d)
        zero = prior.edm(Stub(jnp.zeros(SHAPE)), process, d)
        for t in (1e-3, 0.3, 1.0):
            np.testing.assert_allclose(
                zero({}, x, jnp.float32(t)).eps, exact.eps(exact.params, x, t), rtol=2e-5
            )


def test_cond_and_key_reach_the_network(rng):
    stub, x = Stub(picture(rng)), picture(rng)
    key = jax.random.key(0)
    for make in (prior.score_sde_vp, prior.ddpm, prior.velocity, prior.edm, prior.score_sde_ve):
        make(stub, VP)({}, x, jnp.float32(0.5), 3, key)
        assert stub.y.shape == (1,) and int(stub.y[0]) == 3 and stub.key is key
        make(stub, VP)({}, x, jnp.float32(0.5))
        assert stub.y is None and stub.key is None
    with pytest.raises(ValueError, match=r"label must be one of .* got 'time'"):
        prior.edm(stub, VP, label="time")


# --- exact priors ---------------------------------------------------------------------------------

FORMS = [(VE, oracles.ve(0.02, 100.0)), (VP, oracles.vp()), (SUBVP, oracles.subvp())]


@pytest.mark.parametrize(("process", "form"), FORMS)
def test_gaussian_against_the_closed_form(process, form, rng):
    mean, x = rng.normal(size=SHAPE), rng.normal(size=SHAPE)
    for std in (0.3, np.abs(rng.normal(size=SHAPE)) + 0.1):
        made = prior.gaussian(process, mean, std)
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
    made = prior.mixture(process, means, stds, 10 * weights)  # weights need no scale
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
        one, same = prior.mixture(process, mean[None], 0.4), prior.gaussian(process, mean, 0.4)
        np.testing.assert_allclose(
            one.eps(one.params, x, 0.4), same.eps(same.params, x, 0.4), rtol=1e-5, atol=1e-6
        )


def test_a_known_picture_leaves_the_noise(rng):
    """With one picture of no width, what is left of x_t is the noise."""
    known, z = picture(rng), picture(rng)
    for process in (VE, VP, sde.linear_table()):
        made = prior.gaussian(process, known, 0.0)
        x = sde.perturb(process, known, 0.5, z)
        np.testing.assert_allclose(made.eps(made.params, x, 0.5), z, rtol=1e-3, atol=1e-4)
