"""Pictures: reading against Pillow, exact pasting, fit round trips, atomic writing, names."""

import errno
import io
import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps
from scipy import ndimage

from sdedit_jax import images
from sdedit_jax.tasks import arrays, common

few = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
seeds = st.integers(0, 2**32 - 1)
goals = st.tuples(st.integers(1, 24), st.integers(1, 24))
fits = st.sampled_from(images.FITS)


def picture(seed, size):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def some_mask(seed, size):
    """About a third kept, a third fractions, a third free."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.uniform(-1, 2, size), 0, 1).astype(np.float32)


def saved(image, path, **options):
    image.save(path, **options)
    return path


# Units


def test_every_level_survives_units():
    levels = np.arange(256, dtype=np.uint8)
    unit = images.to_unit(levels)
    assert unit.dtype == np.float32 and unit[0] == -1 and unit[255] == 1
    assert np.array_equal(images.from_unit(unit), levels)


def test_from_unit_clips_rounds_and_refuses_nan():
    values = np.array([-3, -1 + 1.02 / 127.5, -1 + 0.98 / 255, 1.5])
    assert images.from_unit(values).tolist() == [0, 1, 0, 255]
    with pytest.raises(ValueError, match="2 of 3 values are not finite"):
        images.from_unit(np.array([0, np.nan, np.inf]))


# Reading


@few
@given(seed=seeds, size=sizes, mode=st.sampled_from(["RGB", "L", "1", "P", "RGBA", "LA"]))
def test_png_pixels_are_read_exactly(tmp_path, seed, size, mode):
    image = Image.fromarray(picture(seed, size)).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(picture(seed + 1, size)[..., 0]))
    read = images.read(saved(image, tmp_path / "a.png"))
    assert np.array_equal(read.rgb, np.array(image.convert("RGBA"))[..., :3])
    if mode in ("RGBA", "LA"):
        assert np.array_equal(read.alpha, np.array(image.getchannel("A")))
    else:
        assert read.alpha is None


def test_16_bit_grey_is_rounded_not_clipped(tmp_path):
    values = np.arange(0, 65536, 7, dtype=np.uint16)[:9360].reshape(72, 130)
    read = images.read(saved(Image.fromarray(values), tmp_path / "a.png"))
    wanted = np.rint(values * (255 / 65535)).astype(np.uint8)
    assert np.array_equal(read.rgb, np.repeat(wanted[..., None], 3, -1))


def test_palette_transparency_becomes_alpha(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    read = images.read(saved(image, tmp_path / "a.png", transparency=1))
    assert read.alpha.tolist() == [[255, 0], [255, 0]]
    assert read.rgb[0, 0].tolist() == [10, 20, 30]


def test_cmyk_jpeg_is_converted(tmp_path):
    image = Image.new("CMYK", (16, 8), (0, 255, 255, 0))
    read = images.read(saved(image, tmp_path / "a.jpg", quality=100))
    assert read.rgb.shape == (8, 16, 3)
    assert np.abs(read.rgb.astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_exif_rotation_is_honoured(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.kron(picture(0, (2, 3)), np.ones((8, 8, 1), np.uint8)))
    path = saved(image, tmp_path / f"a.{suffix}", exif=exif)
    assert np.array_equal(images.read(path).rgb, ImageOps.exif_transpose(Image.open(path)))


def png_header(width, height):
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + b"\0" * 4


def encoded(form):
    buffer = io.BytesIO()
    Image.fromarray(picture(0, (32, 32))).save(buffer, form)
    return buffer.getvalue()


BAD = {
    "empty.png": (b"", "the file is empty"),
    "text.jpg": (b"hello, this is text", "not a PNG, JPEG or WebP"),
    "other.png": (encoded("BMP"), "not a PNG, JPEG or WebP"),
    "cut.png": (encoded("PNG")[:700], "damaged or truncated"),
    "cut.jpg": (encoded("JPEG")[:900], "damaged or truncated"),
    "cut.webp": (encoded("WEBP")[:300], "damaged or truncated|header is damaged"),
    "bomb.png": (png_header(60000, 60000), "megapixels"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_give_one_clear_error(tmp_path, name):
    data, message = BAD[name]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        images.read(path)
    assert str(path) in str(caught.value)


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        images.read(tmp_path / "none.png")
    with pytest.raises(ValueError, match="it is a folder"):
        images.read(tmp_path)


@few
@given(seed=seeds, suffix=st.sampled_from(["PNG", "JPEG", "WEBP"]))
def test_damaged_bytes_never_escape_as_other_errors(tmp_path, seed, suffix):
    rng = np.random.default_rng(seed)
    data = bytearray(encoded(suffix))
    for _ in range(rng.integers(1, 6)):
        data[rng.integers(0, len(data))] = rng.integers(0, 256)
    path = tmp_path / "a.png"
    path.write_bytes(data[: rng.integers(1, len(data) + 1)])
    try:
        images.read(path)
    except ValueError as error:
        assert str(error).startswith(f"cannot read {path}")


# Masks


def test_mask_white_is_one_and_greys_are_fractions(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(8, 32)
    path = saved(Image.fromarray(grey), tmp_path / "m.png")
    mask = images.read_mask(path, (8, 32))
    assert np.array_equal(mask, grey.astype(np.float32) / 255)
    assert mask.min() == 0 and mask.max() == 1
    inverted = images.read_mask(path, (8, 32), invert=True)
    assert np.array_equal(inverted.ravel(), mask.ravel()[::-1])


def test_a_mask_of_zeros_and_ones_is_a_label_map(tmp_path):
    labels = np.uint8([[0, 1, 0], [1, 1, 0]])
    file = saved(Image.fromarray(labels), tmp_path / "labels.png")
    np.testing.assert_array_equal(images.read_mask(file, (2, 3)), labels)
    np.testing.assert_array_equal(images.read_mask(file, (2, 3), invert=True), 1 - labels)
    np.testing.assert_array_equal(arrays.mask_of(labels, (2, 3)), labels)


@pytest.mark.parametrize("level", [2, 127])
def test_a_dark_mask_gets_a_warning_with_its_level(level, tmp_path):
    """A file, an inverted file, levels and floats alike."""
    dark, told = np.uint8([[0, level]]), f"its brightest level is {level} of 255"
    file = saved(Image.fromarray(dark), tmp_path / "dark.png")
    light = saved(Image.fromarray(255 - dark), tmp_path / "light.png")
    for path, invert in ((file, False), (light, True)):
        chosen = common.MaskOptions(mask=str(path), invert=invert)
        with pytest.warns(UserWarning, match=f"the mask .*{path.name}: {told}"):
            mask = common.read_mask(chosen, "a.png", (1, 2))
        np.testing.assert_allclose(mask, dark / 255, atol=1e-7)
    for mask in (dark, dark / 255):
        with pytest.warns(UserWarning, match=f"mask: {told}"):
            arrays.mask_of(mask, (1, 2))
    # a warning would be an error here
    arrays.mask_of(np.uint8([[0, 128]]), (1, 2))
    common.read_mask(common.MaskOptions(mask=str(file), invert=True), "a.png", (1, 2))


@pytest.mark.parametrize("mask", [np.zeros((1, 2), np.uint8), np.full((1, 2), 0.4 / 255)])
def test_a_mask_that_changes_no_level_is_refused(mask, tmp_path):
    with pytest.raises(ValueError, match="mask is black everywhere; white marks"):
        arrays.mask_of(mask, (1, 2))
    black = saved(Image.new("L", (2, 1)), tmp_path / "black.png")
    for where in (
        arrays.mask_of,
        lambda p, s: common.read_mask(common.MaskOptions(mask=str(p)), "a", s),
    ):
        with pytest.raises(ValueError, match="black.png is black everywhere"):
            where(black, (1, 2))


def test_mask_of_another_size_names_both(tmp_path):
    path = saved(Image.new("L", (20, 10)), tmp_path / "m.png")
    with pytest.raises(ValueError, match="10x20 pixels .height x width., the picture has 15x35"):
        images.read_mask(path, (15, 35))


def rgba_of(rgb, alpha):
    return Image.fromarray(np.dstack([np.broadcast_to(np.uint8(rgb), (*alpha.shape, 3)), alpha]))


def test_the_channel_of_a_mask(tmp_path):
    """Brushes of any one colour on transparency: auto reads alpha, and says so where it matters."""
    alpha = np.uint8([[0, 200, 255], [255, 0, 0]])
    white = saved(rgba_of(255, alpha), tmp_path / "white.png")
    black = saved(rgba_of(0, alpha), tmp_path / "black.png")
    assert np.array_equal(images.read_mask(white, (2, 3)), alpha / np.float32(255))
    with pytest.warns(UserWarning, match="black.png: its shape is in the alpha channel alone"):
        assert np.array_equal(images.read_mask(black, (2, 3)), alpha / np.float32(255))
    assert not images.read_mask(black, (2, 3), channel="luminance").any()
    assert np.array_equal(images.read_mask(black, (2, 3), channel="alpha"), alpha / np.float32(255))
    with pytest.warns(UserWarning, match="mask: its shape"):
        drawn = arrays.mask_of(Image.open(black), (2, 3))
    assert np.array_equal(drawn, alpha / np.float32(255))
    two = np.dstack([np.repeat(np.uint8([[0, 255, 0]] * 2)[..., None], 3, -1), alpha])
    both = saved(Image.fromarray(two), tmp_path / "both.png")
    shown = np.where(two[..., 0] > 0, alpha, 0) / np.float32(255)
    assert np.array_equal(images.read_mask(both, (2, 3)), shown)
    plain = saved(Image.fromarray(alpha), tmp_path / "plain.png")
    with pytest.raises(ValueError, match="no alpha channel; task option mask_channel must be"):
        images.read_mask(plain, (2, 3), channel="alpha")
    with pytest.raises(ValueError, match="mask_channel must be one of .* got 'red'"):
        images.read_mask(plain, (2, 3), channel="red")


@few
@given(seed=seeds, background=st.tuples(*[st.integers(0, 255)] * 3))
def test_a_change_is_seen_through_alpha(seed, background):
    """No change leaves every pixel. Others show over the background as far as levels can."""
    rng = np.random.default_rng(seed)
    rgb, alpha = picture(seed, (5, 7)), rng.integers(0, 256, (5, 7), np.uint8)
    source, none = images.Picture(rgb, alpha), np.zeros(rgb.shape, int)
    assert np.array_equal(images.change_under(source, background, none, alpha), rgb)
    change, more = rng.integers(-9, 10, rgb.shape), np.maximum(alpha, 128)
    got = images.change_under(source, background, change, more).astype(float)
    below, a, b = np.array(background), alpha[..., None] / 255, more[..., None] / 255
    wanted = a * rgb + (1 - a) * below + change
    clipped = (got == 0) | (got == 255)
    assert (np.abs(b * got + (1 - b) * below - wanted) <= 0.51)[~clipped].all()


def test_what_belongs_to_a_picture_goes_through(tmp_path):
    """RGB profile and resolution are kept; what a PNG of RGB cannot have is named."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    file = tmp_path / "a.jpg"
    Image.new("RGB", (6, 4)).save(file, icc_profile=profile, dpi=(300, 200), exif=exif.tobytes())
    source = images.read(file)
    assert source.profile == profile and source.lost == ("EXIF",)
    assert source.rgb.shape == (6, 4, 3) and source.dpi == (200, 300)  # after a quarter turn
    images.write_png(tmp_path / "b.png", source.rgb, source=source)
    with Image.open(tmp_path / "b.png") as back:
        assert back.info["icc_profile"] == profile
        assert np.allclose(back.info["dpi"], (200, 300), atol=0.1)
    images.write_png(tmp_path / "c.png", source.rgb[..., 0], source=source)
    with Image.open(tmp_path / "c.png") as back:
        assert "icc_profile" not in back.info  # an RGB profile does not fit a grey picture
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (6, 4)).save(tmp_path / "d.jpg", exif=exif.tobytes())
    assert images.read(tmp_path / "d.jpg").lost == ()  # the orientation is applied
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.new("RGB", (2, 2)).save(tmp_path / "e.png", icc_profile=lab)
    odd = images.read(tmp_path / "e.png")
    assert odd.profile is None and odd.lost == ("the colour profile, which is for Lab",)
    frames = [Image.new("RGB", (2, 2), c) for c in ("red", "green", "blue")]
    frames[0].save(tmp_path / "f.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert images.read(tmp_path / "f.webp").lost == ("2 further frames",)


def test_transparent_parts_of_a_mask_are_kept(tmp_path):
    rgba = np.full((1, 3, 4), 255, np.uint8)
    rgba[0, 1, 3], rgba[0, 2, :3] = 0, 0
    path = saved(Image.fromarray(rgba), tmp_path / "m.png")
    assert images.read_mask(path, (1, 3)).tolist() == [[1, 0, 0]]


@pytest.mark.parametrize("name", ["m.jpg", "m.png"])
def test_jpeg_mask_has_pure_ends(name, tmp_path):
    """Whatever it is called."""
    grey = np.zeros((64, 64), np.uint8)
    grey[13:40, 21:50] = 255
    path = tmp_path / name
    Image.fromarray(grey).save(path, "JPEG", quality=95)
    assert np.array_equal(images.read_mask(path, (64, 64)), grey / 255)


@pytest.mark.parametrize("label", [1, 2, 16])
def test_a_label_map_as_jpeg_is_refused_with_its_brightest_level(label, tmp_path):
    """A file of the program, a path and an open picture of Python; a black one is black."""
    grey = np.zeros((32, 32), np.uint8)
    grey[8:24, 8:24] = label
    for value, told in ((grey, "brightest level is .* white"), (0 * grey, "is black everywhere")):
        path = tmp_path / "m.jpg"
        Image.fromarray(value).save(path, quality=95)
        chosen = common.MaskOptions(mask=str(path))
        for read in (
            lambda p, chosen=chosen: common.read_mask(chosen, "a.png", (32, 32)),
            lambda p: arrays.mask_of(p, (32, 32)),
            lambda p: arrays.mask_of(Image.open(p), (32, 32)),
        ):
            with pytest.raises(ValueError, match=f"mask.*{told}"):
                read(path)


def test_an_open_jpeg_is_the_mask_of_its_file(tmp_path):
    path = saved(Image.fromarray(np.eye(32, dtype=np.uint8) * 255), tmp_path / "m.jpg")
    mask = arrays.mask_of(path, (32, 32))
    assert (mask == 0).any() and np.array_equal(mask, arrays.mask_of(Image.open(path), (32, 32)))


def test_three_axes_are_one_mask_or_several_by_the_proportions_of_the_pictures():
    wide, rng = (8, 12), np.random.default_rng(0)
    half, every = rng.random((4, 6, 1)), rng.random((4, 8, 12))
    with pytest.warns(UserWarning, match="mask has 4x6 .* it is resized"):
        one = arrays.masks(half, [wide] * 4, True)  # as many rows as pictures
        assert len(one) == 4 and all(np.array_equal(m, arrays.mask_of(half, wide)) for m in one)
    for mask in (every, every[..., None]):
        found = arrays.masks(mask, [wide] * 4, True)
        assert np.array_equal(found, every.astype(np.float32))
    narrow = rng.random((4, 12, 1))  # of pictures one pixel wide, and of no picture 4 x 12
    assert np.array_equal(arrays.masks(narrow, [(12, 1)] * 4, True), narrow.astype(np.float32))
    with pytest.raises(ValueError, match="one for all or one for each of 4, got 3"):
        arrays.masks(every[:3], [wide] * 4, True)


# Growing, feathering, pasting


@few
@given(seed=seeds, size=sizes, radius=st.integers(0, 9))
def test_grow_and_shrink_are_window_extrema(seed, size, radius):
    mask = some_mask(seed, size)
    width = 2 * radius + 1
    assert np.array_equal(images.grow(mask, radius), ndimage.maximum_filter(mask, width))
    assert np.array_equal(images.shrink(mask, radius), ndimage.minimum_filter(mask, width))


@few
@given(seed=seeds, size=sizes, feather=st.integers(0, 5))
def test_feather_is_the_distance_to_the_kept_pixels(seed, size, feather):
    free = np.random.default_rng(seed).random(size) < 0.9
    weight = images.feathered(free.astype(np.float32), feather)
    if free.all():
        assert (weight == 1).all()
    else:
        distance = ndimage.distance_transform_cdt(free, "chessboard")
        wanted = np.minimum(distance / (feather + 1), 1)
        assert np.allclose(weight, wanted, atol=1e-6)
        assert (weight[~free] == 0).all()


@few
@given(seed=seeds, size=sizes, feather=st.integers(0, 4))
def test_paste_keeps_kept_pixels_exactly(seed, size, feather):
    result, guide, mask = picture(seed, size), picture(seed + 1, size), some_mask(seed, size)
    out = images.paste(result, guide, mask, feather)
    assert out.dtype == np.uint8
    assert np.array_equal(out[mask == 0], guide[mask == 0])
    low, high = np.minimum(result, guide), np.maximum(result, guide)
    assert ((low <= out) & (out <= high)).all()
    if feather == 0:
        assert np.array_equal(out[mask == 1], result[mask == 1])
        exact = guide + mask[..., None].astype(float) * (result.astype(float) - guide)
        assert np.abs(out - exact).max() <= 0.5001


def test_paste_refuses_other_shapes():
    a = picture(0, (4, 4))
    with pytest.raises(ValueError, match="one size"):
        images.paste(a, a, np.ones((5, 4)))
    with pytest.raises(ValueError, match="feather must be at least 0"):
        images.paste(a, a, np.ones((4, 4)), -1)


def test_flatten_lays_on_the_background():
    rgb = np.array([[[10, 20, 30]] * 3], np.uint8)
    alpha = np.array([[0, 255, 51]], np.uint8)
    out = images.flatten(images.Picture(rgb, alpha), (255, 255, 255))
    assert out.tolist() == [[[255, 255, 255], [10, 20, 30], [206, 208, 210]]]


def test_color_names():
    assert images.color("#c81e1e") == (200, 30, 30) and images.color(" white") == (255,) * 3
    with pytest.raises(ValueError, match="got 'reddish'"):
        images.color("reddish")


# Fitting


@few
@given(seed=seeds, size=sizes, goal=goals, rule=fits)
def test_boxes_lie_inside_and_keep_proportions(seed, size, goal, rule):
    rgb = picture(seed, size)
    fitted, place = images.fit(rgb, goal, rule)
    assert fitted.shape == (*goal, 3) and fitted.dtype == np.uint8
    for (top, left, height, width), (h, w) in ((place.window, size), (place.target, goal)):
        assert top >= 0 and left >= 0 and height >= 1 and width >= 1
        assert top + height <= h and left + width <= w
        assert abs(2 * top + height - h) <= 1 and abs(2 * left + width - w) <= 1
    if rule == "crop":
        assert place.target == (0, 0, *goal)
        assert largest_inside(place.window[2:], size, goal)
    if rule == "pad":
        assert place.window == (0, 0, *size)
        assert largest_inside(place.target[2:], goal, size)
    if rule == "stretch":
        assert place.window == (0, 0, *size) and place.target == (0, 0, *goal)


def largest_inside(inner, outer, proportions):
    """One side is that of `outer`, the other has the proportions, rounded."""
    scale = min(o / p for o, p in zip(outer, proportions, strict=True))
    wanted = [max(1, scale * p) for p in proportions]
    touches = any(i == o for i, o in zip(inner, outer, strict=True))
    return touches and np.allclose(inner, wanted, atol=0.5001)


@few
@given(size=sizes, side=st.integers(1, 24))
def test_square_placements_are_the_plain_rule(size, side):
    """The largest centred square of the input; the input at its longer side in the square."""
    height, width = size
    short, long = min(size), max(size)
    crop = images.place(size, (side, side), "crop")
    assert crop.window == ((height - short) // 2, (width - short) // 2, short, short)
    pad = images.place(size, (side, side), "pad")
    h, w = (max(1, round(side * length / long)) for length in size)
    assert pad.target == ((side - h) // 2, (side - w) // 2, h, w)


@few
@given(seed=seeds, size=sizes, goal=goals, rule=fits)
def test_fitting_commutes_with_transposition(seed, size, goal, rule):
    rgb, mask = picture(seed, size) // 4 + 96, np.maximum(some_mask(seed, size), 0.01)
    fitted, place = images.fit(rgb, goal, rule)
    turned, other = images.fit(rgb.swapaxes(0, 1), goal[::-1], rule)
    # Pillow rounds between its two passes, rows first
    assert np.abs(turned.swapaxes(0, 1).astype(int) - fitted).max() <= 2
    for one, two in ((place.window, other.window), (place.target, other.target)):
        assert two == (one[1], one[0], one[3], one[2])
    masks = images.fit_mask(mask, place), images.fit_mask(mask.T, other)
    assert np.allclose(masks[0], masks[1].T, atol=1e-5)


@few
@given(seed=seeds, size=sizes, goal=goals, rule=fits)
def test_unfit_is_exact_outside_the_mask_and_the_window(seed, size, goal, rule):
    original, mask = picture(seed, size), some_mask(seed, size)
    _, place = images.fit(original, goal, rule)
    out = images.unfit(picture(seed + 2, goal), original, mask, place)
    assert out.shape == original.shape
    assert np.array_equal(out[mask == 0], original[mask == 0])
    shown = np.zeros(size, bool)
    top, left, height, width = place.window
    shown[top : top + height, left : left + width] = True
    assert np.array_equal(out[~shown], original[~shown])


@few
@given(seed=seeds, size=sizes, rule=fits)
def test_a_picture_of_the_right_size_goes_through_unchanged(seed, size, rule):
    rgb, mask = picture(seed, size), some_mask(seed, size)
    fitted, place = images.fit(rgb, size, rule)
    assert np.array_equal(fitted, rgb)
    assert np.allclose(images.fit_mask(mask, place), mask, atol=1e-5)
    edit = picture(seed + 1, size)
    assert np.array_equal(images.unfit(edit, rgb, np.ones(size, np.float32), place), edit)


@few
@given(seed=seeds, size=sizes, goal=goals, rule=fits)
def test_one_colour_stays_and_comes_back(seed, size, goal, rule):
    rgb = np.broadcast_to(picture(seed, (1, 1)), (*size, 3)).copy()
    fitted, place = images.fit(rgb, goal, rule)
    assert (fitted == rgb[0, 0]).all()
    edit = np.broadcast_to(picture(seed + 1, (1, 1)), fitted.shape)
    out = images.unfit(edit, rgb, np.ones(size, np.float32), place)
    top, left, height, width = place.window
    assert (out[top : top + height, left : left + width] == edit[0, 0]).all()


@pytest.mark.parametrize("rule", images.FITS)
def test_a_smooth_picture_comes_back_from_another_size(rule):
    """A ramp of 60 x 90 over 40 x 40 and 32 x 56: each level is met again to a few levels."""
    y, x = np.mgrid[:60, :90]
    ramp = np.stack([2 * x, 3 * y, x + y], -1).astype(np.uint8)
    for goal in ((40, 40), (32, 56)):
        fitted, place = images.fit(ramp, goal, rule)
        back = images.unfit(fitted, np.zeros_like(ramp), np.ones((60, 90), np.float32), place)
        top, left, height, width = place.window
        inner = (slice(top + 4, top + height - 4), slice(left + 4, left + width - 4))
        assert np.abs(back[inner].astype(int) - ramp[inner]).max() <= 3


@few
@given(size=sizes, goal=goals, rule=fits, value=st.sampled_from([0, 1]))
def test_uniform_masks_stay_exactly_uniform(size, goal, rule, value):
    place = images.place(size, goal, rule)
    assert (images.fit_mask(np.full(size, value, np.float32), place) == value).all()


@few
@given(seed=seeds, factor=st.integers(1, 5), size=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_masks_shrink_by_block_means_and_binary_ones_grow_by_repetition(seed, factor, size):
    height, width = size
    mask = some_mask(seed, (height * factor, width * factor))
    blocks = mask.reshape(height, factor, width, factor).mean((1, 3))
    if blocks.any():
        small = images.fit_mask(mask, images.place(mask.shape, size, "crop"))
        assert np.allclose(small, blocks, atol=2e-5)
    tiny = np.rint(some_mask(seed, size))
    large = images.fit_mask(tiny, images.place(size, mask.shape, "stretch"))
    assert np.allclose(large, np.kron(tiny, np.ones((factor, factor))), atol=2e-5)


def test_pad_margin_is_background_or_edge():
    rgb = np.zeros((4, 8, 3), np.uint8)
    rgb[0], rgb[-1] = 50, 200
    plain, place = images.fit(rgb, (8, 8), "pad", (1, 2, 3))
    assert place.target == (2, 0, 4, 8)
    assert (plain[:2] == [1, 2, 3]).all() and (plain[6:] == [1, 2, 3]).all()
    assert np.array_equal(plain[2:6], rgb)
    edge, _ = images.fit(rgb, (8, 8), "pad")
    assert (edge[:2] == 50).all() and (edge[6:] == 200).all()


def test_crop_shows_the_centre():
    rgb = picture(0, (10, 30))
    assert np.array_equal(images.fit(rgb, (10, 10), "crop")[0], rgb[:, 10:20])
    assert np.array_equal(images.fit(rgb, (10, 20), "crop")[0], rgb[:, 5:25])
    assert np.array_equal(images.fit(rgb, (4, 12), "crop")[1].window, (0, 0, 10, 30))


def test_fit_names_wrong_values():
    with pytest.raises(ValueError, match="fit must be one of .*'zoom'"):
        images.fit(picture(0, (4, 4)), (4, 4), "zoom")
    for size in ((0, 4), 4, (4,), (4, 4, 3), (4, 2.0), "44", (True, 4), None):
        with pytest.raises(ValueError, match="size must be height and width, two positive whole"):
            images.fit(picture(0, (4, 4)), size, "crop")
    with pytest.raises(ValueError, match=r"result must have size \(4, 6\), got \(6, 4\)"):
        rgb, place = picture(0, (4, 6)), images.place((4, 6), (4, 6), "crop")
        images.unfit(picture(1, (6, 4)), rgb, np.ones((4, 6)), place)


def test_sizes_are_multiples_of_the_stride():
    assert images.check_size([64, np.int64(96)], 8) == (64, 96)
    with pytest.raises(ValueError, match=r"config.size must .* two positive multiples of 8, got 6"):
        images.check_size((64, 60), 8, "config.size")


def test_thumbnails_keep_proportions():
    rgb = picture(0, (40, 100))
    assert images.thumbnail(rgb, 100) is rgb
    assert images.thumbnail(rgb, 50).shape == (20, 50, 3)


# Writing


def test_png_and_text_come_back(tmp_path):
    rgb = picture(0, (5, 7))
    text = {"parameters": "Steps: 20, t0: 0.5", "recipe": '{"a": "ä → ü"}'}
    images.write_png(tmp_path / "a.png", rgb, text)
    assert np.array_equal(images.read(tmp_path / "a.png").rgb, rgb)
    assert images.read_text(tmp_path / "a.png") == text
    assert os.listdir(tmp_path) == ["a.png"]


def test_existing_files_are_replaced_only_with_overwrite(tmp_path):
    path = tmp_path / "a.png"
    first, second = picture(0, (3, 3)), picture(1, (3, 3))
    images.write_png(path, first)
    with pytest.raises(FileExistsError, match="a.png exists already"):
        images.write_png(path, second)
    assert np.array_equal(images.read(path).rgb, first)
    images.write_png(path, second, overwrite=True)
    assert np.array_equal(images.read(path).rgb, second)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_full_disk_leaves_no_half_file(tmp_path, monkeypatch, failing):
    path = tmp_path / "a.png"
    images.write_png(path, picture(0, (3, 3)))
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="cannot write .*a.png: No space left"):
        images.write_png(path, picture(1, (3, 3)), overwrite=True)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.png"]


def test_unwritable_folder_is_named(tmp_path):
    with pytest.raises(OSError, match="cannot write .*none"):
        images.write_png(tmp_path / "none" / "a.png", picture(0, (3, 3)))
    with pytest.raises(ValueError, match="pixels must be uint8"):
        images.write_png(tmp_path / "a.png", np.zeros((3, 3, 3)))


def test_text_of_a_jpeg_is_refused(tmp_path):
    path = saved(Image.new("RGB", (4, 4)), tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="not a PNG file but JPEG"):
        images.read_text(path)


# Inputs


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.png", "a.JPG", "a.png", "c.webp", ".hidden.png", "x.txt", "sub/d.png"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_find_inputs(folder):
    def found(pattern):
        return [str(path.relative_to(folder)) for path in images.find_inputs(pattern)]

    assert found(folder) == ["a.JPG", "a.png", "b.png", "c.webp"]
    assert found(f"{folder}/*.png") == ["a.png", "b.png"]
    assert found(f"{folder}/**/*") == ["a.JPG", "a.png", "b.png", "c.webp", "sub/d.png"]
    assert found(folder / "x.txt") == ["x.txt"]
    for nothing in (folder / "none.png", f"{folder}/*.gif"):
        with pytest.raises(ValueError, match="input: no PNG, JPEG or WebP picture"):
            images.find_inputs(nothing)


def test_a_mask_beside_a_picture_is_no_input(tmp_path):
    for name in ("a.png", "a_mask.webp", "b_mask.png", "c-m.png", "c.png", "_mask.png"):
        (tmp_path / name).touch()
    found = [path.name for path in images.find_inputs(tmp_path)]
    assert found == ["_mask.png", "a.png", "b_mask.png", "c-m.png", "c.png"]
    found = [path.name for path in images.find_inputs(f"{tmp_path}/*", "-m")]
    assert found == ["_mask.png", "a.png", "a_mask.webp", "b_mask.png", "c.png"]
    assert len(images.find_inputs(tmp_path, "")) == 6
    assert images.find_inputs(tmp_path / "a_mask.webp") == [tmp_path / "a_mask.webp"]
    assert images.mask_beside(tmp_path / "a.png") == tmp_path / "a_mask.webp"
    assert images.mask_beside(tmp_path / "c.png") is None
    assert images.paired(tmp_path, tmp_path / "a.png", "mask", "_mask").name == "a_mask.webp"
    assert images.paired(tmp_path, "elsewhere/c.png", "mask", "_mask").name == "c.png"
    with pytest.raises(ValueError, match="has no picture for the input 'c'"):
        images.paired(tmp_path, tmp_path / "c.png", "mask", "_mask")


def test_output_names_are_distinct_and_documented(folder):
    def names(*paths):
        return images.output_names([folder / path for path in paths])

    assert names("b.png", "c.webp") == ["b", "c"]
    assert names("a.JPG", "a.png", "b.png") == ["a_jpg", "a_png", "b"]
    assert names("a.png", "sub/a.png", "A.png") == ["a_png", "a_png_2", "A_png_3"]
    assert names("a_png.png", "a.png", "a.jpg") == ["a_png", "a_png_2", "a_jpg"]


def test_paired(folder):
    assert images.paired(folder / "b.png", "z.png", "mask") == folder / "b.png"
    assert images.paired(folder, "elsewhere/b.jpg", "mask") == folder / "b.png"
    with pytest.raises(ValueError, match="mask: the folder .* has no picture for the input 'z'"):
        images.paired(folder, "z.png", "mask")
    with pytest.raises(ValueError, match=r"several files: \['a.JPG', 'a.png'\]"):
        images.paired(folder, "a.png", "mask")


# Sheets


def test_grid_places_pictures():
    pictures = [picture(i, (2, 3)) for i in range(3)]
    sheet = images.grid(pictures, 2, pad=1)
    assert sheet.shape == (7, 9, 3)
    assert np.array_equal(sheet[1:3, 1:4], pictures[0])
    assert np.array_equal(sheet[1:3, 5:8], pictures[1])
    assert np.array_equal(sheet[4:6, 1:4], pictures[2])
    assert (sheet[4:6, 5:8] == 255).all()


def test_grid_refuses_unequal_sizes():
    with pytest.raises(ValueError, match=r"pictures of one size, got \[\(2, 3, 3\), \(3, 2, 3\)\]"):
        images.grid([picture(0, (2, 3)), picture(0, (3, 2))], 2)


def test_contact_sheet_of_unequal_sizes():
    """Rows are as high as their highest picture, columns as wide as their widest."""
    sizes = [[(8, 12), (4, 4), None], [(6, 20), None, None], [(10, 5), (3, 7)]]
    cells = [
        [None if size is None else picture(10 * i + j, size) for j, size in enumerate(row)]
        for i, row in enumerate(sizes)
    ]
    sheet = images.contact_sheet(cells)
    gap = 4
    tops, lefts = np.cumsum([gap, 8 + gap, 6 + gap]), np.cumsum([gap, 20 + gap, 7 + gap])
    # the third column is empty and as wide as the widest
    assert sheet.shape == (gap + 8 + 6 + 10 + 3 * gap, gap + 20 + 7 + 20 + 3 * gap, 3)
    paper = np.full(sheet.shape, images.sheets.PAPER, np.uint8)
    for row, top in zip(cells, tops, strict=True):
        for cell, left in zip(row, lefts, strict=False):
            if cell is not None:
                paper[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    assert np.array_equal(sheet, paper)


def test_cells_of_about_one_size():
    small, large = picture(0, (16, 24)), picture(1, (200, 100))
    assert np.array_equal(images.to_cell(small, 50), np.kron(small, np.ones((2, 2, 1), np.uint8)))
    assert images.to_cell(large, 50).shape == (50, 25, 3)
    assert images.to_cell(small[..., 0], 24).shape == (16, 24)


def test_contact_sheet_holds_enlarged_pictures_and_labels():
    cells = [[picture(0, (8, 8)), picture(1, (8, 8))[..., 0]], [None, picture(2, (8, 8))]]
    plain = images.contact_sheet(cells, scale=3)
    labelled = images.contact_sheet(cells, ["one", "two"], ["guide", "a very long label"], 3)
    assert labelled.shape[0] > plain.shape[0] and labelled.shape[1] > plain.shape[1]
    big = np.kron(cells[0][0], np.ones((3, 3, 1), np.uint8))
    assert np.array_equal(plain[4:28, 4:28], big)
    assert np.array_equal(labelled[-56:-32, -56:-32], big)
    margin = labelled[:, : labelled.shape[1] - 56]
    assert (margin < 128).any()
    with pytest.raises(ValueError, match="there is no picture"):
        images.contact_sheet([[None]])


def test_a_region_of_a_segmentation_map(tmp_path, rng):
    labels = rng.integers(0, 4, (6, 9), np.uint8)
    grey, colored = tmp_path / "grey.png", tmp_path / "colored.png"
    Image.fromarray(labels).save(grey)
    palette = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255], [18, 52, 86]], np.uint8)
    Image.fromarray(palette[labels]).save(colored)
    assert np.array_equal(images.read_region(grey, (3, 3, 3), (6, 9)), labels == 3)
    assert np.array_equal(images.read_region(colored, (18, 52, 86), (6, 9)), labels == 3)
    assert np.array_equal(images.read_region(colored, (255, 0, 0), (6, 9), True), labels != 1)
    with pytest.raises(ValueError, match="has no pixel of #010203; it has #"):
        images.read_region(colored, (1, 2, 3), (6, 9))
    with pytest.raises(
        ValueError, match="segmentation map .* has 6x9 pixels .* the picture has 7x9"
    ):
        images.read_region(colored, (255, 0, 0), (7, 9))


def test_a_segmentation_map_is_exact(tmp_path):
    labels = np.repeat(np.array([[3, 200]], np.uint16), 4, axis=0)
    Image.fromarray(labels).save(tmp_path / "deep.png")
    Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "lossy.jpg")
    for name, kind in (("deep.png", "16-bit"), ("lossy.jpg", "JPEG")):
        with pytest.raises(ValueError, match=f"is {kind}; save it as 8-bit PNG"):
            images.read_region(tmp_path / name, (3, 3, 3), (4, 2))


