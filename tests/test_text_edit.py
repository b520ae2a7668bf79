"""Edits by prompts, end to end: the program, its records and replays, and the Python API."""

import json
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
import text_prior
from PIL import Image
from program import (
    compiled,
    config_of,
    exact_prior,
    four_devices,
    levels,
    noted,
    picture,
    recipe,
    refused,
    run,
)
from text_prior import LENGTH, SIDE

import sdedit_jax as sj
from sdedit_jax import api
from sdedit_jax.nets.sd_config import SDUNetConfig
from sdedit_jax.priors import conditioning, latent
from sdedit_jax.priors.conditioning import CFGCond
from sdedit_jax.weights import load


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two pictures and a mask whose left half may change."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        pixels = rng.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, : SIDE // 2 - 1] = 255
    Image.fromarray(mask).save(folder.parent / "mask.png")
    return folder


def prompted(photos, /, **changes):
    """A config of two-step edits by prompts."""
    few = {"prior": text_prior.text_prior(), "samples": 1, "batch": 2, "devices": 1}
    few |= {"sampler__steps": 2, "input": str(photos), "t0": 0.5}
    return config_of("img2img", **{**few, **changes})


def test_a_run_records_its_prompts_and_replays_bit_for_bit(photos, tmp_path, capsys):
    file = tmp_path / "prompts.json"
    own = {"two": {"prompt": "a dog", "scale": 2.0}}
    file.write_text(json.dumps(own))
    config = prompted(photos, prompt="a cat", negative_prompt="bad", prompts=str(file))
    out = tmp_path / "out"
    assert run(config, out) == 0
    told = {"prompt": "a cat", "negative_prompt": "bad", "scale": 7.5, "guided": True}
    assert recipe(out / "one_0.png")["prompts"] == told
    assert recipe(out / "two_0.png")["prompts"] == told | own["two"]
    assert [p["prompts"]["prompt"] for p in noted(out)["pictures"]] == ["a cat", "a dog"]
    assert noted(out)["evaluations"] == 4
    shown = capsys.readouterr().out
    assert "prompt    'a cat' against 'bad', scale 7.5; own prompts for 1 input" in shown
    file.unlink()
    for name in ("one", "two"):
        again = config_of("base", input=str(out / f"{name}_0.png"), devices=1, trust=True)
        assert run(again, tmp_path / f"again_{name}", "replay") == 0
    assert capsys.readouterr().out.count("verdict   bit-equal") == 2


@four_devices
def test_four_devices_edit_as_one_does(photos, tmp_path, capsys):
    for devices, batch in ((4, 4), (1, 2)):
        config = prompted(photos, prompt="a cat", devices=devices, batch=batch)
        assert run(config, tmp_path / str(devices)) == 0
        assert f"device    {devices} x cpu" in capsys.readouterr().out
    pictures = [picture(tmp_path / name / "one_0.png") for name in ("4", "1")]
    assert np.abs(np.subtract(*pictures, dtype=int)).max() <= 1


def test_prompts_and_masks_change_what_they_should_and_compile_nothing(photos, tmp_path):
    before = picture(photos / "one.png")
    plain = prompted(photos, prompt="a cat")
    assert run(plain, tmp_path / "plain") == 0
    first = picture(tmp_path / "plain" / "one_0.png")
    mask = str(photos.parent / "mask.png")
    changes = {
        "text": {"prompt": "a dog"},
        "scale": {"guidance__scale": 3.0},
        "negative": {"negative_prompt": "a dog"},
        "masked": {"options__mask": mask, "feather": 2},
        "none": {"t0": 0.0},
    }
    results = {}
    for name, change in changes.items():
        config = prompted(photos, prompt="a cat")
        for field, value in change.items():
            *parts, last = field.split("__")
            (config[parts[0]] if parts else config)[last] = value
        with compiled() as parts:
            assert run(config, tmp_path / name) == 0
        assert parts == []
        results[name] = picture(tmp_path / name / "one_0.png")
    for name in ("text", "scale", "negative"):
        assert levels(results[name], first) > 0
    half = SIDE // 2 - 1
    np.testing.assert_array_equal(results["masked"][:, half:], before[:, half:])
    assert levels(results["masked"][:, : half - 2], before[:, : half - 2]) > 0
    np.testing.assert_array_equal(results["none"], before)  # strength 0 passes no autoencoder


