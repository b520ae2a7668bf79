"""Tasks: what each one makes of pictures whose right answer is known."""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from scipy import ndimage

from sdedit_jax import images
from sdedit_jax.pipeline import outputs
from sdedit_jax.tasks import (
    colors,
    common,
    composite,
    fill,
    inpaint,
    outpaint,
    photo,
    recolor,
    regions,
    scribble,
    simulate,
    sketch,
    strokes,
)

EXAMPLES = Path(__file__).parent.parent / "examples"
few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)

RUNS = {
    "strokes": (strokes, "strokes/red_apple.png", {}),
    "scribble-layer": (scribble, "scribble/apple.png", {"strokes": "scribble/strokes"}),
    "scribble-difference": (scribble, "scribble/apple.png", {"painted": "scribble/painted"}),
    "scribble-mask": (scribble, "scribble/painted/apple.png", {"mask": "scribble/masks"}),
    "composite": (composite, "composite/tomato.jpg", {"patch": "composite/patches/star.png"}),
    "inpaint": (inpaint, "inpaint/apple.webp", {"mask": "inpaint/masks"}),
    "outpaint": (outpaint, "outpaint/apple.jpg", {"left": 64, "overlap": 8}),
    "recolor": (recolor, "recolor/apple.jpg", {"reference": "recolor/references/green.jpg"}),
    "recolor-auto": (recolor, "recolor/apple.jpg", {"palette": "#204010,#a0c040", "mask": "auto"}),
    "sketch": (sketch, "sketch/apple.png", {"hints": "sketch/hints", "lines": "held"}),
    "simulate": (simulate, "recolor/apple.jpg", {}),
}


def example(name, size=(64, 64), fit="crop", **more):
    module, path, options = RUNS[name]
    here = dict(options)
    for key in {"strokes", "painted", "mask", "patch", "reference", "hints"} & set(here):
        here[key] = here[key] if here[key] == "auto" else str(EXAMPLES / here[key])
    return module.make(str(EXAMPLES / path), {**here, **more}, size, fit)


def write(path, array):
    Image.fromarray(array).save(path)
    return str(path)


def noise(seed, size):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def square(size, top, left, side):
    mask = np.zeros(size, np.uint8)
    mask[top : top + side, left : left + side] = 255
    return mask


# All tasks


@pytest.mark.parametrize("fit", images.FITS)
@pytest.mark.parametrize("size", [(48, 48), (32, 56)])
@pytest.mark.parametrize("name", RUNS)
def test_every_task_keeps_the_contract(name, size, fit):
    if name == "outpaint" and fit in ("crop", "mask"):
        size = (48, 48)  # a fit that cuts off the border is an error
    got = example(name, size, fit)
    assert got.guide.image.shape == (*size, 3) and got.guide.image.dtype == np.float32
    assert got.guide.mask.shape == (*size, 1) and got.guide.mask.dtype == np.float32
    assert np.array_equal(images.from_unit(got.guide.image), got.fitted)
    assert np.array_equal(got.guide.mask[..., 0], got.mask > 0)
    assert got.mask.min() >= 0 and got.mask.max() == 1
    assert np.array_equal(got.fitted[got.mask == 0], got.kept[got.mask == 0])
    assert got.original.shape[:2] == got.original_mask.shape == got.placement.source
    if name != "sketch":  # its lines are grown at the prior's size only
        small = images.fit_mask(got.original_mask, got.placement)
        assert np.array_equal(got.mask, images.in_levels(small))
    assert got.id == Path(RUNS[name][1]).stem


@pytest.mark.parametrize("name", RUNS)
def test_kept_pixels_of_the_guide_are_those_of_the_input(name):
    """At the input's own size the guide equals the input where nothing may change."""
    if name == "sketch":
        pytest.skip("the guide of a sketch is filled with colours beside its held lines")
    got = example(name, (256, 256))
    assert np.array_equal(got.fitted[got.mask == 0], got.original[got.mask == 0])


