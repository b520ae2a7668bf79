"""Priors of grey pictures: training, conversion, edits of every task, replay, Python."""

import json

import jax
import numpy as np
import pytest
from PIL import Image
from program import (
    ROOT,
    SIZE,
    config_of,
    grey_prior,
    known,
    levels,
    names,
    noted,
    picture,
    recipe,
    refused,
    run,
    small,
    tiny_net,
)
from safetensors.numpy import save_file
from seeded_weights import seeded
from test_replay import replayed
from test_unet2d import PLAIN, put

import sdedit_jax as sj
from sdedit_jax import images, registry
from sdedit_jax.data.pictures import Source, source
from sdedit_jax.modes.train import metadata_of
from sdedit_jax.nets.functional import Network
from sdedit_jax.nets.unet2d import UNet2D, UNet2DConfig
from sdedit_jax.tasks import arrays
from sdedit_jax.training.augment import Augment, change
from sdedit_jax.training.retake import View, retake
from sdedit_jax.weights import store

TASKS = (
    "strokes", "scribble", "composite", "inpaint", "outpaint", "recolor", "sketch", "simulate",
)  # fmt: skip


def grey_of(rgb):
    return np.asarray(Image.fromarray(rgb).convert("L"))


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def edited(task, **changes):
    """A config of one task with the grey prior."""
    changes = {"prior": grey_prior(), "samples": 1, "t0": 0.3, **changes}
    if task == "outpaint":
        changes["fit"] = "pad"
    return small(task, **changes)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_gives_grey_pictures(task, tmp_path):
    """Results and guides are grey PNGs; kept pixels are those of the guide, exactly."""
    assert run(edited(task), tmp_path) == 0
    entries = noted(tmp_path)["pictures"]
    assert entries
    for entry in entries:
        name = entry["file"].removesuffix("_0.png")
        result, guide = picture(tmp_path / entry["file"]), picture(tmp_path / f"{name}_guide.png")
        assert result.shape == guide.shape == (SIZE, SIZE)  # mode L
        assert entry["max_change_outside_mask"] == 0
        away = (result.astype(float) - guide) / 255
        np.testing.assert_allclose(entry["rms"], np.sqrt(np.mean(away**2)), rtol=1e-6)
        np.testing.assert_allclose(entry["l2"], np.sqrt(np.sum(away**2)), rtol=1e-6)
        assert recipe(tmp_path / entry["file"])["size"] == [SIZE, SIZE, 1]
    assert picture(tmp_path / "sheet.png").ndim == 3


def test_an_edit_finds_the_grey_picture(tmp_path):
    """A colour guide near the one picture of the prior, at a strength that follows the prior."""
    noisy = known().astype(int) + np.random.default_rng(0).integers(-20, 20, known().shape)
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(tmp_path / "guide.png")
    config = edited("strokes", input=str(tmp_path / "guide.png"), t0=0.7, sampler__steps=20)
    assert run(config, tmp_path / "out") == 0
    guide = picture(tmp_path / "out" / "guide_guide.png")
    np.testing.assert_array_equal(guide, grey_of(picture(tmp_path / "guide.png")))
    result = picture(tmp_path / "out" / "guide_0.png")
    away = np.abs(result.astype(float) - grey_of(known())).mean()
    assert away < 8  # the prior's spread is 0.05, 6.4 levels


@pytest.mark.parametrize("output", ["prior", "original"])
def test_sizes_and_replays(output, tmp_path, capsys):
    config = edited("inpaint", output=output)
    assert run(config, tmp_path / "out") == 0
    result = picture(tmp_path / "out" / "apple_0.png")
    original = images.flatten(images.read("examples/inpaint/apple.webp"))
    if output == "original":
        mask = images.read_mask("examples/inpaint/masks/apple.png", original.shape[:2])
        assert result.shape == original.shape[:2]
        np.testing.assert_array_equal(result[mask == 0], grey_of(original)[mask == 0])
    code, told = replayed(tmp_path / "out" / "apple_0.png", capsys, tmp_path / "again")
    assert code == 0 and "bit-equal" in told
    np.testing.assert_array_equal(picture(tmp_path / "again" / "apple_0.png"), result)


def test_a_sweep_and_the_replay_of_a_cell(tmp_path, capsys):
    config = edited("strokes", input="examples/strokes/cherry.png")
    config.sweep.t0, config.sweep.seeds = (0.2, 0.4), (3,)
    assert run(config, tmp_path, "sweep") == 0
    assert "cherry_sweep.png" in names(tmp_path)
    cell = tmp_path / "cherry_t0.4_s3.png"
    assert picture(cell).ndim == 2
    assert replayed(cell, capsys)[0] == 0


def test_from_python(tmp_path):
    """Grey and colour pictures as arrays, PIL images and paths; results have one channel."""
    prior, grey = sj.load_prior(grey_prior()), grey_of(known())
    assert prior.shape == (SIZE, SIZE, 1)
    Image.fromarray(known()).save(tmp_path / "known.png")
    given = {"steps": 4, "t0": 0.4, "id": "a"}
    made = sj.edit(prior, known(), **given)
    assert made.shape == (SIZE, SIZE, 1) and made.dtype == np.uint8
    for same in (grey, grey[..., None], Image.fromarray(grey), str(tmp_path / "known.png")):
        np.testing.assert_array_equal(sj.edit(prior, same, **given), made)
    pil = sj.edit(prior, known(), as_pil=True, **given)
    assert pil.mode == "L" and np.array_equal(np.asarray(pil), made[..., 0])
    batch = sj.edit(prior, [grey, known()], samples=2, **given)
    assert batch.shape == (2, 2, SIZE, SIZE, 1) and levels(batch[1, 0], made) <= 1
    wide = sj.edit(prior, np.repeat(grey, 2, 0), output="original", **given)
    assert wide.shape == (2 * SIZE, SIZE, 1)
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:4] = True
    np.testing.assert_array_equal(sj.edit(prior, made, mask, **given)[4:], made[4:])