def test_masks_in_levels_keep_what_may_change(rng):
    mask = rng.uniform(0, 1, (50, 50)).astype(np.float32)
    mask[0] = (0, 1, 1e-6, *[0.5 / 256] * 47)
    small = images.in_levels(mask)
    assert ((small > 0) == (mask > 0)).all() and np.abs(small - mask).max() <= 1 / 255
    assert np.array_equal(np.round(small * 255) / np.float32(255), small)


def test_masks_of_earlier_runs_are_no_masks_beside(tmp_path):
    images.write_png(tmp_path / "a_mask.png", np.full((4, 4), 255, np.uint8), {images.PART: "mask"})
    assert images.mask_beside(tmp_path / "a.png") is None
    images.write_png(tmp_path / "a_mask.png", np.full((4, 4), 255, np.uint8), overwrite=True)
    assert images.mask_beside(tmp_path / "a.png") == tmp_path / "a_mask.png"
    (tmp_path / "a_mask.jpg").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"several masks beside it: \['a_mask.jpg', 'a_mask.png'\]"
    ):
        images.mask_beside(tmp_path / "a.png")


def test_a_mask_is_none_of_the_matches_of_a_glob(tmp_path):
    for name in ("a.jpg", "a_mask.png", "b.png"):
        (tmp_path / name).touch()
    assert images.find_inputs(f"{tmp_path}/*.png") == [tmp_path / "b.png"]


