"""Kernel distances between sets of pictures, and the features they are taken on."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import jit

from sdedit_jax.diffusion.sde import VE
from sdedit_jax.evaluation import features, kid
from sdedit_jax.nets.functional import Network
from sdedit_jax.nets.ncsnpp import NCSNpp, NCSNppConfig
from sdedit_jax.priors.adapters import EDM

# --- the distance ---------------------------------------------------------------------------------


def by_sums(x, y):
    """The definition, pair by pair."""

    def k(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    xy = sum(k(a, b) for a in x for b in y) / (n * m)
    return xx + yy - 2 * xy


def test_the_distance_is_the_double_sum(rng):
    x, y = rng.normal(size=(7, 4)), rng.normal(0.5, 2, size=(5, 4))
    assert kid.mmd2(x, y) == pytest.approx(by_sums(x.tolist(), y.tolist()), rel=1e-10)
    assert kid.mmd2(y, x) == pytest.approx(kid.mmd2(x, y), rel=1e-10)
    assert kid.mmd2(x[::-1], y) == pytest.approx(kid.mmd2(x, y), rel=1e-10)


@pytest.mark.parametrize("mean, std", [(0.0, 1.0), (0.3, 1.0), (0.0, 1.5)])
def test_the_distance_is_unbiased(mean, std, rng):
    """For numbers (x y + 1)^3 sees three moments: MMD^2 = 3 (dm_1)^2 + 3 (dm_2)^2 + (dm_3)^2.

    1000 pairs of small sets; within 5 standard errors (false alarm below 1e-6)."""
    moments = np.array([mean, mean**2 + std**2, mean**3 + 3 * mean * std**2])
    exact = np.dot([3, 3, 1], (moments - [0, 1, 0]) ** 2)
    sets = ((rng.normal(size=(12, 1)), rng.normal(mean, std, (9, 1))) for _ in range(1000))
    found = np.array([kid.mmd2(x, y) for x, y in sets])
    assert abs(found.mean() - exact) < 5 * found.std() / np.sqrt(1000)


def test_the_standard_error_is_that_of_repetition(rng):
    """400 pairs of sets: the mean of the squared errors is the variance of the distances, to 25%:
    the jackknife is a little too large, and a variance of 400 has an error of 7%."""
    found = []
    for _ in range(400):
        x, y = rng.uniform(-1, 1, (60, 2)), rng.uniform(-0.6, 1.4, (40, 2))
        found.append((kid.mmd2(x, y), kid.standard_error(x, y)))
    values, errors = np.array(found).T
    assert np.mean(errors**2) == pytest.approx(values.var(), rel=0.25)


def test_subsets_of_everything_are_the_distance_itself(rng):
    x, y = rng.normal(size=(9, 3)), rng.normal(1, 1, (9, 3))
    found = kid.kid(x, y, subsets=3, size=50)
    assert found.value == pytest.approx(kid.mmd2(x, y)) and found.spread < 1e-12
    assert found.error == kid.standard_error(x, y)


def test_the_mean_over_subsets_is_near_the_whole_distance(rng):
    """Each pair of rows is as likely as any other: within 5 errors of the mean of 400 subsets."""
    x, y = rng.normal(size=(40, 3)), rng.normal(0.5, 1, (30, 3))
    found = kid.kid(x, y, subsets=400, size=10, seed=1)
    assert abs(found.value - kid.mmd2(x, y)) < 5 * found.spread / np.sqrt(400)
    assert found == kid.kid(x, y, subsets=400, size=10, seed=1)
    assert found != kid.kid(x, y, subsets=400, size=10, seed=2)


def test_sets_that_cannot_be_compared_are_refused(rng):
    for x, y in (((4, 3), (4, 2)), ((1, 3), (4, 3)), ((4,), (4, 3))):
        with pytest.raises(ValueError, match="features must be"):
            kid.mmd2(np.zeros(x), np.zeros(y))
    with pytest.raises(ValueError, match="subsets"):
        kid.kid(np.zeros((4, 3)), np.zeros((4, 3)), subsets=0)


# --- features -------------------------------------------------------------------------------------


def test_colours_are_means_of_cells(rng):
    cells = rng.uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
    noise = rng.uniform(-1, 1, (2, 8, 1, 8, 1, 3)).astype(np.float32)
    pairs = np.concatenate([noise, -noise], 2) * np.float32(0.1)  # cancels within a cell
    images = (cells[:, :, None, :, None] + pairs).repeat(2, 4).reshape(2, 16, 16, 3)
    found = features.colour_8x8(images)
    np.testing.assert_allclose(found, cells.reshape(2, -1), atol=1e-6)


@pytest.mark.parametrize("degrees", [0, 30, 45, 90, 157.5, 170])
def test_a_ramp_has_the_gradient_of_its_direction(degrees):
    """Of slope g everywhere, shared linearly between the two nearest of 8 directions."""
    a, slope = np.deg2rad(degrees), 0.02
    y, x = np.mgrid[:16, :16] - 7.5
    ramp = (slope * (x * np.cos(a) + y * np.sin(a))).astype(np.float32)
    found = features.gradients_8x8(ramp[None, ..., None].repeat(3, -1)).reshape(64, 8)
    place = degrees / 180 * 8
    low, part = int(place) % 8, place % 1
    expected = np.zeros(8)
    expected[low], expected[(low + 1) % 8] = slope * (1 - part), slope * part
    np.testing.assert_allclose(found**2, np.broadcast_to(expected, (64, 8)), atol=2e-5)


def test_gradients_do_not_see_brightness(rng):
    images = rng.uniform(-0.5, 0.5, (2, 16, 16, 3)).astype(np.float32)
    brighter = features.gradients_8x8(images + np.float32(0.25))
    np.testing.assert_allclose(brighter**2, features.gradients_8x8(images) ** 2, atol=1e-6)


def test_standardised_features_have_the_moments_of_the_reference(rng):
    reference = rng.normal(3, 2, (50, 5))
    reference[:, 2] = 7.0
    found = features.standardised(reference, reference)
    assert found.shape == (50, 4)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(found.std(0), 1, rtol=1e-9)


def test_a_network_sees_noised_pictures_in_its_own_convention(rng):
    """Means of the input itself show EDM's c_in (x0 + sigma z), meaned."""
    images = rng.uniform(-1, 1, (3, 64, 64, 3)).astype(np.float32)

    def means(params, x, label, y=None):
        return jnp.concatenate([x.mean((1, 2)), jnp.broadcast_to(label[:, None], (1, 3))], -1)

    adapter = partial(EDM, sigma_data=0.5, label="sigma")
    found = features.network_features(means, adapter, VE(0.01, 80.0), None, images, ratio=0.3)
    assert found.shape == (3, 6)
    np.testing.assert_allclose(found[:, 3:], 0.3, rtol=1e-4)
    expected = images.mean((1, 2)) / np.hypot(0.3, 0.5)
    apart = 0.3 / np.hypot(0.3, 0.5) / 64  # the standard error of the mean of 4096 noises
    assert np.abs(found[:, :3] - expected).max() < 5 * apart
    again = features.network_features(means, adapter, VE(0.01, 80.0), None, images[:2], ratio=0.3)
    np.testing.assert_allclose(again, found[:2], rtol=1e-5, atol=1e-6)


