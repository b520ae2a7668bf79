"""Measures of pictures against others, distances of sets, averages: closed forms and programs.

The numbers of other programs are in goldens/measures.npz, see measures_goldens.py.
"""

import itertools

import measures_goldens
import numpy as np
import pytest
from scipy import linalg

from sdedit_jax.evaluation import frechet, kid, text_measures
from sdedit_jax.evaluation.averages import mean_and_error
from sdedit_jax.evaluation.paired import PAIRED, REGIONS
from sdedit_jax.evaluation.ssim import ssim_map


@pytest.fixture(scope="module")
def golden():
    with np.load(measures_goldens.FILE) as file:
        return {name: file[name].copy() for name in file}


def of(name, a, b, mask=None):
    return PAIRED[name].of(a, b, mask)


# --- pictures -------------------------------------------------------------------------------------


def test_measures_of_a_constant_difference():
    """Half of the values differ by 51 levels, 0.2: the sums in closed form."""
    a = np.full((2, 16, 24, 3), 100, np.uint8)
    b = a.copy()
    b[:, :8] += 51
    values = 16 * 24 * 3
    np.testing.assert_allclose(of("l2_squared", a, b), values / 2 * 0.04, rtol=1e-15)
    np.testing.assert_allclose(of("l2", a, b), np.sqrt(values / 2 * 0.04), rtol=1e-15)
    np.testing.assert_allclose(of("rms", a, b), np.sqrt(0.02), rtol=1e-15)
    np.testing.assert_allclose(of("psnr", a, b), -10 * np.log10(0.02), rtol=1e-14)
    mask = np.zeros((2, 16, 24), np.float32)
    mask[:, 6:] = 0.1  # a fraction may change too
    np.testing.assert_allclose(of("rms_kept", a, b, mask), 0.2, rtol=1e-15)
    np.testing.assert_allclose(of("rms_edited", a, b, mask), np.sqrt(0.04 * 0.2), rtol=1e-15)
    np.testing.assert_allclose(of("l2_kept", a, b, mask), np.sqrt(6 * 24 * 3 * 0.04), rtol=1e-15)


