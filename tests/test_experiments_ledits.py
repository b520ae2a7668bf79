"""What experiments/ledits measures, on pictures made so that the answers are known."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

FILE = Path(__file__).parent.parent / "experiments" / "ledits" / "measure.py"
SPEC = importlib.util.spec_from_file_location("ledits_measure", FILE)
measure = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(measure)

PRIMARIES = {
    # sRGB -> CIE L*a*b* under D65, as tables of colour conversion print them
    (255, 255, 255): (100.0, 0.0, 0.0),
    (0, 0, 0): (0.0, 0.0, 0.0),
    (255, 0, 0): (53.24, 80.09, 67.20),
    (0, 255, 0): (87.73, -86.18, 83.18),
    (0, 0, 255): (32.30, 79.19, -107.86),
    (128, 128, 128): (53.59, 0.0, 0.0),
}


def disc(colour=(200, 30, 20), side=64, radius=20):
    """A disc on white, and where it is."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    inside = x**2 + y**2 <= radius**2
    picture = np.full((side, side, 3), 255, np.uint8)
    picture[inside] = colour
    return picture, inside


def noise(seed, side=64, std=30.0):
    made = 128 + std * np.random.default_rng(seed).standard_normal((side, side, 1))
    return np.repeat(np.clip(made, 0, 255), 3, axis=-1).astype(np.uint8)


def test_fruit_is_the_disc_with_its_highlight():
    picture, inside = disc()
    picture[28:33, 28:33] = 255
    assert np.array_equal(measure.fruit_of(picture), inside)


def test_fruit_that_cuts_the_ground_in_two():
    picture = np.full((64, 64, 3), 255, np.uint8)
    picture[30:34] = 0
    fruit = measure.fruit_of(picture)
    assert fruit[30:34].all() and fruit.sum() == 4 * 64


def test_ground_keeps_its_margin():
    fruit = np.zeros((32, 32), bool)
    fruit[10:20, 12] = True
    ground = measure.ground_of(fruit, margin=3)
    assert (~ground).sum() == (10 + 6) * 7
    assert not (ground & fruit).any()


@pytest.mark.parametrize("rgb", PRIMARIES)
def test_lab_of_the_primaries(rgb):
    assert measure.lab(np.array(rgb, np.uint8)) == pytest.approx(PRIMARIES[rgb], abs=0.02)


def test_mean_lab_sees_the_fruit_alone():
    picture, inside = disc((255, 0, 0))
    assert measure.mean_lab(picture, inside) == pytest.approx(PRIMARIES[255, 0, 0], abs=0.02)


@pytest.mark.parametrize(
    "at, name",
    [
        ((8, 3, 1), "black"),
        ((20, 25, 8), "dark red"),
        ((35, 40, 28), "red"),
        ((45, 20, 30), "orange"),
        ((60, 6, 40), "yellow"),
        ((50, -10, 25), "green"),
        ((40, -12, -1), "green"),
    ],
)
def test_names_of_mean_colours(at, name):
    assert measure.colour_name(np.array(at)) == name


def test_what_a_change_asks_for():
    red, dark, green = (np.array(at) for at in ((35, 40, 28), (20, 25, 8), (50, -10, 25)))
    assert measure.reached("+green", green) and not measure.reached("+green", red)
    assert measure.reached("-red", green)
    assert not measure.reached("-red", red) and not measure.reached("-red", dark)


def test_toward_a_colour():
    at, further = np.array([30.0, 40.0, 20.0]), np.array([20.0, 10.0, 50.0])
    moved = {c: measure.toward(c, further) - measure.toward(c, at) for c in ("green", "red")}
    assert moved == {"green": 30.0, "red": -30.0}
    assert measure.toward("black", further) - measure.toward("black", at) == 10
    assert measure.toward("yellow", further) - measure.toward("yellow", at) == pytest.approx(
        60 / np.sqrt(2)
    )
    with pytest.raises(ValueError, match="colour must be one of"):
        measure.toward("mauve", at)


def test_rms_and_psnr_of_a_constant_difference():
    a, b = np.full((8, 8, 3), 100, np.uint8), np.full((8, 8, 3), 151, np.uint8)
    assert measure.rms(a, b) == pytest.approx(0.2)
    assert measure.psnr(a, b) == pytest.approx(20 * np.log10(5))
    assert measure.psnr(a, a) == np.inf
    where = np.zeros((8, 8), bool)
    where[0] = True
    b[0] = 100
    assert measure.rms(a, b, where) == 0


def test_ms_ssim_of_flat_pictures_is_their_luminance():
    # without structure all that is left is (2 a b + c1) / (a^2 + b^2 + c1) at the last scale
    a, b = (np.full((64, 64, 3), v, np.uint8) for v in (51, 153))
    light = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    share = measure.SSIM_WEIGHTS[2] / sum(measure.SSIM_WEIGHTS)
    assert measure.ms_ssim_distance(a, b) == pytest.approx(1 - light**share, abs=1e-9)
    assert measure.ms_ssim_distance(a, a) == 0


def test_ms_ssim_of_the_negative_and_of_other_noise():
    a = noise(0)
    assert measure.ms_ssim_distance(a, 255 - a) == 1
    assert measure.ms_ssim_distance(a, noise(1)) > 0.7
    assert measure.ms_ssim_distance(a, a // 2) < 0.5


def test_ms_ssim_grows_with_noise():
    picture = disc()[0]
    z = np.random.default_rng(0).standard_normal(picture.shape)
    found = [
        measure.ms_ssim_distance(picture, np.clip(picture + std * z, 0, 255).astype(np.uint8))
        for std in (0, 5, 20, 60)
    ]
    assert found[0] == 0 and np.all(np.diff(found) > 0)


def test_spearman_is_that_of_scipy():
    draw = np.random.default_rng(0)
    for _ in range(20):
        x, y = draw.integers(0, 5, 9), draw.normal(size=9)
        assert measure.spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
    assert measure.spearman([1, 2, 3], [1, 10, 11]) == pytest.approx(1)
    assert measure.spearman([1, 2, 3], [5, 5, 5]) == 0


def test_mean_and_its_error():
    mean, error = measure.mean_error([1.0, 2.0, 4.0])
    assert mean == pytest.approx(7 / 3)
    assert error == pytest.approx(scipy.stats.sem([1.0, 2.0, 4.0]))


def test_strength_of_a_distance():
    strengths, away = [1, 2, 4], [0.1, 0.3, 0.2]
    assert measure.strength_at(strengths, away, 0.2) == pytest.approx(1.5, abs=1e-6)
    assert measure.strength_at(strengths, away, 0.01) == 1
    assert measure.strength_at(strengths, away, 0.9) == 4