def test_scale_1_is_one_evaluation_a_step(photos, tmp_path):
    config = prompted(photos, guidance__scale=1.0, prompt="a cat")
    assert run(config, tmp_path) == 0
    assert noted(tmp_path)["evaluations"] == 2
    assert recipe(tmp_path / "one_0.png")["prompts"]["guided"] is False


def test_a_preset_of_diffusers_takes_its_share_of_the_steps(photos, tmp_path, capsys):
    config = prompted(photos, preset="diffusers", strength=0.5, prompt="a", sampler__steps=5)
    assert run(config, tmp_path) == 0
    made = recipe(tmp_path / "one_0.png")
    assert made["sampler"]["steps"] == 5
    assert made["sampler"]["grid"] == "diffusers_ddim(spacing='leading', skip=3)"
    assert made["strength"]["t0"] == pytest.approx(0.202)  # steps 201 and 1 of 801, 601, ..
    assert "diffusers_ddim(spacing='leading', skip=3) grid, 2 steps" in capsys.readouterr().out
    again = config_of("base", input=str(tmp_path / "one_0.png"), devices=1, trust=True)
    assert run(again, tmp_path / "again", "replay") == 0
    assert "bit-equal" in capsys.readouterr().out


def test_a_long_prompt_says_what_is_cut(photos, tmp_path, capsys):
    config = prompted(photos, prompt="abc, def the rest")
    assert run(config, tmp_path) == 0
    wanted = "warning: prompt: only 6 tokens are read; cut off: 'f the rest'\n"
    for _ in range(2):  # a second run warns too
        assert capsys.readouterr().err.startswith(wanted)
        assert run(config, tmp_path, overwrite=True) == 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"prior": None, "prompt": "a"}, "prompt: the prior does not read texts (exact)"),
        ({"prior": None, "negative_prompt": "a"}, "negative_prompt: the prior does not read texts"),
        ({"cond": "1"}, "cond, guidance.against: the prior reads prompts"),
        ({"negative_prompt": "a", "guidance__scale": 1.0}, "negative_prompt: 'a' has no effect"),
        ({"prompt": "a", "guidance__scale": 0.0}, "prompt: 'a' has no effect at guidance.scale 0"),
        ({}, "prompt: guidance.scale 7.5 has no effect without a prompt; give prompt or negative"),
        (
            {"guidance__scale": float("nan")},
            "guidance.scale must be a finite number, got nan",
        ),
        ({"prompts": "nowhere.json"}, "prompts: cannot read nowhere.json"),
        ({"strength": 0.5}, "strength is of the presets of diffusers; give t0, got 0.5"),
        ({"preset": "diffusers", "strength": 2.0}, "strength must be in [0, 1], got 2.0"),
        ({"preset": "diffusers", "strength": 0.1}, "strength 0.1 of 2 steps leaves none to run"),
        ({"preset": "diffusers", "sigma": 0.5}, 'sigma: preset "diffusers" takes strength'),
        ({"sampler__grid": "karras(skip=1)"}, "karras has no parameter 'skip'"),
        ({"sampler__grid": "diffusers_ddim(skip=2)"}, "skip must be below 2 steps, got 2"),
        ({"sampler__grid": "diffusers_ddim(spacing='even')"}, "spacing must be one of"),
        ({"sampler__grid": "diffusers_ddim", "sampler__steps": 2000}, "steps must be in [1, 1000]"),
    ],
)
def test_bad_prompts_are_refused_in_one_line(changes, told, photos, tmp_path):
    if changes.get("prior", "") is None:
        changes = {**changes, "prior": exact_prior(), "guidance__scale": 1.0}
    assert told in refused(prompted(photos, **changes), tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"one": 3}', "prompts: 'one' in"),
        ('{"one": {"text": "a"}}', "must be a text or an object of ['prompt',"),
        ('{"one": {"prompt": 3}}', "prompts: prompt of 'one' in"),
        ('{"one": "a"}', "prompts: 'two' has no entry in"),
        ('{"one": "a", "two": {"negative_prompt": "b", "scale": 1}}', "prompts: 'two' in"),
        ('{"three": "a"}', "names ['three'], and no input has this name"),
        ("[]", "must hold a JSON object of names"),
    ],
)
def test_a_damaged_file_of_prompts_is_refused(content, told, photos, tmp_path):
    file = tmp_path / "prompts.json"
    file.write_text(content)
    assert told in refused(prompted(photos, prompts=str(file)), tmp_path / "out")