def test_the_regions_add_up_to_the_whole(rng):
    a, b = rng.integers(0, 256, (2, 3, 20, 30, 3)).astype(np.uint8)
    mask = (rng.uniform(size=(3, 20, 30)) > 0.4).astype(np.float32)
    parts = of("l2_squared_kept", a, b, mask) + of("l2_squared_edited", a, b, mask)
    np.testing.assert_allclose(parts, of("l2_squared", a, b, mask), rtol=1e-14)
    exact = [np.linalg.norm((x.astype(float) - y) / 255) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(of("l2", a, b), exact, rtol=1e-14)


def test_the_norm_of_the_paper_for_its_size(rng):
    """An RMS of 0.085 on 256 x 256 is the norm 37.67 of the paper's table: sqrt(3) 256 RMS."""
    a = np.zeros((1, 256, 256, 3), np.uint8)
    b = np.full_like(a, 22)
    assert of("l2", a, b)[0] == pytest.approx(np.sqrt(3) * 256 * of("rms", a, b)[0])
    assert of("l2", a, b)[0] == pytest.approx(38.25, abs=0.01)


def test_equal_pictures_have_the_psnr_of_one_level(rng):
    a = rng.integers(0, 255, (1, 12, 14, 3)).astype(np.uint8)
    b = a.copy()
    b[0, 3, 4, 1] += 1
    assert of("psnr", a, a) == of("psnr", a, b) == pytest.approx(20 * np.log10(255 * np.sqrt(504)))
    assert of("ssim", a, a) == 1 and of("rms", a, a) == of("l2", a, a) == 0


@pytest.mark.parametrize("name", PAIRED)
def test_a_row_depends_on_its_pictures_alone(name, rng):
    a, b, mask = measures_goldens.pictures()
    whole = of(name, a, b, mask)
    assert whole.dtype == np.float64 and whole.shape == (4,)
    each = [of(name, a[i : i + 1], b[i : i + 1], mask[i : i + 1])[0] for i in range(4)]
    np.testing.assert_array_equal(whole, each)


@pytest.mark.parametrize("name", PAIRED)
def test_an_empty_region_has_no_value(name):
    a, b, _ = measures_goldens.pictures()
    whole, kept = of(name, a, b), PAIRED[name].region == "kept"
    assert np.isnan(whole).all() == kept  # without a mask everything may change
    base = name.removesuffix("_edited").removesuffix("_kept")
    if not kept:
        np.testing.assert_array_equal(whole, of(base, a, b))
    black = np.zeros(a.shape[:3], np.float32)
    assert np.isnan(of(name, a, b, black)).all() == (PAIRED[name].region == "edited")


def test_ssim_and_psnr_are_those_of_scikit_image(golden):
    a, b, mask = measures_goldens.pictures()
    np.testing.assert_allclose(of("ssim", a, b), golden["ssim"], atol=1e-9)
    np.testing.assert_allclose(of("ssim_kept", a, b, mask), golden["ssim_kept"], atol=1e-9)
    np.testing.assert_allclose(of("psnr", a, b)[1:], golden["psnr"][1:], rtol=1e-12)


def test_ssim_by_the_sums_of_one_window(rng):
    """A picture of one window: its weights are the normal density at the pixels, to sum 1."""
    a, b = rng.integers(0, 256, (2, 1, 11, 11, 3)).astype(np.uint8)
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(line, line)[..., None] / np.outer(line, line).sum()
    x, y = a[0] / 255, b[0] / 255
    mx, my = ((weights * v).sum((0, 1)) for v in (x, y))
    vx, vy = ((weights * (v - m) ** 2).sum((0, 1)) for v, m in ((x, mx), (y, my)))
    c = (weights * (x - mx) * (y - my)).sum((0, 1))
    exact = (2 * mx * my + 1e-4) * (2 * c + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    assert ssim_map(a, b)[0, 0, 0] == pytest.approx(exact.mean(), rel=1e-10)


def test_pictures_that_cannot_be_measured_are_refused():
    a = np.zeros((2, 16, 16, 3), np.uint8)
    for b in (a[:1], a[:, :8], a.astype(np.float32), a[..., :1]):
        for name in ("l2", "ssim"):
            with pytest.raises(ValueError, match="a and b must be uint8"):
                of(name, a, b)
    with pytest.raises(ValueError, match=r"mask must be of shape \(2, 16, 16\), got \(16, 16\)"):
        of("rms_kept", a, a, np.zeros((16, 16), np.float32))
    with pytest.raises(ValueError, match="ssim needs pictures of 11x11 pixels at least"):
        of("ssim", a[:, :10], a[:, :10])


def test_measures_say_what_they_are():
    for name, one in PAIRED.items():
        assert one.name == name and one.definition and one.better in ("lower", "higher")
        assert one.region in REGIONS and name.endswith(one.region)
        assert ("mask" in one.definition) == bool(one.region)


# --- distances of sets ----------------------------------------------------------------------------


def test_frechet_of_features_is_that_of_other_programs(golden):
    x, y = measures_goldens.features()
    found = frechet.frechet(x, y)
    assert found == pytest.approx(float(golden["fid_clean"]), rel=1e-9)
    assert found == pytest.approx(float(golden["fid_torch_fidelity"]), rel=1e-9)
    few = frechet.frechet(x[:15], y[:15])  # singular covariances
    assert few == pytest.approx(float(golden["fid_few_torch_fidelity"]), rel=1e-6)


def test_frechet_of_diagonal_covariances():
    """|m_x - m_y|^2 + sum (s_x - s_y)^2, for sets whose moments are set exactly."""
    corners = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
    unit = corners * np.sqrt(7 / 8)  # unbiased covariance 1
    m, s, t = np.array([1.0, -2, 0.5]), np.array([1.0, 0.3, 0]), np.array([2.0, 0.1, 0.7])
    found = frechet.frechet(unit * s, unit * t + m)
    assert found == pytest.approx(np.sum(m**2) + np.sum((s - t) ** 2), rel=1e-13)


def test_frechet_of_full_covariances_is_that_of_the_matrix_root(rng):
    x, y = rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6)), rng.normal(1, 2, (40, 6))
    a, b = np.cov(x.T), np.cov(y.T)
    root = linalg.sqrtm(a @ b).real
    exact = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(a + b - 2 * root)
    assert frechet.frechet(x, y) == pytest.approx(exact, rel=1e-12)
    assert frechet.frechet(y, x) == pytest.approx(exact, rel=1e-12)


def test_a_set_has_no_distance_from_itself(rng):
    for n in (4, 60):  # of less than full rank, and of full
        x = rng.normal(size=(n, 20))
        assert frechet.frechet(x, x) < 1e-12
        shift = frechet.frechet(x, x + 0.5)
        assert shift == pytest.approx(20 * 0.25, rel=1e-12)


def test_moments_of_parts_add_up(rng, monkeypatch):
    x = rng.normal(2, 1, (50, 4)).astype(np.float32)
    parts = frechet.moments(x[:9]) + frechet.moments(x[9:40]) + frechet.moments(x[40:])
    monkeypatch.setattr(frechet, "ROWS", 7)
    for found in (parts, frechet.moments(x)):
        assert found.n == 50
        np.testing.assert_allclose(found.mean, x.mean(0, np.float64), rtol=1e-13)
        np.testing.assert_allclose(found.covariance, np.cov(x.T.astype(np.float64)), rtol=1e-11)
    assert frechet.frechet(parts, x) < 1e-12


def test_sets_without_a_frechet_distance_are_refused():
    for x, y in (((1, 3), (4, 3)), ((4, 2), (4, 3))):
        with pytest.raises(ValueError, match="features must be"):
            frechet.frechet(np.zeros(x), np.zeros(y))
    with pytest.raises(ValueError, match="features must be"):
        frechet.moments(np.zeros(3))
    assert "biased" in frechet.caution(2048, 2048) and not frechet.caution(2049, 2048)


