"""Training pictures taken again: turned, scaled, moved, in another light."""

import numpy as np
import pytest

from sdedit_jax.data.pictures import Source
from sdedit_jax.images import fit, to_unit
from sdedit_jax.training.augment import Augment, draw, draw_more
from sdedit_jax.training.batches import loader
from sdedit_jax.training.retake import YIQ, View, relight, retake


@pytest.fixture
def picture(rng):
    """uint8 [32, 32, 3], every pixel another."""
    return rng.integers(0, 256, (32, 32, 3), np.uint8)


def waves(side, scale=1.0, turn=0.0, right=0.0, down=0.0):
    """Smooth uint8 [side, side, 3] in closed form, and how it looks after a view."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    x, y = (x - right) / scale, (y - down) / scale
    a = np.deg2rad(turn)
    x, y = x * np.cos(a) - y * np.sin(a), x * np.sin(a) + y * np.cos(a)
    kinds = (np.sin(0.11 * x + 0.5), np.cos(0.08 * y - 0.3), np.sin(0.07 * (x + y)))
    return np.rint(127.5 + 110 * np.stack(kinds, -1)).astype(np.uint8)


def test_no_change_is_the_identity(picture):
    np.testing.assert_array_equal(retake(picture, View(), 32), picture)
    turned = retake(picture, View(angle=360.0), 32)
    assert np.abs(turned.astype(int) - picture).max() <= 1


def test_no_change_of_a_larger_picture_is_its_fit(picture):
    np.testing.assert_array_equal(retake(picture, View(), 16), fit(picture, (16, 16))[0])


@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
def test_quarter_turns_are_those_of_numpy(picture, quarters):
    turned = retake(picture, View(angle=90.0 * quarters), 32)
    assert np.abs(turned.astype(int) - np.rot90(picture, quarters)).max() <= 1


def test_a_quarter_turn_comes_before_the_reduction(picture):
    turned = retake(picture, View(angle=90.0), 16)
    assert np.abs(turned.astype(int) - fit(np.rot90(picture), (16, 16))[0]).max() <= 2


def test_the_mirror_comes_first(picture):
    np.testing.assert_array_equal(retake(picture, View(flip=True), 32), picture[:, ::-1])
    both = retake(picture, View(flip=True, angle=90.0), 32)
    assert np.abs(both.astype(int) - np.rot90(picture[:, ::-1])).max() <= 1


def test_whole_shifts_move_pixels_and_mirror_at_the_border(picture):
    moved = retake(picture, View(down=2.0, right=-3.0), 32)
    wide = np.pad(picture, ((2, 0), (0, 3), (0, 0)), "symmetric")
    np.testing.assert_array_equal(moved, wide[:32, 3:])
    # a pixel of the result is two of the picture's
    far = retake(picture, View(down=1.0, right=-2.0), 16)
    wide = np.pad(picture, ((2, 0), (0, 4), (0, 0)), "symmetric")
    np.testing.assert_array_equal(far, fit(wide[:32, 4:], (16, 16))[0])


@pytest.mark.parametrize(
    "view",
    [
        View(angle=17.0),
        View(angle=-140.0, scale=1.25),
        View(angle=45.0, scale=0.8, right=3.0, down=-2.0),
        View(scale=0.85),
    ],
)
def test_smooth_pictures_follow_the_map(view):
    """Against the function itself at the mapped places; where the view looks outside it is left
    out. A pixel is worth up to 12 levels; what is left is the rounding of both pictures, of which
    the cubic enlarges the first by up to 1.6."""
    taken = retake(waves(64), view, 64).astype(int)
    exact = waves(64, view.scale, view.angle, view.right, view.down).astype(int)
    y, x = np.mgrid[:64, :64] - 31.5
    a = np.deg2rad(view.angle)
    x, y = (x - view.right) / view.scale, (y - view.down) / view.scale
    x, y = x * np.cos(a) - y * np.sin(a), x * np.sin(a) + y * np.cos(a)
    seen = np.maximum(abs(x), abs(y)) < 29.5
    assert seen.mean() > 0.4
    away = np.abs(taken - exact)[seen]
    assert away.max() <= 3 and away.mean() < 0.75


def test_pictures_of_other_shapes_are_refused(picture):
    with pytest.raises(ValueError, match="side 64"):
        retake(picture, View(), 64)
    with pytest.raises(ValueError, match="a square"):
        retake(picture[:30], View(), 16)


# --- light ----------------------------------------------------------------------------------------


def mild(rng, count=3):
    """Colours that no change below takes out of the range."""
    return rng.uniform(-0.3, 0.3, (count, 5, 4, 3)).astype(np.float32)


def test_no_change_of_light_is_the_identity(rng):
    images = mild(rng)
    np.testing.assert_allclose(relight(images, np.ones(3), np.zeros(3)), images, atol=1e-6)


def test_a_turn_of_the_hue_keeps_luminance_saturation_and_greys(rng):
    images, hue = mild(rng), np.array([8.0, -20.0, 90.0])
    turned = relight(images, np.ones(3), hue)
    before, after = images @ YIQ.T, turned @ YIQ.T
    np.testing.assert_allclose(after[..., 0], before[..., 0], atol=1e-6)
    size = [np.hypot(a[..., 1], a[..., 2]) for a in (before, after)]
    np.testing.assert_allclose(size[1], size[0], atol=1e-6)
    angles = [np.arctan2(a[..., 2], a[..., 1]) for a in (before, after)]
    moved = np.rad2deg(np.angle(np.exp(1j * (angles[1] - angles[0]))))
    np.testing.assert_allclose(moved, np.broadcast_to(hue[:, None, None], moved.shape), atol=0.05)
    grey = np.repeat(images[..., :1], 3, axis=-1)
    np.testing.assert_allclose(relight(grey, np.ones(3), hue), grey, atol=2e-4)


def test_brightness_is_a_factor_above_black(rng):
    images, factors = mild(rng), np.array([0.8, 1.0, 1.2])
    lit = relight(images, factors, np.zeros(3))
    np.testing.assert_allclose(
        (lit + 1) / (images + 1), factors[:, None, None, None] + 0 * images, rtol=1e-5
    )
    assert relight(np.ones((1, 2, 2, 3), np.float32), np.array([2.0]), np.zeros(1)).max() == 1


# --- draws and batches ----------------------------------------------------------------------------


def test_draws_follow_the_settings(rng):
    """4000 draws. Counts within 5 standard deviations; moments of the uniform within 5 errors:
    a false alarm has a probability below 1e-5."""
    n = 4000
    augment = Augment(turn=180.0, turn_often=0.3, brightness=0.2, hue=8.0)
    angle, light, hue = np.array([draw_more(augment, rng) for _ in range(n)]).T
    turned = angle[angle != 0]
    assert abs(len(turned) - 0.3 * n) < 5 * np.sqrt(0.21 * n)
    for values, limit in ((turned, 180), (np.log(light), 0.2), (hue, 8)):
        u = values / limit
        assert np.abs(u).max() <= 1 + 1e-9
        assert abs(u.mean()) < 5 / np.sqrt(3 * len(u))
        assert abs(np.mean(u**2) - 1 / 3) < 5 * np.sqrt(4 / 45 / len(u))
    assert draw_more(Augment(), rng) == (0.0, 1.0, 0.0)


def test_what_is_off_changes_no_draw_of_a_run():
    """The draws of a picture come first in its stream: older runs keep their batches."""
    a, b = np.random.default_rng(3), np.random.default_rng(3)
    first = draw(Augment(), a)
    assert first == draw(Augment(turn=90.0, hue=3.0), b)


def test_batches_are_views_of_their_pictures(picture):
    """With every kind of change at a known value the batch is what the functions give."""
    data = Source(picture[None], np.array([0]), ("a",))
    augment = Augment(flip=False, shift=0, often=0.0, side=16, turn=0.0)
    batch = next(loader(data, 2, 0, augment))
    expected = to_unit(fit(picture, (16, 16))[0])
    np.testing.assert_allclose(batch["image"], np.stack([expected] * 2), atol=1e-6)
    assert batch["label"].tolist() == [0, 0]


def test_batches_with_everything_stay_in_range_and_repeat(rng):
    images = (rng.integers(0, 2, (8, 32, 32, 3)) * 255).astype(np.uint8)
    augment = Augment(
        scale=(0.8, 1.25), side=16, turn=180.0, turn_often=0.5, brightness=0.3, hue=20.0
    )
    one, two = (next(loader(Source(images), 8, 1, augment, 3))["image"] for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert one.shape == (8, 16, 16, 3) and one.dtype == np.float32
    assert one.min() >= -1 and one.max() <= 1 and np.isfinite(one).all()