def test_sweeps_go_without_the_presets_of_diffusers(photos, tmp_path):
    config = prompted(photos, preset="diffusers")
    assert "a sweep needs another preset" in refused(config, tmp_path / "out", "sweep")


# --- the Python API -------------------------------------------------------------------------------


def test_text_edit_compiles_once_for_all_prompts(photos):
    before = picture(photos / "one.png")
    prior = load.load_prior(text_prior.text_prior())
    mask = np.zeros((SIDE, SIDE), bool)
    mask[:4] = True
    first = sj.text_edit(prior, before, "a cat", steps=2)
    with compiled() as parts:
        other = sj.text_edit(prior, before, "a dog", "bad", scale=2.0, steps=2)
        masked = sj.text_edit(prior, before, "a cat", steps=2, mask=mask)
    assert not parts
    with compiled() as parts:  # without guidance there is one evaluation a step
        sj.text_edit(prior, before, "", scale=1.0, steps=2, t0=0.3, seed=3)
    assert max(map(parts.count, parts), default=0) <= 1
    assert levels(first, other) > 0
    np.testing.assert_array_equal(masked[4:], before[4:])
    assert levels(masked[:4], before[:4]) > 0
    several = sj.text_edit(
        prior,
        [before, 255 - before],
        ["a cat", "a dog"],
        ["", "bad"],
        [7.5, 2.0],
        steps=2,
        seed=[0, 1],
        devices=1,
    )
    assert several.shape == (2, *before.shape) and levels(several[0], first) <= 1
    with pytest.warns(UserWarning, match="prompt: only 6 tokens are read; cut off: 'g'"):
        sj.text_edit(prior, before, "a b c d e f g", steps=2)


def test_text_edit_is_the_programs_edit(photos, tmp_path):
    config = prompted(photos, prompt="a cat", seed=5)
    assert run(config, tmp_path) == 0
    prior, before = load.load_prior(text_prior.text_prior()), picture(photos / "two.png")
    made = sj.text_edit(prior, before, "a cat", t0=0.5, steps=2, seed=5, id="two")
    assert levels(made, picture(tmp_path / "two_0.png")) <= 1


def test_prompts_as_embeddings(photos):
    """They act as their texts do, for all pictures or for each."""
    prior, before = load.load_prior(text_prior.text_prior()), picture(photos / "one.png")
    cat, dog, bad = (np.asarray(conditioning.embedding(prior, t)) for t in ("a cat", "a dog", "b"))
    few = {"steps": 2, "devices": 1}
    wanted = sj.text_edit(prior, [before] * 2, ["a cat", "a dog"], "b", **few)
    for prompt in ([cat, dog], np.stack([cat, dog]), [jnp.asarray(cat), "a dog"]):
        got = sj.text_edit(prior, [before] * 2, prompt, bad, **few)
        np.testing.assert_array_equal(got, wanted)
    for prompt, told in [
        (cat[1:], r"prompt: an embedding of this prior is \(8, 8\), got \(7, 8\)"),
        (cat * np.nan, "prompt: values that are not finite"),
        ([cat, dog], "prompt: one for all or one for each of 1, got 2"),
    ]:
        with pytest.raises(ValueError, match=told):
            sj.text_edit(prior, before, prompt)
    with pytest.raises(TypeError, match="prompt must be a string or an embedding"):
        sj.text_edit(prior, before, 3)
    for texts, scale, told in [
        (("",), 7.5, "prompt: scale 7.5 has no effect without a prompt"),
        (("a", "b"), 1.0, "negative_prompt: 'b' has no effect at scale 1"),
        (("a", "b"), float("nan"), "scale must be a finite number, got nan"),
    ]:
        with pytest.raises(ValueError, match=f"^{told}"):
            sj.text_edit(prior, before, *texts, scale=scale)
    with pytest.raises(ValueError, match=r"^picture 1: prompt: scale 7.5 has no effect without"):
        sj.text_edit(prior, [before] * 2, ["a", ""], scale=7.5)