def test_statistics_of_a_network_know_the_way_down_alone(rng):
    """The first ones are those of the first convolution, written out; none changes with a module of
    the way up."""
    config = NCSNppConfig.from_mapping(
        {"image_size": 8, "nf": 8, "ch_mult": (1, 2), "num_res_blocks": 1, "fir": False,
         "attn_resolutions": (), "progressive_input": "none", "init_scale": 1.0, "centered": True}
    )  # fmt: skip
    net = Network(NCSNpp, config)
    params = net.init(jax.random.key(0))
    x, label = jnp.asarray(rng.normal(size=(1, 8, 8, 3)), jnp.float32), jnp.ones(1)
    run = jit(partial(net.apply, method="statistics"))
    found = np.asarray(run(params, x, label))[0]
    modules = params["all_modules"]  # 0 to 2 embed the noise level
    first = jax.lax.conv_general_dilated(
        x, modules["3"]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(found[:8], first.mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(found[8:16], first.std((0, 1, 2)), rtol=1e-4)
    assert len(found) == 2 * (8 + 8 + 8 + 16)  # first, block, halved, block
    last = str(len(modules) - 1)
    louder = {**modules, last: jax.tree.map(lambda a: 2 * a + 1, modules[last])}
    np.testing.assert_array_equal(run({**params, "all_modules": louder}, x, label)[0], found)