@pytest.mark.parametrize("name", RUNS)
def test_every_task_takes_a_strength_map(name, tmp_path):
    """It is 0 where the mask is 0, and what it keeps is kept at both sizes; white is none."""
    plain = example(name, fit="stretch")
    height, width = plain.original.shape[:2]
    ramp = np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))
    ramp = ramp[:, ::-1].copy()
    ramp[:, -width // 3 :] = 0
    got = example(name, fit="stretch", strength_map=write(tmp_path / "ramp.png", ramp))
    shares = got.guide.strength_map
    assert shares.shape == (*got.mask.shape, 1) and shares.dtype == np.float32
    assert np.array_equal(shares[..., 0] > 0, got.mask > 0)
    assert np.array_equal(got.mask > 0, got.guide.mask[..., 0] > 0) and got.mask.any()
    assert np.array_equal(images.in_levels(shares), shares)
    assert np.array_equal(got.fitted[got.mask == 0], got.kept[got.mask == 0])
    assert np.array_equal(got.original_mask, plain.original_mask * (ramp > 0))
    whole = write(tmp_path / "white.png", np.full_like(ramp, 255))
    white = example(name, fit="stretch", strength_map=whole)
    assert np.array_equal(white.guide.strength_map, plain.guide.mask)
    assert np.array_equal(white.fitted, plain.fitted) and np.array_equal(white.mask, plain.mask)


def test_a_strength_map_is_fitted_by_its_shares_above_zero(tmp_path):
    """Black has the extent of the mask; the rest of a pixel's box gives the mean share."""
    path, levels = write(tmp_path / "a.png", noise(0, (8, 8))), np.full((8, 8), 102, np.uint8)
    levels[:, :3], levels[:, 6:] = 0, 204
    options = {"strength_map": write(tmp_path / "s.png", levels)}
    got = photo.make(path, options, (4, 4), "crop")
    assert np.array_equal(got.guide.strength_map[0, :, 0], np.float32([0, 102, 102, 204]) / 255)
    assert np.allclose(got.mask[0], [0, 0.5, 1, 1], atol=1 / 255)
    black = {"strength_map": write(tmp_path / "black.png", 0 * levels)}
    with pytest.raises(ValueError, match="strength map .*black.png is black everywhere; white"):
        photo.make(path, black, (4, 4), "crop")
    wide = {"strength_map": write(tmp_path / "wide.png", levels[:4])}
    with pytest.raises(ValueError, match="strength_map .* 4x8 pixels .* the picture has 8x8"):
        photo.make(path, wide, (4, 4), "crop")


@pytest.mark.parametrize("name", RUNS)
def test_unknown_and_ill_typed_options_are_named(name):
    with pytest.raises(ValueError, match=r"\['colour', 'foo'\] are unknown"):
        example(name, foo=1, colour=2)
    with pytest.raises(ValueError, match="background must be a text, got 3"):
        example(name, background=3)
    with pytest.raises(ValueError, match="fit must be one of"):
        example(name, fit="zoom")


def test_input_size_and_form_do_not_matter(tmp_path):
    """The same mask drawn at four times the size gives the same fitted mask and guide."""
    photo, mask = noise(0, (16, 16)), square((16, 16), 4, 5, 6)
    got = []
    for k in (1, 4):
        path = write(tmp_path / f"{k}.png", np.kron(photo // 8 * 0 + 90, np.ones((k, k, 1), "u1")))
        options = {"mask": write(tmp_path / f"m{k}.png", np.kron(mask, np.ones((k, k), "u1")))}
        got.append(inpaint.make(path, options, (16, 16), "crop"))
    assert np.array_equal(got[0].mask, mask / 255) and np.array_equal(got[1].mask, mask / 255)
    assert np.array_equal(got[0].fitted, got[1].fitted)


def test_crop_that_loses_the_mask_is_an_error(tmp_path):
    path = write(tmp_path / "a.png", noise(0, (8, 30)))
    mask = write(tmp_path / "m.png", square((8, 30), 2, 1, 4))
    with pytest.raises(ValueError, match="mask of .*: fit 'crop' leaves nothing of it at"):
        inpaint.make(path, {"mask": mask}, (8, 8), "crop")
    assert inpaint.make(path, {"mask": mask}, (8, 8), "pad").mask.any()


def test_folders_of_masks_go_by_stem(tmp_path):
    (tmp_path / "masks").mkdir()
    for i, name in enumerate("ab"):
        write(tmp_path / f"{name}.png", noise(i, (8, 8)))
        write(tmp_path / "masks" / f"{name}.png", square((8, 8), 2 * i, 2, 4))
    for i, name in enumerate("ab"):
        options = {"mask": str(tmp_path / "masks")}
        got = inpaint.make(str(tmp_path / f"{name}.png"), options, (8, 8), "crop")
        assert np.array_equal(got.mask, square((8, 8), 2 * i, 2, 4) / 255)


# Strokes


def test_strokes_are_laid_on_white_or_the_background(tmp_path):
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[2:5, 2:5] = (200, 10, 20, 255)
    path = write(tmp_path / "a.png", rgba)
    white = strokes.make(path, {}, (8, 8), "crop")
    blue = strokes.make(path, {"background": "blue"}, (8, 8), "crop")
    assert (white.mask == 1).all()
    assert white.fitted[0, 0].tolist() == [255] * 3 and blue.fitted[0, 0].tolist() == [0, 0, 255]
    assert white.fitted[3, 3].tolist() == blue.fitted[3, 3].tolist() == [200, 10, 20]


# Scribble


@pytest.fixture
def scribbled(tmp_path):
    """A photo, a layer with one stroke, the painted photo, the stroke's mask."""
    photo, stroke = noise(0, (20, 20)) // 2, square((20, 20), 5, 8, 6)
    color = np.array([250, 240, 30], np.uint8)
    layer = np.dstack([np.broadcast_to(color, photo.shape), stroke])
    painted = np.where(stroke[..., None] > 0, color, photo)
    paths = {
        "photo": write(tmp_path / "photo.png", photo),
        "strokes": write(tmp_path / "strokes.png", layer),
        "painted": write(tmp_path / "painted.png", painted),
        "mask": write(tmp_path / "mask.png", stroke),
    }
    return paths, painted, stroke > 0


@pytest.mark.parametrize("source", ["strokes", "painted", "painted mask", "strokes mask"])
@pytest.mark.parametrize("grow", [0, 2])
def test_three_sources_of_strokes_agree(scribbled, source, grow):
    paths, painted, stroke = scribbled
    options = {"grow": grow, **{name: paths[name] for name in source.split()}}
    got = scribble.make(paths["photo"], options, (20, 20), "crop")
    assert np.array_equal(got.fitted, painted)
    wide = stroke if "mask" in source else ndimage.maximum_filter(stroke, 2 * grow + 1)
    assert np.array_equal(got.mask, wide)
    assert np.array_equal(got.original, images.read(paths["photo"]).rgb)


def test_no_strokes_found(scribbled, tmp_path):
    paths, _, _ = scribbled
    empty = write(tmp_path / "none.png", np.zeros((20, 20, 4), np.uint8))
    black = write(tmp_path / "black.png", np.zeros((20, 20), np.uint8))
    for options in ({"strokes": empty}, {"painted": paths["photo"]}):
        with pytest.raises(ValueError, match="no strokes found for .*photo.png"):
            scribble.make(paths["photo"], options, (20, 20), "crop")
    with pytest.raises(ValueError, match="mask .*black.png is black everywhere"):
        scribble.make(paths["photo"], {"mask": black}, (20, 20), "crop")
    with pytest.raises(ValueError, match="needs one of"):
        scribble.make(paths["photo"], {}, (20, 20), "crop")
    with pytest.raises(ValueError, match="no alpha channel"):
        scribble.make(paths["photo"], {"strokes": paths["painted"]}, (20, 20), "crop")


def test_a_layer_of_another_size_names_both(scribbled, tmp_path):
    paths, _, _ = scribbled
    layer = write(tmp_path / "small.png", np.zeros((10, 12, 4), np.uint8))
    with pytest.raises(
        ValueError,
        match="strokes .*small.png has 10x12 pixels .height x width., the picture has 20x20",
    ):
        scribble.make(paths["photo"], {"strokes": layer}, (20, 20), "crop")


# Composite


@pytest.mark.parametrize("where", [{"x": 0.4, "y": 0.7}, {"x": 8, "y": 14, "units": "pixel"}])
def test_composite_puts_the_patch_at_its_place(tmp_path, where):
    photo, patch = noise(0, (20, 20)), noise(1, (4, 6))
    alpha = np.full((4, 6), 255, np.uint8)
    alpha[0] = 0
    options = {"patch": write(tmp_path / "p.png", np.dstack([patch, alpha])), "seam": 1, **where}
    got = composite.make(write(tmp_path / "a.png", photo), options, (20, 20), "crop")
    wanted, shown = photo.copy(), np.zeros((20, 20), bool)
    wanted[13:16, 5:11], shown[13:16, 5:11] = patch[1:], True
    assert np.array_equal(got.fitted, wanted)
    assert np.array_equal(got.mask, ndimage.binary_dilation(shown, np.ones((3, 3))))
    assert np.array_equal(got.original, photo)


@few
@given(seed=seeds, row=st.integers(-6, 14), column=st.integers(-6, 14))
def test_patches_are_cut_at_the_border(seed, row, column):
    photo, patch = noise(seed, (12, 10)), noise(seed + 1, (5, 4))
    guide, alpha = composite.lay(
        photo, images.Picture(patch, np.full((5, 4), 255, np.uint8)), (row, column)
    )
    large = np.pad(photo, [(20, 20), (20, 20), (0, 0)])
    large[20 + row : 25 + row, 20 + column : 24 + column] = patch
    assert np.array_equal(guide, large[20:32, 20:30])
    inside = max(0, min(12, row + 5) - max(0, row)) * max(0, min(10, column + 4) - max(0, column))
    assert np.count_nonzero(alpha) == inside


def test_patch_scale_and_errors(tmp_path):
    path = write(tmp_path / "a.png", np.zeros((20, 20, 3), np.uint8))
    patch = write(tmp_path / "p.png", np.full((4, 4, 3), 200, np.uint8))
    got = composite.make(path, {"patch": patch, "scale": 2.5, "seam": 0}, (20, 20), "crop")
    assert np.array_equal(got.mask, square((20, 20), 5, 5, 10) / 255)
    assert (got.fitted[5:15, 5:15] == 200).all() and got.fitted.sum() == 100 * 600
    with pytest.raises(ValueError, match="shows nothing"):
        composite.make(path, {"patch": patch, "x": 3.0}, (20, 20), "crop")
    with pytest.raises(ValueError, match="scale must be above 0"):
        composite.make(path, {"patch": patch, "scale": 0.0}, (20, 20), "crop")
    with pytest.raises(ValueError, match="at most 8 times the sides of the picture, 160"):
        composite.make(path, {"patch": patch, "scale": 1e9}, (20, 20), "crop")
    with pytest.raises(ValueError, match="scale must be a finite number, got inf"):
        composite.make(path, {"patch": patch, "scale": np.inf}, (20, 20), "crop")
    with pytest.raises(ValueError, match="units must be one of"):
        composite.make(path, {"patch": patch, "units": "cm"}, (20, 20), "crop")


# Inpaint


def solved(photo, hole):
    """Laplace's equation in the hole by a direct sparse solver."""
    height, width = hole.shape
    index = np.arange(hole.size).reshape(hole.shape)
    pairs = np.concatenate(
        [
            np.stack([index[:-1].ravel(), index[1:].ravel()]),
            np.stack([index[:, :-1].ravel(), index[:, 1:].ravel()]),
        ],
        axis=1,
    )
    ones = np.ones(pairs.shape[1])
    graph = scipy.sparse.coo_array((ones, pairs), shape=(hole.size, hole.size)).tocsr()
    laplacian = scipy.sparse.csgraph.laplacian(graph + graph.T).tocsr()
    inside, values = hole.ravel(), photo.reshape(-1, 3).astype(float)
    right = -laplacian[inside][:, ~inside] @ values[~inside]
    values[inside] = scipy.sparse.linalg.spsolve(laplacian[inside][:, inside].tocsc(), right)
    return values.reshape(photo.shape)


@pytest.mark.parametrize("seed", range(4))
def test_smooth_fill_solves_laplace(seed):
    rng = np.random.default_rng(seed)
    photo = ndimage.gaussian_filter(noise(seed, (40, 50)), (3, 3, 0))
    hole = ndimage.gaussian_filter(rng.standard_normal((40, 50)), 4) > 0
    filled = fill.fill_smooth(photo, hole)
    assert np.abs(filled - solved(photo, hole)).max() <= 0.6
    assert np.array_equal(filled[~hole], photo[~hole])


def test_smooth_fill_continues_a_ramp():
    y, x = np.mgrid[:96, :96]
    ramp = np.stack([x, y, x + y], -1).astype(np.uint8)
    hole = (x - 40) ** 2 + (y - 50) ** 2 < 30**2
    photo = np.where(hole[..., None], 255, ramp).astype(np.uint8)
    assert np.abs(fill.fill_smooth(photo, hole).astype(int) - ramp).max() <= 1


def test_mean_fill_is_the_mean_of_the_ring():
    photo = np.full((64, 64, 3), 10, np.uint8)
    photo[20:40, 20:40] = (255, 0, 255)
    photo[18:42, 18:42][:2] = (90, 60, 30)
    hole = square((64, 64), 20, 20, 20) > 0
    ring = ndimage.binary_dilation(hole, np.ones((5, 5))) & ~hole
    filled = fill.fill_mean(photo, hole)
    assert np.abs(filled[hole] - photo[ring].mean(0)).max() <= 0.5
    assert np.array_equal(filled[~hole], photo[~hole])


def test_noise_fill_has_the_kept_pixels_law_and_is_repeatable(tmp_path):
    rng = np.random.default_rng(0)
    photo = np.clip(rng.normal((120, 90, 140), (20, 10, 15), (128, 128, 3)), 0, 255).astype("u1")
    hole = square((128, 128), 20, 20, 90)
    options = {"mask": write(tmp_path / "m.png", hole), "fill": "noise"}
    got = inpaint.make(write(tmp_path / "a.png", photo), options, (128, 128), "crop")
    inside, kept = got.fitted[hole > 0], photo[hole == 0]
    # 8100 draws: means within 5 standard errors, spreads within 5 %
    assert (np.abs(inside.mean(0) - kept.mean(0)) < 5 * kept.std(0) / 90 + 0.1).all()
    assert np.allclose(inside.std(0), kept.std(0), rtol=0.05)
    again = inpaint.make(str(tmp_path / "a.png"), options, (128, 128), "crop")
    assert np.array_equal(got.fitted, again.fitted)


def test_a_fill_without_kept_pixels_names_the_remedy(tmp_path):
    path = write(tmp_path / "a.png", noise(0, (8, 8)))
    white = {"mask": write(tmp_path / "m.png", np.full((8, 8), 255, np.uint8))}
    for rule in ("smooth", "mean", "noise"):
        with pytest.raises(ValueError, match=f"fill .{rule}. needs kept .*options.fill=original"):
            inpaint.make(path, {**white, "fill": rule}, (8, 8), "crop")
    assert (inpaint.make(path, {**white, "fill": "original"}, (8, 8), "crop").mask == 1).all()


def test_original_fill_and_soft_masks(tmp_path):
    photo = noise(0, (16, 16))
    mask = (np.arange(256).reshape(16, 16)).astype(np.uint8)
    options = {"mask": write(tmp_path / "m.png", mask), "fill": "original"}
    path = write(tmp_path / "a.png", photo)
    assert np.array_equal(inpaint.make(path, options, (16, 16), "crop").fitted, photo)
    soft = inpaint.make(path, {**options, "fill": "mean"}, (16, 16), "crop")
    flat = fill.fill_mean(photo, mask > 0)
    assert np.array_equal(soft.fitted, flat) and np.array_equal(soft.kept, photo)
    assert np.array_equal(soft.mask, mask / np.float32(255))


def test_inpaint_errors(tmp_path):
    path = write(tmp_path / "a.png", noise(0, (8, 8)))
    black = write(tmp_path / "m.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(ValueError, match="black everywhere; white marks what may change"):
        inpaint.make(path, {"mask": black}, (8, 8), "crop")
    with pytest.raises(ValueError, match="covers the whole picture"):
        inpaint.make(path, {"mask": black, "invert": True}, (8, 8), "crop")
    with pytest.raises(ValueError, match="fill must be one of"):
        inpaint.make(path, {"mask": black, "fill": "grey"}, (8, 8), "crop")
    with pytest.raises(ValueError, match="needs the task option mask"):
        inpaint.make(path, {}, (8, 8), "crop")


def test_a_hole_is_filled_from_fully_kept_pixels_alone(tmp_path):
    """The fill does not change with the pixels under a grey mask, for every rule but original."""
    photo, mask = noise(0, (24, 24)), np.zeros((24, 24), np.uint8)
    mask[6:18, 6:18], mask[9:15, 9:15] = 40, 255
    other = photo.copy()
    other[mask > 0] = noise(1, (24, 24))[mask > 0]
    options = {"mask": write(tmp_path / "m.png", mask)}
    for rule in ("smooth", "mean", "noise"):
        made = [
            inpaint.make(write(tmp_path / "a.png", p), {**options, "fill": rule}, (24, 24), "crop")
            for p in (photo, other)
        ]
        assert np.array_equal(made[0].fitted, made[1].fitted), rule
        assert not np.array_equal(made[0].kept, made[1].kept)


def changed(got, edit, size, output="original"):
    """The result of an edit uint8 of the size of the edit, by output."""
    return outputs.finished(images.to_unit(edit), got, output).picture


@pytest.mark.parametrize("task", [inpaint, photo])
def test_a_grey_mask_leaves_its_share_of_the_change(task, tmp_path):
    """photo + mask (edit - photo), rounded; at the input's own size in both outputs."""
    rgb, edit = noise(0, (16, 16)), noise(1, (16, 16))
    mask = np.uint8(rng_levels := np.arange(256).reshape(16, 16))
    options = {"mask": write(tmp_path / "m.png", mask)}
    got = task.make(write(tmp_path / "a.png", rgb), options, (16, 16), "crop")
    wanted = rgb + rng_levels[..., None] / 255 * (edit.astype(float) - rgb)
    for output in outputs.OUTPUTS:
        assert np.abs(changed(got, edit, 16, output) - wanted).max() <= 0.501


def test_an_enlarged_change_keeps_the_detail_of_the_photo(tmp_path):
    """A change by one colour at a quarter of the size: photo + mask times it, at full size."""
    rgb = 100 + noise(0, (32, 32)) // 8
    mask = np.full((32, 32), 255, np.uint8)
    mask[:8], mask[8:16], mask[16:20] = 0, 1, 128
    path, options = write(tmp_path / "a.png", rgb), {"mask": write(tmp_path / "m.png", mask)}
    got = photo.make(path, options, (8, 8), "crop")
    back = changed(got, got.fitted + np.uint8(40), 8)
    share = mask[..., None] / 255
    assert np.array_equal(back, np.rint(rgb + share * 40).astype(np.uint8))


def test_without_detail_the_edit_alone_is_enlarged(tmp_path):
    rgb = noise(0, (32, 32))
    got = photo.make(write(tmp_path / "a.png", rgb), {"detail": False}, (8, 8), "crop")
    edit = np.full((8, 8, 3), 90, np.uint8)
    assert (changed(got, edit, 8) == 90).all()


def test_transparent_parts_are_no_foreground(tmp_path):
    rgba = np.full((32, 32, 4), (60, 90, 160, 255), np.uint8)
    rgba[10:20, 10:20, :3] = (200, 30, 30)
    rgba[:6, :6, 3] = 0
    options = {"mask": "auto", "palette": "#00ff00"}
    got = recolor.make(write(tmp_path / "a.png", rgba), options, (32, 32), "crop")
    assert np.array_equal(got.mask > 0, square((32, 32), 10, 10, 10) > 0)


def test_strokes_are_enlarged_without_their_sharp_rim(tmp_path):
    """Where the guide is painted the enlarged edit stands alone; elsewhere the photo's detail."""
    rgb = noise(0, (64, 64)) // 4
    layer = np.zeros((64, 64, 4), np.uint8)
    layer[24:40, 24:40] = (255, 0, 0, 255)
    options = {"strokes": write(tmp_path / "s.png", layer), "grow": 3.0}
    got = scribble.make(write(tmp_path / "a.png", rgb), options, (16, 16), "crop")
    edit = np.full((16, 16, 3), 90, np.uint8)
    back = changed(got, edit, 16)
    assert np.array_equal(back[got.original_mask == 0], rgb[got.original_mask == 0])
    assert np.abs(back[20:44, 20:44].astype(int) - 90).max() <= 1
    assert back[13:18, 13:50].std() > 5  # the ring keeps the photo's noise


@pytest.mark.parametrize("opaque", [False, True])
def test_alpha_comes_back_with_the_picture(opaque, tmp_path):
    """Kept pixels are the file's; edited ones look over the background as without alpha."""
    rgba = np.dstack([noise(0, (32, 32)), noise(1, (32, 32))[..., 0]])
    rgba[:4, :, 3] = 0
    mask = square((32, 32), 0, 8, 16)
    options = {"mask": write(tmp_path / "m.png", mask), "opaque": opaque, "background": "#ff0000"}
    got = photo.make(write(tmp_path / "a.png", rgba), options, (32, 32), "crop")
    edit = images.flatten(images.Picture(rgba[..., :3], rgba[..., 3]), (255, 0, 0))
    edit = np.where(mask[..., None] > 0, edit // 2 + 64, edit).astype(np.uint8)
    back = changed(got, edit, 32)
    assert back.shape == (32, 32, 4)
    assert np.array_equal(back[mask == 0], rgba[mask == 0])
    alpha = np.where(mask > 0, 255, rgba[..., 3]) if opaque else rgba[..., 3]
    assert np.array_equal(back[..., 3], alpha)
    if opaque:
        assert np.array_equal(back[mask > 0][:, :3], edit[mask > 0])
    clear = (mask > 0) & (alpha == 0)
    assert np.array_equal(back[clear], rgba[clear])
    reachable = (alpha > 250)[..., None]  # others may need a colour that no level gives
    over = images.over(back[..., :3], alpha, np.broadcast_to(np.uint8([255, 0, 0]), edit.shape))
    assert (np.abs(over.astype(int) - edit) * reachable).max() <= 1


def test_a_hole_that_stays_transparent_is_refused(tmp_path):
    """Nothing would show; with opaque it does."""
    rgba = np.dstack([noise(0, (16, 16)), 255 - square((16, 16), 2, 2, 6)])
    path = write(tmp_path / "a.png", rgba)
    options = {"mask": write(tmp_path / "m.png", square((16, 16), 3, 3, 4))}
    got = inpaint.make(path, options, (16, 16), "crop")
    assert outputs.check_visible(got, "prior") is got
    with pytest.raises(ValueError, match="a: all that may change is transparent.*opaque"):
        outputs.check_visible(got, "original")
    got = inpaint.make(path, {**options, "opaque": True}, (16, 16), "crop")
    assert outputs.check_visible(got, "original") is got


def test_little_alpha_keeps_its_colours_where_little_changes(tmp_path):
    """A mask of 1/255 and no change: the file's own pixels, bit for bit."""
    rgba = np.dstack([noise(0, (16, 16)), noise(1, (16, 16))[..., 0] % 4])
    mask = np.full((16, 16), 255, np.uint8)
    mask[:8] = 2
    options = {"mask": write(tmp_path / "m.png", mask)}
    got = photo.make(write(tmp_path / "a.png", rgba), options, (16, 16), "crop")
    assert np.array_equal(changed(got, got.fitted, 16), rgba)


def test_the_border_of_an_outpainted_picture_is_opaque(tmp_path):
    rgba = np.dstack([noise(0, (16, 16)), noise(1, (16, 16))[..., 0]])
    got = outpaint.make(write(tmp_path / "a.png", rgba), {"right": 16}, (16, 32), "crop")
    back = changed(got, noise(3, (16, 32)), 16)
    assert np.array_equal(back[:, :16], rgba) and (back[:, 16:, 3] == 255).all()


def test_the_mask_beside_a_picture_is_its_mask(tmp_path):
    """Without options.mask, in a folder of masks, and with another suffix."""
    path, mask = write(tmp_path / "a.png", noise(0, (8, 8))), square((8, 8), 1, 2, 4)
    write(tmp_path / "a_mask.png", mask)
    assert np.array_equal(inpaint.make(path, {}, (8, 8), "crop").mask, mask / 255)
    folder = {"mask": str(tmp_path)}
    assert np.array_equal(inpaint.make(path, folder, (8, 8), "crop").mask, mask / 255)
    with pytest.raises(ValueError, match=r"a mask beside .*a.png, a-m.png"):
        inpaint.make(path, {"mask_suffix": "-m"}, (8, 8), "crop")
    write(tmp_path / "a-m.png", 255 - mask)
    got = inpaint.make(path, {"mask_suffix": "-m"}, (8, 8), "crop")
    assert np.array_equal(got.mask, 1 - mask / 255)
    assert photo.make(path, {"mask_suffix": ""}, (8, 8), "crop").mask.all()


@pytest.mark.parametrize("factor", [2, 0.5])
def test_layers_and_copies_of_another_size_are_resized(factor, tmp_path):
    """Masks, strokes, painted copies and hints of the same picture at another size."""

    def at(array):
        big = np.kron(array, np.ones((2, 2) + (1,) * (array.ndim - 2), np.uint8))
        return write(tmp_path / f"{array.ndim}{array.shape[-1]}.png", big if factor == 2 else array)

    size = (16, 16) if factor == 2 else (32, 32)
    rgb = np.full((*size, 3), 200, np.uint8)
    path = write(tmp_path / "a.png", rgb)
    inside = np.zeros((16, 16), bool)
    inside[4:8, 6:10] = True
    layer = np.zeros((16, 16, 4), np.uint8)
    layer[inside] = (250, 0, 0, 255)
    copy = np.full((16, 16, 3), 200, np.uint8)
    copy[inside] = (250, 0, 0)
    where = inside if factor == 2 else np.kron(inside, np.ones((2, 2), bool))
    with pytest.warns(UserWarning, match="it is resized"):
        got = inpaint.make(path, {"mask": at(np.uint8(255 * inside))}, size, "crop")
    assert np.array_equal(got.mask, where)
    for options in ({"strokes": at(layer)}, {"painted": at(copy)}):
        with pytest.warns(UserWarning, match="it is resized"):
            got = scribble.make(path, {**options, "grow": 0.0}, size, "crop")
        assert (got.mask[where] == 1).all() and got.mask.mean() <= 2.5 * where.mean()
        middle = np.argwhere(where).mean(0).astype(int)
        assert np.abs(got.fitted[tuple(middle)] - np.int16([250, 0, 0])).max() <= 20


def test_another_shape_is_refused_and_nearly_the_same_is_not(tmp_path):
    path = write(tmp_path / "a.png", noise(0, (100, 100)))
    wide = {"mask": write(tmp_path / "m.png", np.full((100, 103), 255, np.uint8))}
    with pytest.raises(ValueError, match="100x103 .* both must have the same proportions"):
        photo.make(path, wide, (8, 8), "crop")
    near = {"mask": write(tmp_path / "n.png", np.full((100, 101), 255, np.uint8))}
    with pytest.warns(UserWarning, match="mask .*n.png has 100x101 .*; it is resized"):
        assert photo.make(path, near, (8, 8), "crop").mask.all()


def test_a_fit_that_shows_little_of_a_picture_says_so(tmp_path):
    path = write(tmp_path / "a.png", noise(0, (1, 200)))
    with pytest.warns(UserWarning, match="fit 'crop' shows 0.5% of its 1x200 pixels"):
        strokes.make(path, {}, (8, 8), "crop")
    strokes.make(path, {}, (8, 8), "pad")  # a warning would be an error here
    strokes.make(write(tmp_path / "b.png", noise(0, (10, 40))), {}, (8, 8), "crop")


def test_a_cast_shadow_belongs_to_the_background():
    """A red disc and a grey one with a soft shadow on light ground."""
    y, x = np.mgrid[:96, :128]
    ground = np.full((96, 128, 3), (240, 236, 230), float)
    dark = np.exp(-(((y - 74) / 9.0) ** 2) - ((x - 66) / 26.0) ** 2)
    photo = ground * (1 - 0.45 * dark[..., None])
    discs = [(y - 48) ** 2 + (x - c) ** 2 <= 20**2 for c in (44, 92)]
    for disc, color in zip(discs, ((200, 30, 40), (120, 118, 115)), strict=True):
        photo[disc] = color
    found = recolor.foreground(np.rint(photo).astype(np.uint8), 24)
    wanted = discs[0] | discs[1]
    assert (found & wanted).sum() / (found | wanted).sum() > 0.98
    levels = np.abs(photo - (240, 236, 230)).max(-1) > 24
    assert (levels & ~wanted).sum() > 500  # distance from the ground alone takes the shadow along


@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("noise_std", [0, 2])
@pytest.mark.parametrize(
    ("grey", "blur", "shadow"),
    [(110, 1, 0), (200, 1.5, 0), (160, 3, 0), (110, 2, 0.45), (130, 1, 0.45), (160, 0.7, 0.45)],
)
def test_a_grey_object_with_a_blurred_rim_is_no_shadow(grey, blur, shadow, noise_std, scale):
    """A disc, alone or over its soft shadow, at two sizes of the picture."""
    y, x = np.mgrid[: 96 * scale, : 128 * scale] / scale
    dark = shadow * np.exp(-(((y - 74) / 9) ** 2) - ((x - 66) / 26) ** 2)
    disc = (y - 48) ** 2 + (x - 64) ** 2 <= 20**2
    share = ndimage.gaussian_filter(disc.astype(float), blur * scale)[..., None]
    picture = np.array([240, 236, 230]) * (1 - dark[..., None]) * (1 - share) + grey * share
    picture += np.random.default_rng(0).normal(0, noise_std, picture.shape)
    found = recolor.foreground(np.clip(np.rint(picture), 0, 255).astype(np.uint8), 24)
    assert found[ndimage.binary_erosion(disc, iterations=3 * scale)].all()
    assert (found & disc).sum() / (found | disc).sum() > 0.8


@few
@given(seed=seeds, count=st.integers(2, 6))
def test_otsu_is_the_best_of_all_thresholds(seed, count):
    rng = np.random.default_rng(seed)
    grey = rng.choice(rng.integers(0, 256, count), (9, 11)).astype(np.uint8)

    def between(k):
        dark, light = grey[grey < k], grey[grey >= k]
        shares = dark.size * light.size
        return shares * (light.mean() - dark.mean()) ** 2 if shares else 0

    best = max(map(between, range(256)))
    assert between(sketch.otsu(grey)) == pytest.approx(best, rel=1e-9) or best == 0


def test_a_pencil_line_is_found(tmp_path):
    """Lines at level 200 on paper at 250: the default finds them, a threshold of 128 does not."""
    grey = np.full((64, 64), 250, np.uint8)
    grey[20:44, 20], grey[20:44, 43], grey[20, 20:44], grey[43, 20:44] = 200, 200, 200, 200
    path = write(tmp_path / "a.png", grey)
    got = sketch.make(path, {"colors": "#ff0000"}, (64, 64), "crop")
    assert (got.fitted[21:43, 21:43] == (255, 0, 0)).all() and (got.fitted[:20] == 250).all()
    with pytest.raises(ValueError, match="no lines darker than 128 found"):
        sketch.make(path, {"threshold": 128}, (64, 64), "crop")


def test_few_lines_get_a_warning(tmp_path):
    grey = np.full((100, 100), 250, np.uint8)
    grey[50, 40:59] = 10
    path = write(tmp_path / "a.png", grey)
    with pytest.warns(UserWarning, match="lines darker than .* cover 0.19% of it"):
        sketch.make(path, {}, (64, 64), "crop")
    grey[50, 40:60] = 10
    sketch.make(write(tmp_path / "a.png", grey), {}, (64, 64), "crop")


# Outpaint

SIDES = ("left", "right", "top", "bottom")


def extended(tmp_path, size, sides, **options):
    """A picture of noise, and what outpaint makes of it at its canvas's own size."""
    photo = noise(0, size)
    left, right, top, bottom = sides
    canvas = (size[0] + top + bottom, size[1] + left + right)
    path = write(tmp_path / "a.png", photo)
    options = {**dict(zip(SIDES, sides, strict=True)), **options}
    return photo, outpaint.make(path, options, canvas, "crop")


@pytest.mark.parametrize("fill", outpaint.FILLS)
@pytest.mark.parametrize("sides", [(3, 0, 0, 0), (0, 5, 2, 0), (4, 3, 2, 1), (0, 0, 0, 7)])
def test_outpaint_keeps_the_picture_and_masks_exactly_the_border(tmp_path, sides, fill):
    photo, got = extended(tmp_path, (12, 17), sides, fill=fill)
    left, _, top, _ = sides
    inside = np.zeros(got.original.shape[:2], bool)
    inside[top : top + 12, left : left + 17] = True
    assert np.array_equal(got.original_mask, ~inside) and np.array_equal(got.mask, ~inside)
    for shown in (got.original, got.fitted):
        assert np.array_equal(shown[inside].reshape(photo.shape), photo)


def test_the_overlap_lies_beside_the_border_only(tmp_path):
    _, got = extended(tmp_path, (12, 17), (4, 0, 0, 3), overlap=2)
    kept = np.zeros((15, 21), bool)
    kept[: 12 - 2, 4 + 2 :] = True
    assert np.array_equal(got.original_mask, ~kept)


@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_an_edit_of_the_border_comes_back_beside_exact_pixels(tmp_path, fit):
    """At another size and other proportions, as `output=original` pastes it."""
    path = write(tmp_path / "a.png", photo := noise(0, (40, 60)))
    got = outpaint.make(path, {"left": 15, "top": 8}, (24, 32), fit)
    assert got.fitted.shape == (24, 32, 3) and got.original.shape == (48, 75, 3)
    assert got.placement.source == (48, 75)
    edit = np.full((24, 32, 3), (9, 200, 30), np.uint8)
    back = images.unfit(edit, got.original, got.original_mask, got.placement)
    assert np.array_equal(back[8:, 15:], photo)
    assert (back[:8] == edit[0, 0]).all() and (back[:, :15] == edit[0, 0]).all()


def test_fills_of_the_border(tmp_path):
    y, x = np.mgrid[:20, :30]
    photo = np.stack([4 * y, np.full_like(y, 90), 250 - 6 * y], -1).astype(np.uint8)
    path = write(tmp_path / "a.png", photo)
    made = {
        fill: outpaint.make(path, {"right": 10, "fill": fill}, (20, 40), "crop").original[:, 30:]
        for fill in outpaint.FILLS
    }
    assert np.array_equal(made["edge"], np.repeat(photo[:, -1:], 10, axis=1))
    assert np.abs(made["mean"] - photo[:, -1].mean(0)).max() <= 0.5
    hole = np.zeros((20, 40), bool)
    hole[:, 30:] = True
    wide = np.pad(photo, ((0, 0), (0, 10), (0, 0)))
    assert np.abs(made["smooth"] - solved(wide, hole)[:, 30:]).max() <= 0.6


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, r"one of the task options \['left', 'right', 'top', 'bottom'\] above 0"),
        ({"left": -3}, "task option left must be at least 0 pixels, got -3"),
        ({"left": 3, "overlap": -1}, "task option overlap must be at least 0 pixels, got -1"),
        ({"left": 3, "overlap": 12}, "overlap must leave some of the picture's 8x12 .* got 12"),
        ({"left": 3, "overlap": 90}, "overlap must leave some of the picture's 8x12 .* got 90"),
        ({"top": 2.5}, "task option top must be a whole number, got 2.5"),
        ({"left": True}, "task option left must be a whole number, got True"),
        ({"top": 10**9}, r"\['left', .* at most 134 megapixels, got a canvas of 1000000008x12"),
        ({"left": 3, "fill": "original"}, r"fill must be one of \['smooth', .*'edge'\], got 'orig"),
        ({"left": 3}, "fit must be 'pad' or 'stretch' .* canvas of 8x15 .* at 8x12, got 'crop'"),
    ],
)
def test_outpaint_errors(tmp_path, options, told):
    with pytest.raises(ValueError, match=told):
        outpaint.make(write(tmp_path / "a.png", noise(0, (8, 12))), options, (8, 12), "crop")


# Recolor


def test_oklab_of_known_colours():
    """Values of Ottosson's post (rounded there to three digits) for sRGB white, red and blue."""
    rgb = np.array([[255, 255, 255], [255, 0, 0], [0, 0, 255]], np.uint8)
    known = [[1, 0, 0], [0.628, 0.2249, 0.1258], [0.452, -0.0324, -0.3115]]
    assert np.allclose(colors.to_oklab(rgb), known, atol=1e-3)


@few
@given(seed=seeds)
def test_oklab_gives_each_colour_back(seed):
    rgb = noise(seed, (20, 20))
    assert np.array_equal(colors.from_oklab(colors.to_oklab(rgb)), rgb)


@few
@given(seed=seeds)
def test_matching_its_own_colours_changes_nothing(seed):
    pixels = noise(seed, (10, 10)).reshape(-1, 3)
    shuffled = np.random.default_rng(seed).permutation(pixels)
    assert np.array_equal(colors.match_histogram(pixels, shuffled), pixels)
    assert np.array_equal(colors.match_statistics(pixels, shuffled), pixels)


def test_histogram_of_the_reference_is_reached():
    """Sliced Wasserstein distance to the reference falls to a few per cent of what it was."""
    rng = np.random.default_rng(0)
    red = np.clip(rng.normal((180, 40, 40), (30, 15, 10), (4000, 3)), 0, 255).astype(np.uint8)
    two = np.concatenate([rng.normal((60, 150, 50), 12, (3000, 3)), np.full((2000, 3), 250.0)])
    two = np.clip(two, 0, 255).astype(np.uint8)

    def distance(a, b):
        axes = rng.standard_normal((3, 20))
        at = np.linspace(0, 1, 200)
        quantiles = [np.quantile(colors.to_oklab(p) @ axes, at, axis=0) for p in (a, b)]
        return np.abs(quantiles[0] - quantiles[1]).mean()

    assert distance(colors.match_histogram(red, two), two) < 0.06 * distance(red, two)


def test_statistics_of_the_reference_are_reached():
    rng = np.random.default_rng(0)
    first = np.clip(rng.normal((150, 80, 80), 12, (5000, 3)), 0, 255).astype(np.uint8)
    second = np.clip(rng.normal((90, 130, 100), (8, 15, 11), (5000, 3)), 0, 255).astype(np.uint8)
    lab = colors.to_oklab(colors.match_statistics(first, second))
    goal = colors.to_oklab(second)
    assert np.allclose(lab.mean(0), goal.mean(0), atol=1e-3)
    assert np.allclose(lab.std(0), goal.std(0), rtol=0.03)


def test_palette_goes_from_dark_to_light():
    grey = np.repeat(np.array([20, 120, 235], np.uint8), [50, 30, 20])
    pixels = np.repeat(grey[:, None], 3, axis=1)
    palette = np.array([[250, 230, 120], [60, 20, 10], [190, 60, 40]], np.uint8)
    new = colors.match_palette(pixels, palette)
    assert (new[:50] == palette[1]).all()
    assert (new[50:80] == palette[2]).all() and (new[80:] == palette[0]).all()


def test_clusters_of_separated_values():
    values = np.concatenate([np.full(90, 1.0), np.full(5, 5.0), [8.0, 9.0]])
    centres = colors.clusters(values, 2)
    assert np.isclose(centres[0], 1) and np.isclose(centres[1], (25 + 17) / 7)


def test_foreground_is_what_stands_on_the_ground(tmp_path):
    photo = np.full((30, 30, 3), 250, np.uint8)
    photo[5:25, 8:22] = (180, 30, 30)
    photo[10:12, 10:12] = 255  # a highlight belongs to the thing
    thing = np.zeros((30, 30), bool)
    thing[5:25, 8:22] = True
    assert np.array_equal(recolor.foreground(photo, 24), thing)
    options = {"palette": ["#00ff00"], "mask": "auto"}
    got = recolor.make(write(tmp_path / "a.png", photo), options, (30, 30), "crop")
    assert np.array_equal(got.mask, thing)
    assert (got.fitted[~thing] == 250).all()
    assert (got.fitted[thing][:, 1] > got.fitted[thing][:, 0]).all()


@pytest.mark.parametrize(
    "given",
    ["#ff0000, 00ff00", "'#ff0000','#00ff00'", "[#ff0000;#00ff00]", "('red', \"lime\",)"]
    + [["red", "lime"], ("#f00,#0f0",), ["'f00'", "0f0"]]
    + ["rgb(255, 0, 0), lime", "[rgb(255,0,0);rgb(0,255,0)]", ["hsl(0, 100%, 50%)", "#0f0"]],
)
def test_a_palette_may_be_any_list(given):
    """With or without quotes and brackets, from a command line or from Python."""
    chosen = common.read_options(recolor.Options, {"palette": given})
    assert [images.color(text) for text in chosen.palette] == [(255, 0, 0), (0, 255, 0)]


@pytest.mark.parametrize("given", ["", (), (""), "[]", None])
def test_an_empty_palette_is_none(given):
    assert common.read_options(recolor.Options, {"palette": given}).palette == ()


@pytest.mark.parametrize("given", [112233, (112233,), [112233, 445566]])
def test_a_palette_of_numbers_is_told_how_to_write_it(given):
    with pytest.raises(ValueError, match="texts, got 112233; put quotes around each, as in palet"):
        common.read_options(recolor.Options, {"palette": given})


def test_recolor_errors(tmp_path):
    path = write(tmp_path / "a.png", np.full((8, 8, 3), 9, np.uint8))
    with pytest.raises(ValueError, match="one of the task options palette and reference"):
        recolor.make(path, {}, (8, 8), "crop")
    with pytest.raises(ValueError, match="color must be #rrggbb"):
        recolor.make(path, {"palette": "red,#12345"}, (8, 8), "crop")
    with pytest.raises(ValueError, match="no foreground found.*task option threshold, or"):
        recolor.make(path, {"palette": "red", "mask": "auto"}, (8, 8), "crop")


# Sketch


@few
@given(seed=seeds, height=st.integers(1, 25), width=st.integers(1, 25))
def test_spread_stays_in_its_region_and_enclosed_numbers_regions(seed, height, width):
    rng = np.random.default_rng(seed)
    walls = rng.random((height, width)) < 0.4
    label, _ = ndimage.label(~walls)
    seeds_ = rng.random((height, width)) < 0.1
    source = regions.spread(seeds_, walls)
    reached = source >= 0
    assert np.array_equal(reached, np.isin(label, np.unique(label[seeds_ & ~walls])) & ~walls)
    assert (label.ravel()[source[reached]] == label[reached]).all()
    assert (seeds_ & ~walls).ravel()[source[reached]].all()

    number = regions.enclosed(walls)
    ground = np.unique(label[regions.rim(walls.shape)])
    assert np.array_equal(number >= 0, ~walls & ~np.isin(label, ground))
    count = number.max() + 1
    sizes = [np.count_nonzero(number == k) for k in range(count)]
    assert sizes == sorted(sizes, reverse=True)
    assert all(len(np.unique(label[number == k])) == 1 for k in range(count))
    assert count == len(np.setdiff1d(np.unique(label[~walls]), ground))


def test_spread_takes_the_nearest_seed_along_the_way():
    walls = np.zeros((5, 7), bool)
    walls[:4, 3] = True
    seeds_ = np.zeros((5, 7), bool)
    seeds_[0, 0] = seeds_[0, 6] = True
    source = regions.spread(seeds_, walls)
    assert (source[:4, :3] == 0).all() and (source[:4, 4:] == 6).all()


@pytest.fixture
def drawing(tmp_path):
    """Two frames on white paper, the larger one first."""
    paper = np.full((24, 24), 255, np.uint8)
    for top, left, side in ((2, 2, 12), (16, 16, 6)):
        paper[top : top + side, left : left + side] = 0
        paper[top + 1 : top + side - 1, left + 1 : left + side - 1] = 255
    return write(tmp_path / "a.png", paper), paper


def test_sketch_lines_held_or_free(drawing):
    path, paper = drawing
    assert (sketch.make(path, {}, (24, 24), "crop").mask == 1).all()
    held = sketch.make(path, {"lines": "held", "grow": 0.0}, (24, 24), "crop")
    assert np.array_equal(held.mask, paper / 255)
    grown = sketch.make(path, {"lines": "held", "grow": 1.0}, (24, 24), "crop")
    assert np.array_equal(grown.mask, ndimage.minimum_filter(paper, 3) / 255)


def test_held_lines_survive_shrinking(tmp_path):
    paper = np.full((256, 256), 255, np.uint8)
    paper[:, 101] = 0
    got = sketch.make(write(tmp_path / "a.png", paper), {"lines": "held"}, (64, 64), "crop")
    assert (got.mask[:, 25] == 0).all()
    assert np.array_equal(got.original_mask, paper / 255)


def test_sketch_regions_are_filled_by_size_or_hints(drawing, tmp_path):
    path, paper = drawing
    got = sketch.make(path, {"colors": ("#ff0000", "#00ff00")}, (24, 24), "crop").fitted
    assert (got[3:13, 3:13] == [255, 0, 0]).all() and (got[17:21, 17:21] == [0, 255, 0]).all()
    assert (got[paper == 0] == 0).all() and (got[0] == 255).all()
    hints = np.zeros((24, 24, 4), np.uint8)
    hints[18, 18] = (10, 20, 200, 255)
    hinted = sketch.make(path, {"hints": write(tmp_path / "h.png", hints)}, (24, 24), "crop").fitted
    assert (hinted[17:21, 17:21] == [10, 20, 200]).all()
    wanted = np.repeat(paper[..., None], 3, -1)
    wanted[17:21, 17:21] = (10, 20, 200)
    assert np.array_equal(hinted, wanted)


def test_sketch_errors(drawing, tmp_path):
    path, _ = drawing
    with pytest.raises(ValueError, match="lines must be one of"):
        sketch.make(path, {"lines": "kept"}, (24, 24), "crop")
    with pytest.raises(ValueError, match="no lines found in .*one level"):
        sketch.make(write(tmp_path / "w.png", np.full((8, 8), 255, np.uint8)), {}, (8, 8), "crop")


def test_lines_that_are_paper_or_cover_all_are_named(tmp_path):
    y, x = np.mgrid[:64, :64]
    grey = (250 - 3 * np.hypot(y - 32, x - 32)).astype(np.uint8)  # unevenly lit paper
    grey[30, 10:50] = 20
    path = write(tmp_path / "a.png", grey)
    with pytest.warns(UserWarning, match="cover .*% of it; a lower --config.options.threshold"):
        sketch.make(path, {}, (64, 64), "crop")
    sketch.make(path, {"threshold": 50}, (64, 64), "crop")  # a warning would be an error here
    with pytest.raises(ValueError, match="grown by 60.0 pixels, cover all of it"):
        sketch.make(path, {"threshold": 50, "lines": "held", "grow": 60.0}, (64, 64), "crop")
    with pytest.raises(ValueError, match="threshold must be from 0 to 255, got -5"):
        sketch.make(path, {"threshold": -5}, (64, 64), "crop")


# Simulate


@pytest.mark.parametrize(
    "shape, width", [((30, 41), 3), ((64, 64), 5), ((40, 33), 13), ((9, 9), 15)]
)
def test_median_filter_is_pillows(shape, width):
    rgb = noise(0, shape)
    rgb[:10] //= 16
    wanted = Image.fromarray(rgb).filter(ImageFilter.MedianFilter(width))
    assert np.array_equal(simulate.median_filter(rgb, width), wanted)


def test_window_scales_with_the_picture():
    assert [simulate.window(side) for side in (16, 64, 256, 512, 1024)] == [3, 5, 23, 45, 91]


@pytest.mark.parametrize("count", [3, 6, 50])
def test_simulation_has_few_colours_and_is_the_papers_recipe(count):
    photo = images.read(EXAMPLES / "recolor/apple.jpg").rgb[::2, ::2]
    painting = simulate.simulate(photo, count)
    assert len(np.unique(painting.reshape(-1, 3), axis=0)) <= count
    blurred = Image.fromarray(photo).filter(ImageFilter.MedianFilter(11))
    wanted = blurred.convert("P", palette=Image.Palette.ADAPTIVE, colors=count).convert("RGB")
    assert np.array_equal(painting, wanted)


@pytest.mark.parametrize("options", [{"colors": 2}, {"colors": 51}, {"median": 4}])
def test_simulate_errors(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        example("simulate", **options)


@pytest.mark.parametrize(
    ("task", "options", "told"),
    [
        (recolor, {"palette": "red", "reference": "r.png"}, "palette .'red',., reference 'r.png'"),
        (sketch, {"colors": "red", "hints": "h.png"}, "options colors and hints, got .*hints="),
        (scribble, {"strokes": "s.png", "painted": "p.png"}, "strokes 's.png', painted 'p.png'"),
    ],
)  # fmt: skip
def test_options_that_exclude_each_other(tmp_path, task, options, told):
    """Named with their values, and how to clear one: the configs fill one in for the example."""
    with pytest.raises(ValueError, match=told):
        task.make(write(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8)), options, (8, 8), "crop")


def test_a_mask_may_be_a_region_of_a_map(tmp_path):
    """By hexadecimal code or name, in a file or a folder; a file of that very name goes before."""

    def read(where):
        return common.read_mask(common.MaskOptions(mask=where), "a.png", (8, 8))

    labels = np.zeros((8, 8, 3), np.uint8)
    labels[2:5, 1:4] = (255, 0, 0)
    wanted = (labels == (255, 0, 0)).all(axis=-1)
    (tmp_path / "maps").mkdir()
    file = write(tmp_path / "maps" / "a.png", labels)
    for where in (f"{file}#ff0000", f"{file}#f00", f"{file}#red", f"{tmp_path / 'maps'}#ff0000"):
        assert np.array_equal(read(where), wanted)
    with pytest.raises(ValueError, match="no such file"):
        read(str(tmp_path / "run#1" / "none.png"))
    with pytest.raises(ValueError, match="palette must be texts, got 112233; put quotes"):
        common.read_options(recolor.Options, {"palette": (112233, 445566)})
    for where, told in ((f"{file}#blue", "no pixel of #0000ff"), (f"{file}#rod", "CSS name")):
        with pytest.raises(ValueError, match=told):
            read(where)
    odd = write(tmp_path / "a#red.png", np.full((8, 8), 255, np.uint8))
    assert read(odd).all()