def test_kid_of_the_same_subsets_is_that_of_other_programs(golden):
    x, y = measures_goldens.features()
    rng, size = np.random.RandomState(measures_goldens.SEED), measures_goldens.SIZE
    values = []
    for _ in range(measures_goldens.SUBSETS):
        i, j = (rng.choice(len(v), size, replace=False) for v in (x, y))
        values.append(kid.mmd2(x[i], y[j]))
    assert np.mean(values) == pytest.approx(float(golden["kid_mean_torch_fidelity"]), rel=1e-9)
    assert np.std(values) == pytest.approx(float(golden["kid_std_torch_fidelity"]), rel=1e-9)
    assert np.mean(values) == pytest.approx(float(golden["kid_clean"]), rel=1e-9)


def test_kid_of_whole_sets_is_that_of_other_programs(golden):
    x, y = measures_goldens.features()
    found = kid.kid(x[:150], y, subsets=5)
    assert found.value == pytest.approx(float(golden["kid_all_clean"]), rel=1e-9)
    assert found.spread == 0


def test_blocks_change_no_distance(rng, monkeypatch):
    x, y = rng.normal(size=(23, 3)), rng.normal(0.5, 1, (31, 3))
    whole = [kid.mmd2(x, y, k) for k in (kid.cubic_kernel, kid.energy_kernel)]
    error = kid.standard_error(x, y)
    monkeypatch.setattr(kid, "BLOCK", 5)
    parts = [kid.mmd2(x, y, k) for k in (kid.cubic_kernel, kid.energy_kernel)]
    np.testing.assert_allclose(parts, whole, rtol=1e-12)
    assert kid.standard_error(x, y) == pytest.approx(error, rel=1e-12)


def test_the_standard_error_of_large_sets_is_that_of_repetition(rng, monkeypatch):
    """Of 200 pairs, with a quarter of the rows: to 25%, as in test_kid.py; other distributions."""
    monkeypatch.setattr(kid, "MOST", 40)
    found = []
    for _ in range(200):
        x, y = rng.uniform(-1, 1, (160, 2)), rng.uniform(-0.4, 1.6, (160, 2))
        found.append((kid.mmd2(x, y), kid.standard_error(x, y)))
    values, errors = np.array(found).T
    assert np.mean(errors**2) == pytest.approx(values.var(), rel=0.25)


# --- texts ----------------------------------------------------------------------------------------


def at(*degrees):
    return np.stack([(np.cos(np.deg2rad(d)), np.sin(np.deg2rad(d))) for d in degrees])


def test_clip_scores_are_cosines():
    found = text_measures.clip_score(at(0, 10, 0, 200), 3 * at(60, 55, 90, 0))
    np.testing.assert_allclose(found, [50, 100 * np.cos(np.pi / 4), 0, 0], atol=1e-12)


def test_directional_similarity_is_the_cosine_of_the_changes():
    """The chord between angles p and q has the direction (p + q) / 2 + 90 degrees."""
    found = text_measures.directional(at(0, 0, 0), at(60, 60, 0), at(0, 90, 0), at(60, 0, 90))
    np.testing.assert_allclose(found[:2], [1, np.cos(np.deg2rad(120 - (45 - 90)))], atol=1e-12)
    assert np.isnan(found[2])


def test_embeddings_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="pictures, texts must be embeddings"):
        text_measures.clip_score(np.zeros((2, 3)), np.zeros((1, 3)))
    with pytest.raises(ValueError, match="before, after, .* must be embeddings"):
        text_measures.directional(*[np.zeros((2, 3))] * 3, np.zeros(3))


# --- averages -------------------------------------------------------------------------------------


def test_the_error_of_independent_values(rng):
    values = rng.normal(size=30)
    mean, error = mean_and_error(values)
    assert mean == pytest.approx(values.mean(), rel=1e-14)
    assert error == pytest.approx(values.std(ddof=1) / np.sqrt(30), rel=1e-13)


def test_the_error_of_equal_groups_is_that_of_their_means(rng):
    values = rng.normal(size=(12, 5)) + rng.normal(size=(12, 1))
    groups = np.arange(12).repeat(5)
    mean, error = mean_and_error(values.ravel(), groups)
    means = values.mean(1)
    assert (mean, error) == pytest.approx((means.mean(), means.std(ddof=1) / np.sqrt(12)))
    repeated = mean_and_error(np.repeat(means, 5), groups)
    assert repeated == pytest.approx((mean, error))  # copies add nothing


def test_the_order_of_the_values_changes_nothing(rng):
    values, groups = rng.normal(size=500) * 10.0 ** rng.integers(-9, 9, 500), np.arange(500) // 7
    found = mean_and_error(values, groups)
    for _ in range(5):
        order = rng.permutation(500)
        assert mean_and_error(values[order], groups[order]) == found


def test_values_without_a_mean():
    assert np.isnan(mean_and_error([])).all() and np.isnan(mean_and_error([np.nan])).all()
    assert mean_and_error([2.0, np.nan, 4.0], ["a", "b", "c"]) == (3.0, 1.0)
    mean, error = mean_and_error([2.0, 4.0], ["a", "a"])
    assert mean == 3 and np.isnan(error)
    with pytest.raises(ValueError, match="groups must be as many as the values, 2, got 1"):
        mean_and_error([2.0, 4.0], ["a"])