def test_label_maps_of_16_bits(tmp_path):
    labels = np.uint16([[0, 1], [1, 0]])
    file = saved(Image.fromarray(labels), tmp_path / "labels.png")
    assert np.array_equal(images.read_mask(file, (2, 2)), labels)


def test_a_brush_with_premultiplied_colours_is_read_from_alpha(tmp_path):
    """Colours of small alpha are rounded there."""
    alpha = np.uint8([[0, 3, 60, 200, 255]])
    shown = np.round(np.float32([200, 30, 30]) * alpha[..., None] / 255)
    rgb = np.round(shown * 255 / np.maximum(alpha, 1)[..., None]).clip(0, 255).astype(np.uint8)
    file = saved(Image.fromarray(np.dstack([rgb, alpha])), tmp_path / "brush.png")
    with pytest.warns(UserWarning, match="in the alpha channel alone"):
        assert np.array_equal(images.read_mask(file, (1, 5)), alpha / np.float32(255))


@pytest.mark.parametrize(
    ("found", "wanted", "same"),
    [
        ((30, 32), (61, 64), True),  # half, rounded down
        ((16, 33), (33, 67), True),
        ((3, 4), (16, 16), False),
        ((100, 100), (100, 103), False),
    ],
)
def test_scaled_and_rounded_sizes_agree(found, wanted, same):
    if same:
        with pytest.warns(UserWarning, match="it is resized"):
            assert not images.agrees("mask", found, wanted)
    else:
        with pytest.raises(ValueError, match="the same proportions"):
            images.agrees("mask", found, wanted)


