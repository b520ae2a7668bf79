"""Fit "mask": the window around what may change, against closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from program import SIZE, exact_prior, home, picture, recipe, run, small
from text_prior import text_prior

import sdedit_jax as sj
from sdedit_jax import images
from sdedit_jax.tasks import composite, examples, inpaint, outpaint, photo, scribble, sketch

few = settings(max_examples=60, deadline=None)
sides = st.integers(1, 60)
lengths = st.integers(1, 24)


def noise(seed, size):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def boxes(size, *found):
    mask = np.zeros(size, np.float32)
    for top, left, height, width in found:
        mask[top : top + height, left : left + width] = 1
    return mask


def window(mask, size, grown=0):
    return images.place(mask.shape, size, "mask", images.region_of(mask, grown)).window


def write(path, array):
    Image.fromarray(array).save(path)
    return str(path)


# --- windows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "size", "wanted"),
    [
        # 100 x 100 and a quarter on each side: 150
        ([(200, 300, 100, 100)], (64, 64), (175, 275, 150, 150)),
        ([(200, 300, 100, 100)], (32, 64), (175, 200, 150, 300)),
        ([(200, 300, 40, 120)], (64, 64), (130, 270, 180, 180)),  # the longer side counts
        ([(0, 0, 100, 100)], (64, 64), (0, 0, 150, 150)),  # corners: moved inside the picture
        ([(412, 540, 100, 100)], (64, 64), (362, 490, 150, 150)),
        ([(200, 0, 100, 100)], (64, 64), (175, 0, 150, 150)),  # edges
        ([(412, 300, 100, 100)], (64, 64), (362, 275, 150, 150)),
        ([(100, 100, 10, 10), (190, 150, 10, 10)], (64, 64), (75, 55, 150, 150)),  # two regions
        ([(255, 300, 1, 1)], (64, 64), (223, 268, 64, 64)),  # one pixel: the edit's own size
        ([(200, 300, 20, 30)], (64, 64), (178, 283, 64, 64)),  # tiny
        ([(20, 90, 400, 400)], (64, 64), (0, 34, 512, 512)),  # large: all that the picture has
        ([(0, 0, 512, 600)], (64, 64), (0, 44, 512, 512)),
    ],
)
def test_the_window_of_a_known_mask(found, size, wanted):
    assert window(boxes((512, 640), *found), size) == wanted


@pytest.mark.parametrize("value", [0, 0.3, 1])
@pytest.mark.parametrize("source", [(512, 640), (30, 200), (20, 20), (64, 64)])
def test_a_mask_of_one_level_gives_the_window_of_crop(value, source):
    wanted = images.place(source, (64, 64), "crop")
    assert window(np.full(source, value), (64, 64)) == wanted.window
    assert images.place(source, (64, 64), "mask")._replace(rule="crop") == wanted


def random_mask(seed, source):
    """A few rectangles, or a few pixels."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(source, np.float32)
    for _ in range(rng.integers(1, 4)):
        top, left = rng.integers(0, source)
        height, width = rng.integers(1, np.maximum(2, np.array(source) // 3))
        mask[top : top + height, left : left + width] = rng.uniform(0.01, 1)
    return mask


@few
@given(st.integers(0, 2**32 - 1), st.tuples(sides, sides), st.tuples(lengths, lengths))
def test_windows_lie_inside_hold_the_mask_and_have_the_proportions_of_the_edit(seed, source, size):
    mask = random_mask(seed, source)
    place = images.place(source, size, "mask", images.region_of(mask))
    crop = images.place(source, size, "crop")
    top, left, height, width = place.window
    assert top >= 0 and left >= 0 and top + height <= source[0] and left + width <= source[1]
    assert place.target == (0, 0, *size)
    largest = crop.window[2:]
    assert height <= largest[0] and width <= largest[1]
    if (height, width) != largest:
        assert (images.in_window(mask, place) == mask).all()
        assert height >= size[0] and width >= size[1]
        # both sides are one multiple of the edit's, rounded to whole pixels
        scale = max((height - 0.5) / size[0], (width - 0.5) / size[1])
        assert scale <= min((height + 0.5) / size[0], (width + 0.5) / size[1])
        # and no smaller window has the margin, unless it is that of the edit
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        box = (np.ptp(rows) + 1, np.ptp(columns) + 1)
        needed = max(1.5 * side / length for side, length in zip(box, size, strict=True))
        assert np.allclose((height, width), np.multiply(size, max(1, needed)), atol=0.5001)


@few
@given(
    st.integers(0, 2**32 - 1), st.tuples(sides, sides), st.tuples(lengths, lengths),
    st.floats(0, 8, allow_subnormal=False),
)  # fmt: skip
def test_a_mask_that_is_grown_by_pixels_of_the_edit_stays_in_the_window(seed, source, size, grown):
    mask = np.ceil(random_mask(seed, source))
    place = images.place(source, size, "mask", images.region_of(mask, grown))
    if place.window[2:] != images.place(source, size, "crop").window[2:]:
        wide = images.grow(mask > 0, int(grown * max(place.scale, 1))).astype(np.float32)
        assert (images.in_window(wide, place) == wide).all()


@few
@given(st.integers(0, 2**32 - 1), st.tuples(sides, sides), st.tuples(lengths, lengths))
def test_windows_commute_with_transposition(seed, source, size):
    mask = random_mask(seed, source)
    top, left, height, width = window(mask, size)
    assert window(mask.T, size[::-1]) == (left, top, width, height)


# --- tasks ----------------------------------------------------------------------------------------


def test_a_small_region_is_seen_pixel_for_pixel(tmp_path):
    """At the edit's own size nothing is resized."""
    rgb, mask = noise(0, (320, 480)), boxes((320, 480), (101, 203, 8, 9))
    options = {"mask": write(tmp_path / "m.png", images.to_levels(mask))}
    got = photo.make(write(tmp_path / "a.png", rgb), options, (16, 16), "mask")
    assert got.placement.window == (97, 199, 16, 16)
    assert np.array_equal(got.fitted, rgb[97:113, 199:215])
    assert np.array_equal(got.mask, mask[97:113, 199:215])
    with pytest.raises(ValueError, match="fit 'crop' leaves nothing of it"):
        photo.make(str(tmp_path / "a.png"), {**options}, (1, 1), "crop")


def test_a_strength_map_bounds_the_window_as_a_mask_does(tmp_path):
    path = write(tmp_path / "a.png", noise(1, (200, 200)))
    area = images.to_levels(boxes((200, 200), (20, 40, 60, 60)))
    mapped = {"strength_map": write(tmp_path / "s.png", area // 2)}
    assert photo.make(path, mapped, (16, 16), "mask").placement.window == (5, 25, 90, 90)
    halves = images.to_levels(boxes((200, 200), (50, 0, 150, 200)))
    both = {**mapped, "mask": write(tmp_path / "m.png", halves)}
    got = photo.make(path, both, (16, 16), "mask")  # rows 50 .. 80, columns 40 .. 100
    assert got.placement.window == (20, 25, 90, 90)
    assert got.guide.strength_map.max() == np.float32(127 / 255)


def test_tasks_that_grow_their_masks_have_them_in_the_window(tmp_path):
    rgb = noise(2, (300, 300))
    path = write(tmp_path / "a.png", rgb)
    layer = np.zeros((300, 300, 4), np.uint8)
    layer[250:270, 40:60] = (200, 0, 0, 255)
    strokes = write(tmp_path / "strokes.png", layer)
    drawn = scribble.make(path, {"strokes": strokes, "grow": 6.0}, (16, 16), "mask")
    patch = write(tmp_path / "patch.png", np.full((20, 20, 3), 90, np.uint8))
    where = {"patch": patch, "x": 50.0, "y": 260.0, "units": "pixel", "seam": 6.0}
    laid = composite.make(path, where, (16, 16), "mask")
    # (20 + 2) / (16 - 12) input pixels per pixel of the edit
    for got in (drawn, laid):
        assert got.placement.window == (300 - 88, 50 - 44, 88, 88)
        grown = images.grow(boxes((300, 300), (250, 40, 20, 20)) > 0, int(6 * 5.5))
        assert np.array_equal(got.original_mask, grown)
        shown = images.in_window(got.original_mask, got.placement)
        assert np.array_equal(shown, got.original_mask)


def test_a_seam_that_alone_may_change_is_in_the_window(tmp_path):
    """The strength map is black on the patch; the mask grows before the map bounds it."""
    path = write(tmp_path / "a.png", noise(2, (300, 300)))
    patch = write(tmp_path / "patch.png", np.full((20, 20, 3), 90, np.uint8))
    shares = 255 - 255 * (boxes((300, 300), (250, 40, 20, 20)) > 0).astype(np.uint8)
    where = {"patch": patch, "x": 50.0, "y": 260.0, "units": "pixel", "seam": 6.0}
    where["strength_map"] = write(tmp_path / "map.png", shares)
    got = composite.make(path, where, (16, 16), "mask")
    assert got.placement.window == (300 - 88, 50 - 44, 88, 88)
    free = got.original_mask > 0
    assert free.any() and not free[250:270, 40:60].any()
    assert np.array_equal(images.in_window(free, got.placement), free)


def test_a_sketch_with_held_lines_shows_what_is_free(tmp_path):
    drawing = np.zeros((120, 120, 3), np.uint8)
    drawing[30:50, 60:80] = 255
    path = write(tmp_path / "a.png", drawing)
    with pytest.warns(UserWarning, match="cover 97% of it"):
        got = sketch.make(path, {"lines": "held", "grow": 0.0}, (16, 16), "mask")
    assert got.placement.window == (25, 55, 30, 30)


def test_outpainting_shows_the_new_border_beside_a_part_of_the_picture(tmp_path):
    path = write(tmp_path / "a.png", noise(3, (100, 300)))
    got = outpaint.make(path, {"right": 20}, (16, 16), "mask")
    assert got.placement.window == (0, 220, 100, 100)
    with (
        pytest.warns(UserWarning, match="fit 'mask' shows 0.0% of what may change in its 100x330"),
        pytest.raises(ValueError, match="fit must be 'pad' or 'stretch' to paint the whole border"),
    ):
        outpaint.make(path, {"right": 20, "left": 10}, (16, 16), "mask")


def test_a_region_that_no_window_holds_gives_a_warning(tmp_path):
    path = write(tmp_path / "a.png", noise(4, (50, 200)))
    far = images.to_levels(boxes((50, 200), (10, 0, 10, 10), (10, 190, 10, 10)))
    options = {"mask": write(tmp_path / "m.png", far)}
    with (
        pytest.warns(UserWarning, match="a.png: fit 'mask' shows 0.0% of what may change in its"),
        pytest.raises(ValueError, match="fit 'mask' leaves nothing of it at 16x16"),
    ):
        photo.make(path, options, (16, 16), "mask")


def test_rows_of_data_sets_have_the_window_of_their_masks():
    rgb, mask = noise(5, (200, 260)), boxes((200, 260), (20, 40, 60, 60))
    row = examples.Example("one", images.Picture(rgb, None), mask, images.Picture(rgb, None))
    for task in ("photo", "strokes", "simulate", "inpaint", "scribble"):
        got = examples.of_example(row, task, {}, (16, 16), "mask")
        assert got.placement.window == (5, 25, 90, 90), task
    got = examples.of_example(row, "composite", {"seam": 4.0}, (16, 16), "mask")
    assert got.placement.window[2:] == (124, 124)  # (60 + 2) / (16 - 8) times 16
    bare = examples.of_example(row._replace(mask=None, guide=None), "photo", {}, (16, 16), "mask")
    assert bare.placement.window == (0, 30, 200, 200)


# --- edits ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prior():
    return sj.load_prior(exact_prior())


def test_an_edit_from_arrays_changes_the_mask_alone_at_the_resolution_of_the_prior(prior):
    """At full strength the exact prior of one picture paints this picture into the window."""
    rgb, mask = noise(6, (160, 200)), boxes((160, 200), (40, 60, 16, 16))
    given = {"mask": mask, "t0": 1.0, "steps": 12, "size": (16, 16), "output": "original"}
    out = sj.edit(prior, rgb, fit="mask", **given)
    assert np.array_equal(out[mask == 0], rgb[mask == 0]) and out.shape == rgb.shape
    area = boxes((160, 200), (36, 56, 24, 24))  # 16 x 16 and a quarter: 24 x 24
    seen = sj.edit(prior, rgb, fit="mask", **{**given, "mask": area, "output": "prior"})
    assert seen.shape == (16, 16, 3)
    small = sj.edit(prior, rgb, fit="mask", **{**given, "output": "prior"})
    changed = (small != images.resize(rgb[36:60, 56:80], (16, 16))).any(-1)
    assert changed.sum() >= 100  # of 16 x 16, where crop leaves 2 x 2
    cropped = sj.edit(prior, rgb, fit="crop", **{**given, "output": "prior"})
    assert (cropped != images.resize(rgb[:, 20:180], (16, 16))).any(-1).sum() <= 9


def test_the_window_of_the_edits_own_size_comes_back_without_resizing(prior):
    rgb, mask = noise(7, (100, 120)), boxes((100, 120), (40, 60, 8, 8))
    given = {"mask": mask, "t0": 0.7, "steps": 4, "fit": "mask"}
    seen = sj.edit(prior, rgb, **given)
    out = sj.edit(prior, rgb, output="original", **given)
    wanted = rgb.copy()
    wanted[36:52, 56:72] = seen
    assert np.array_equal(out, wanted)
    # and it is the edit of the picture that was cut out by hand
    cut = sj.edit(prior, rgb[36:52, 56:72], **{**given, "mask": mask[36:52, 56:72]})
    assert np.array_equal(seen, cut)


def test_each_picture_of_a_batch_has_its_own_window(prior):
    rgb = np.stack([noise(8, (90, 90)), noise(9, (90, 90))])
    masks = np.stack([boxes((90, 90), (4, 6, 8, 8)), boxes((90, 90), (70, 50, 30, 10))])
    given = {"t0": 0.6, "steps": 4, "fit": "mask", "output": "original"}
    both = sj.edit(prior, rgb, mask=masks, **given)
    for one, mask, out in zip(rgb, masks, both, strict=True):
        assert np.array_equal(out, sj.edit(prior, one, mask=mask, **given))
        assert np.array_equal(out[mask == 0], one[mask == 0]) and (out != one).any()


def test_without_a_mask_it_is_crop(prior):
    rgb = noise(10, (40, 60))
    out = [sj.edit(prior, rgb, t0=0.5, steps=3, fit=fit) for fit in ("mask", "crop")]
    assert np.array_equal(*out)


def test_a_wrong_fit_is_named(prior):
    with pytest.raises(ValueError, match="fit must be one of .*'mask'.*, got 'masked'"):
        sj.edit(prior, noise(0, (20, 20)), fit="masked")


# --- the program ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos():
    folder = home() / "mask_fit"
    folder.mkdir()
    for seed, name in enumerate(("one", "two")):
        write(folder / f"{name}.png", noise(seed, (120, 150)))
        mask = boxes((120, 150), (30 + 40 * seed, 70, 10, 10))
        write(folder / f"{name}_mask.png", images.to_levels(mask))
    return folder


def masked(photos, **changes):
    few = {"prior": exact_prior(), "samples": 1, "fit": "mask", "input": str(photos)}
    return small("inpaint", **{**few, **changes})


@pytest.mark.parametrize("output", ["prior", "original"])
def test_a_run_and_its_replay_have_the_windows_of_the_masks(photos, tmp_path, output):
    assert run(masked(photos, output=output), tmp_path / "out") == 0
    for seed, name in enumerate(("one", "two")):
        file = tmp_path / "out" / f"{name}_0.png"
        top, rgb = 27 + 40 * seed, picture(photos / f"{name}.png")
        if output == "original":
            kept = picture(photos / f"{name}_mask.png") == 0
            assert np.array_equal(picture(file)[kept], rgb[kept])
        else:
            item = inpaint.make(str(photos / f"{name}.png"), {}, (SIZE, SIZE), "mask")
            assert item.placement.window == (top, 67, SIZE, SIZE)
            kept = item.mask == 0
            assert np.array_equal(picture(file)[kept], rgb[top : top + SIZE, 67:83][kept])
        assert recipe(file)["config"]["fit"] == "mask"
        for trust in {True, output == "original"}:  # from the photo, and from the files beside
            again = tmp_path / f"again_{name}_{trust}"
            assert run(masked(photos, input=str(file), trust=trust), again, "replay") == 0
            (made,) = again.glob(f"{name}_0*.png")
            assert np.array_equal(picture(made), picture(file))


def test_a_run_that_is_resumed_has_the_windows_too(photos, tmp_path):
    config, before = masked(photos, batch=1), {}
    assert run(config, tmp_path) == 0
    for name in ("one", "two"):
        before[name] = picture(tmp_path / f"{name}_0.png")
    (tmp_path / "two_0.png").unlink()
    assert run(config, tmp_path, resume=True) == 0
    assert all(np.array_equal(picture(tmp_path / f"{n}_0.png"), before[n]) for n in before)


def test_an_evaluation_makes_the_edits_of_the_edit_mode(photos, tmp_path):
    rows = [f"{name},{photos / name}.png,{photos / name}_mask.png" for name in ("one", "two")]
    (tmp_path / "rows.csv").write_text("\n".join(["id,picture,mask", *rows]) + "\n")
    same = {"prior": exact_prior(), "samples": 1, "fit": "mask", "output": "original"}
    given = small("evaluate", **same, input=str(tmp_path / "rows.csv"), task="photo")
    given.features.prior = ""
    with given.unlocked():
        given.options = small("base").options
    for unpack in ("", "all"):
        given.unpack = unpack
        assert run(given, tmp_path / "out", "evaluate") == 0
    edits = small("base", **same, input=str(photos), task="photo")
    edits.t0 = given.t0
    assert run(edits, tmp_path / "edit") == 0
    for name in ("one", "two"):
        made = picture(tmp_path / f"out/pictures/{name}_0.png")
        assert np.array_equal(made, picture(tmp_path / f"edit/{name}_0.png"))
        kept = picture(photos / f"{name}_mask.png") == 0
        assert np.array_equal(made[kept], picture(photos / f"{name}.png")[kept])


def test_ledits_has_the_window_of_crop():
    prior, rgb = sj.load_prior(text_prior()), noise(11, (30, 40))
    given = {"steps": 2, "size": (10, 14)}
    made = [sj.ledits(prior, rgb, "+a", fit=fit, **given) for fit in ("mask", "crop")]
    assert np.array_equal(*made)


def test_a_sweep_has_the_windows_too(photos, tmp_path):
    config = masked(photos, input=str(photos / "one.png"), sweep__t0=(0.3, 0.6), sweep__seeds=(0,))
    config.output = "original"
    assert run(config, tmp_path, "sweep") == 0
    rgb, kept = picture(photos / "one.png"), picture(photos / "one_mask.png") == 0
    made = [f for f in tmp_path.rglob("one*.png") if picture(f).shape == rgb.shape]
    assert len(made) >= 2
    for file in made:
        assert np.array_equal(picture(file)[kept], rgb[kept])