def test_grey_arrays_for_any_prior():
    grey = grey_of(known())
    for array in (grey, grey[..., None], images.to_unit(grey)):
        np.testing.assert_array_equal(arrays.pixels(array).rgb, np.repeat(grey[..., None], 3, -1))


def test_other_channels_are_refused(tmp_path):
    prior = sj.gaussian(sj.VP(), np.zeros((SIZE, SIZE, 2), np.float32), 0.5)
    with pytest.raises(ValueError, match="prior: channels of its pictures must be 1 .* got 2"):
        sj.edit(prior, known())
    config = tiny_net(net__num_channels=4, data__source=str(tmp_path))
    told = refused(config, tmp_path / "run", "train")
    assert told == "net.num_channels must be 1 (grey) or 3 (RGB), got 4"
    config = tiny_net(net__num_channels=4)
    card = metadata_of(config, Source(np.zeros((1, SIZE, SIZE, 4), np.uint8)))
    with pytest.raises(ValueError, match=r"four: channels of the pictures must be 1 .* got 4"):
        registry.prior_of(card, name="four")


# --- conversion -----------------------------------------------------------------------------------


def unet2d_folder(path, channels):
    """A folder of diffusers with a network of this number of channels."""
    config = {**PLAIN, "in_channels": channels, "out_channels": channels}
    shapes = Network(UNet2D, UNet2DConfig.from_mapping(config)).shapes
    put(path / "config.json", config)
    put(path / "scheduler_config.json", {"_class_name": "DDPMScheduler", "clip_sample": True})
    save_file(seeded(shapes)[0], path / "diffusion_pytorch_model.safetensors")
    return path


def test_a_grey_network_is_converted_and_edits(tmp_path):
    report = sj.convert(unet2d_folder(tmp_path / "source", 1), tmp_path / "prior")
    assert report.metadata["size"] == [SIZE, SIZE, 1] and report.verdict is not None
    config = edited("inpaint", prior=str(tmp_path / "prior"))
    assert run(config, tmp_path / "out") == 0
    assert picture(tmp_path / "out" / "apple_0.png").ndim == 2


def test_a_network_of_other_channels_is_not_converted(tmp_path):
    with pytest.raises(ValueError, match="channels of the pictures must be 1 .* got 4"):
        sj.convert(unet2d_folder(tmp_path / "source", 4), tmp_path / "prior")
    assert not (tmp_path / "prior").exists()


# --- training -------------------------------------------------------------------------------------


def test_training_reads_the_luminance(tmp_path):
    Image.fromarray(known()).save(tmp_path / "known.png")
    data = source(tmp_path, channels=1)
    np.testing.assert_array_equal(data.images[0], grey_of(known())[..., None])


def test_augmentation_of_grey_pictures(rng):
    """As of the same greys in three channels."""
    grey = rng.integers(0, 255, (2, 24, 24, 1)).astype(np.uint8)
    rgb, drawn = np.repeat(grey, 3, -1), [[1, 1, -2, 0.9, 12, 1.1, 40], [0, 0, 0, 1, 0, 0.8, -9]]
    for augment in (Augment(brightness=0.2, hue=30), Augment(turn=20, side=16, brightness=0.2)):
        got, wanted = (change(a, np.asarray(drawn), augment) for a in (grey, rgb))
        assert got.shape[-1] == 1
        np.testing.assert_allclose(got, wanted[..., :1], atol=1e-6)
    assert retake(grey[0], View(), 24).shape == (24, 24, 1)


def test_a_grey_prior_is_trained_and_edits(tmp_path):
    """Two steps of training, the published prior, an edit with it."""
    pictures = tmp_path / "photos"
    pictures.mkdir()
    for i in range(4):
        Image.fromarray(np.roll(known(), i, 0)).save(pictures / f"{i}.png")
    config = tiny_net(net__num_channels=1, data__source=str(pictures))
    config.data.split = config.data.held_out = ""
    config.data.size = SIZE
    config.run.steps, config.run.batch = 2, 2
    config.run.sample_every = config.run.held_out_every = 0
    config.run.threads = 0
    assert run(config, tmp_path / "run", "train") == 0
    folder = tmp_path / "run" / "prior"
    assert json.loads((folder / "prior.json").read_text())["size"] == [SIZE, SIZE, 1]
    shapes = jax.tree.leaves(sj.load_prior(folder).params)
    assert shapes and store.read_metadata(folder)["name"] == "tiny"
    config = edited("strokes", prior=str(folder), input="examples/strokes/cherry.png")
    assert run(config, tmp_path / "out") == 0
    assert picture(tmp_path / "out" / "cherry_0.png").ndim == 2


def test_the_configs_of_training_have_three_channels():
    assert config_of("train").net.num_channels == 3