@pytest.mark.parametrize("image", [Image.new("RGB", (0, 0)), Image.new("F", (2, 2))])
def test_pil_images_without_levels_are_refused(image):
    with pytest.raises(ValueError, match="photo must be a PIL image with pixels of mode"):
        images.from_pil(image, "photo")


def test_a_feather_softens_the_edge_of_the_part_shown():
    """A crop of a wide picture: the ramp lies inside the window, and nothing else changes."""
    original, place = np.zeros((8, 24, 3), np.uint8), images.place((8, 24), (8, 8), "crop")
    edit, mask = np.full((8, 8, 3), 200, np.uint8), np.ones((8, 24), np.float32)
    out = images.unfit(edit, original, mask, place, 3)[4, :, 0]
    assert not out[:8].any() and not out[16:].any()
    assert np.array_equal(out[8:12], [50, 100, 150, 200]) and np.array_equal(
        out[8:16], out[15:7:-1]
    )


def test_grey_masks_grow_by_interpolation(rng):
    """Each pixel at twice the size is a mean of its neighbours, 3 : 1 along each axis."""
    mask = rng.uniform(0.1, 0.9, (1, 6)).astype(np.float32)
    got = images.resize_mask(mask, (1, 12))[0]
    assert np.allclose(got[2:10:2], 0.75 * mask[0, 1:5] + 0.25 * mask[0, 0:4], atol=1e-6)
    binary = (mask > 0.5).astype(np.float32)
    assert np.array_equal(images.resize_mask(binary, (1, 12)), binary.repeat(2, 1))