def test_clip_skip(photos, tmp_path):
    """The embedding of the encoder without its last layer, in Python and in the program."""
    prior, before = load.load_prior(text_prior.text_prior()), picture(photos / "two.png")
    ids = jnp.asarray(prior.text.tokenize("a cat").ids)[None]
    encoder, params = prior.text.encode.net, prior.params["text_encoder"]
    cat, empty = (
        encoder.apply(params, i, skip=1).tokens[0]
        for i in (ids, jnp.asarray(prior.text.tokenize("").ids)[None])
    )
    given = {"t0": 0.5, "steps": 2, "seed": 5, "id": "two", "scale": 200.0}
    wanted = sj.text_edit(prior, before, cat, empty, **given)
    got = sj.text_edit(prior, before, "a cat", clip_skip=1, **given)
    assert levels(got, wanted) <= 1 < levels(got, sj.text_edit(prior, before, "a cat", **given))
    config = prompted(photos, prompt="a cat", seed=5, clip_skip=1, guidance__scale=200.0)
    assert run(config, tmp_path) == 0
    assert levels(picture(tmp_path / "two_0.png"), got) <= 1
    for skip in (2, -1, 0.5):
        with pytest.raises(ValueError, match=r"clip_skip must be a whole number in \[0, 1\]"):
            sj.text_edit(prior, before, "a cat", clip_skip=skip)
    config = prompted(photos, prior=exact_prior(), clip_skip=1)
    assert "clip_skip: the prior does not read texts" in refused(config, tmp_path / "other")


def test_text_edit_needs_a_prior_that_reads(photos):
    prior = load.load_prior(exact_prior())
    with pytest.raises(ValueError, match=r"prompt: the prior does not read texts \(exact\)"):
        sj.text_edit(prior, picture(photos / "one.png"), "a cat")
    assert api.text_edit is sj.text_edit


# --- inpainting networks --------------------------------------------------------------------------


def test_inpainting_networks_are_shown_mask_and_rest(photos):
    """What nine channels see: x, the latent mask, the latent of the picture with grey holes."""
    seen = []

    class UNet(NamedTuple):
        config: SDUNetConfig

        def __call__(self, params, x, label, *, y, key, maps):
            seen.append(x[0])
            return x[..., :4] * 0, y[:, None, None]

    net = UNet(SDUNetConfig.from_mapping({**text_prior.UNET, "in_channels": 9}))
    prior = load.load_prior(text_prior.text_prior())
    own = latent.StableDiffusion(net, prior.process, attention=2)
    image = np.float32(np.random.default_rng(1).uniform(-1, 1, (SIDE, SIDE, 3)))
    mask = np.zeros((SIDE, SIDE, 1), np.float32)
    mask[:3] = 1
    text, x = np.ones((LENGTH, 8), np.float32), np.full((8, 8, 4), 0.5, np.float32)
    prepare = latent.PrepareInpaint(prior.codec)
    cond = prepare(prior.params, image, mask, CFGCond(text, text, 2.0))
    assert all(np.array_equal(*pair) for pair in zip(cond.cond, cond.uncond, strict=True))
    own(prior.params | {"unet": None}, x, np.float32(0.5), cond.cond)
    (told,) = seen
    masked = prior.codec.encode(prior.params, image * (1 - mask))
    assert told.shape == (8, 8, 9)
    np.testing.assert_array_equal(told[..., :4], x)
    np.testing.assert_array_equal(told[:, 0, 4], [1, 1, 0, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(told[..., 5:], masked, atol=1e-6)
    with pytest.raises(ValueError, match="cond: the prior requires an InpaintCond"):
        own(prior.params, x, np.float32(0.5), text)
