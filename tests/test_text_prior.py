"""Stable Diffusion's folders become priors; what does not fit is told in one line."""

import dataclasses
import functools
import json
import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import text_prior
from program import home
from recorded import Codec
from text_prior import FACTOR, LATENT, LENGTH, SIDE, WIDTH

import sdedit_jax as sj
from sdedit_jax import registry
from sdedit_jax.diffusion import sde
from sdedit_jax.guidance import CFG
from sdedit_jax.nets.sd_config import SDUNetConfig
from sdedit_jax.priors import conditioning, latent
from sdedit_jax.priors.conditioning import CFGCond
from sdedit_jax.priors.prior import mask_of_state
from sdedit_jax.weights import load, readers, selfcheck, store
from sdedit_jax.weights.convert import convert
from sdedit_jax.weights.families import stable_diffusion


@pytest.fixture(scope="module")
def prior():
    return sj.load_prior(text_prior.text_prior())


@pytest.fixture
def folder(tmp_path):
    """A copy of the source, to be damaged."""
    shutil.copytree(text_prior.source(), tmp_path / "model")
    return tmp_path / "model"


# --- what an import makes -------------------------------------------------------------------------


def test_the_card_says_what_the_folder_says(prior):
    card = prior.metadata
    assert card["network"] == "stable_diffusion" and card["source"]["family"] == "stable_diffusion"
    assert card["process"]["name"] == "scaled_linear" and card["size"] == [SIDE, SIDE, 3]
    steps = {"set_alpha_to_one": False, "steps_offset": 1}
    assert card["scheduler"] == {**steps, "clip_sample": True}  # left out: diffusers' default
    assert prior.shape == (SIDE, SIDE, 3) and prior.latent and set(prior.params) == {
        "unet", "vae", "text_encoder"
    }  # fmt: skip


def test_half_precision_weights_come_as_they_are(prior):
    wanted = text_prior.weights("unet", text_prior.UNET)["conv_in.weight"].astype(np.float16)
    got = np.asarray(prior.params["unet"]["conv_in"]["kernel"])
    np.testing.assert_array_equal(got.transpose(3, 2, 0, 1), wanted.astype(np.float32))


def described(folder, **scheduler):
    """The card of a folder whose scheduler is another."""
    changed("scheduler/scheduler_config.json", **scheduler)(folder)
    return stable_diffusion.describe(readers.read(folder), {})


@pytest.mark.parametrize(("kind", "name"), [("v_prediction", "v"), ("sample", "x0")])
def test_what_the_network_predicts_is_kept(folder, kind, name):
    card = described(folder, prediction_type=kind)
    assert card["prediction"] == {"name": "stable_diffusion", "steps": 1000} | {
        "predicts": name, "attention": 2
    }  # fmt: skip
    process, seen = registry.process(card["process"]), []

    class UNet(NamedTuple):
        config: SDUNetConfig

        def __call__(self, params, x, label, *, y, key, maps):
            seen.append(float(label[0]))
            return 2 * x, y[:, None, None]

    net = UNet(SDUNetConfig.from_mapping(text_prior.UNET))
    predict = latent.StableDiffusion(net, process, predicts=name, attention=2)
    x, t = jnp.full((LATENT, LATENT, 4), 0.3), 0.402
    alpha, sigma = (float(a) for a in sde.level(process, t))
    wanted = {"v": alpha * 2 * x + sigma * x, "x0": (x - alpha * 2 * x) / sigma}[name]
    said = predict({"unet": None}, x, t, jnp.ones((LENGTH, WIDTH)))
    np.testing.assert_allclose(said.eps, wanted, atol=1e-5)
    assert seen == [401.0]


def test_a_table_that_ends_without_signal(folder):
    rescaled = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    card = described(folder, prediction_type="v_prediction", **rescaled)
    alpha = registry.process(card["process"]).alpha(jnp.float32(1.0))
    assert float(alpha) == 0 and card["scheduler"]["timestep_spacing"] == "trailing"


def test_old_names_and_missing_prefixes_are_read(folder):
    """Attention of the VAE as query, key, ..; the text encoder without text_model. in front."""
    from safetensors.numpy import load_file, save_file

    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    vae = folder / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(vae)
    for new, name in old.items():
        tensors = {n.replace(f".{new}.", f".{name}."): a for n, a in tensors.items()}
    save_file(tensors, vae)
    file = folder / "text_encoder" / "model.safetensors"
    bare = {n.removeprefix("text_model."): a for n, a in load_file(file).items()}
    bare["embeddings.position_ids"] = np.arange(LENGTH)[None]
    save_file(bare, file)
    convert(folder, folder.parent / "new", check=False)  # no network is run
    wanted = store.read_metadata(text_prior.text_prior())["sha256"]
    assert store.read_metadata(folder.parent / "new")["sha256"] == wanted


def test_a_foreign_folder_is_converted_once(monkeypatch, tmp_path, prior):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = sj.load_prior(text_prior.source())
    assert text_prior.leaves_equal(first.params, prior.params)
    monkeypatch.setattr(load, "convert", lambda *args, **kwargs: 1 / 0)
    assert sj.load_prior(text_prior.source()).metadata == first.metadata
    (kept,) = (tmp_path / "sdedit_jax" / "priors").iterdir()
    assert (kept / "tokenizer" / "vocab.json").is_file()


def test_the_self_check_takes_latents(folder):
    """Random weights do not denoise: it says so, in the latents' levels, and notes it."""
    report = convert(folder, folder.parent / "new")
    assert report.verdict.failure_mode and not report.verdict.passed
    assert len(report.verdict.curve) == 4 and report.metadata["check"]["passed"] is False


def test_the_self_check_passes_a_latent_prior_that_knows_its_pictures():
    """The exact prior of drawings' latents under a codec of blocks, whatever the text."""
    exact = sj.mixture(sde.scaled_linear_table(), drawn(), 0.02)
    codec = Codec(lambda p, x, z=None: halved(x), lambda p, x: x)
    assert selfcheck.check(exact.replace(shape=(16, 16, 3), codec=codec)).passed


def drawn():
    return np.stack([np.asarray(halved(x)) for x in selfcheck.draw((16, 16, 3))])


def halved(x):
    return x.reshape(8, 2, 8, 2, 3).mean((1, 3))


# --- the parts of a prior -------------------------------------------------------------------------


def test_masks_of_latents_are_the_freest_pixel_of_each_block():
    mask = np.zeros((4, 6, 1), np.float32)
    mask[0, 3], mask[3, 5] = 0.25, 1
    small = mask_of_state(jnp.asarray(mask), (2, 3, 4))
    np.testing.assert_array_equal(small[..., 0], [[0, 0.25, 0], [0, 0, 1]])
    assert mask_of_state(mask, (4, 6, 3)) is mask
    with pytest.raises(ValueError, match=r"mask must be whole blocks of \(3, 4\), got \(4, 6\)"):
        mask_of_state(jnp.asarray(mask), (3, 4, 4))


def test_a_codec_scales_and_samples(prior):
    image = jnp.linspace(-1, 1, SIDE * SIDE * 3).reshape(SIDE, SIDE, 3)
    encode = jax.jit(prior.codec.encode)
    mode, other = (encode(prior.params, image, z) for z in (None, jnp.ones((LATENT, LATENT, 4))))
    net = registry.part_of(prior.metadata, "vae", "float32", "")
    mean, std = net.apply(prior.params["vae"], image[None], method="encode")
    np.testing.assert_allclose(mode, 0.18215 * mean[0], atol=1e-6)
    np.testing.assert_allclose(other, 0.18215 * (mean + std)[0], atol=1e-6)
    assert prior.codec.decode(prior.params, mode).shape == prior.shape
    assert mode.shape == (SIDE // FACTOR, SIDE // FACTOR, 4)


def test_a_predictor_gives_the_attention_to_the_text(prior):
    text = conditioning.embedding(prior, "a cat")
    assert text.shape == (LENGTH, WIDTH)
    x = jnp.ones((LATENT, LATENT, 4))
    said = jax.jit(prior.predict)(prior.params, x, jnp.float32(0.5), text)
    assert said.attention.shape == (LATENT // 2, LATENT // 2, LENGTH)
    np.testing.assert_allclose(said.attention.sum(-1), 1, rtol=1e-5)
    with pytest.raises(ValueError, match="cond: the prior requires a text, got none"):
        prior.predict(prior.params, x, jnp.float32(0.5))


def test_the_notation_of_other_programs_gives_one_warning(prior):
    texts = ["(b:1.3)", "", "<lora:x:1>", "(b:1.3)"]
    told = [line for line in conditioning.remarks(prior, texts) if "plain text" in line]
    assert len(told) == 1 and "'(b:1.3)', '<lora:x:1>'" in told[0]
    assert conditioning.remarks(prior, ["a b", "(a) b", ""]) == []


def test_remarks_read_each_text_once(prior):
    texts = []

    def tokenize(text):
        texts.append(text)
        return prior.text.tokenize(text)

    counted = prior.replace(text=dataclasses.replace(prior.text, tokenize=tokenize))
    conditioning.remarks(counted, ["a b", "(a:1.2) b", "a b"])
    assert texts == ["a b", "(a:1.2) b", "  b"]


def test_unseen_words_are_named_once(prior):
    texts = ["cat", "a cat", "a dog"]
    (told,) = [line for line in conditioning.remarks(prior, texts) if "vocabulary" in line]
    assert told.startswith("prompt: the prior's vocabulary has never seen 'cat', 'dog'")


def test_texts_of_all_lengths_are_one_program(prior):
    before = conditioning.encode._cache_size()
    for text in ("", "a", "a b c d", "more letters than there is room for"):
        conditioning.embedding(prior, text)
    assert conditioning.encode._cache_size() <= before + 1
    (told,) = [line for line in conditioning.remarks(prior, ["abc, de fgh", "ab"]) if "cut" in line]
    assert told == "prompt: only 6 tokens are read; cut off: 'fgh'"


# --- two loads of one folder ----------------------------------------------------------------------


def test_two_loads_are_equal_and_compile_once(prior):
    """Codec, predictor and text encoder of an equal prior compile nothing."""
    again, traces = sj.load_prior(text_prior.text_prior()), []
    assert prior.static == again.static and hash(prior.static) == hash(again.static)
    assert prior.codec == again.codec and prior.text.encode == again.text.encode
    assert prior.static != sj.load_prior(text_prior.text_prior(), "bfloat16").static

    @functools.partial(jax.jit, static_argnums=0)
    def run(static, params, image, text):
        traces.append(1)
        latent = static.codec.encode(params, image)
        cond = CFGCond(text, 0 * text, 2.0)
        eps = CFG(static.predict)(params, latent, jnp.float32(0.5), cond).eps
        return static.codec.decode(params, latent - eps)

    image = jnp.linspace(-1, 1, SIDE * SIDE * 3).reshape(SIDE, SIDE, 3)
    text = conditioning.embedding(prior, "a cat")
    known = conditioning.encode._cache_size()
    np.testing.assert_array_equal(text, conditioning.embedding(again, "a cat"))
    assert conditioning.encode._cache_size() == known
    one, other = (run(made.static, made.params, image, text) for made in (prior, again))
    np.testing.assert_array_equal(one, other)
    assert len(traces) == 1


def test_priors_differ_by_the_maps_that_they_give(tmp_path):
    """Of a network that attends to the text at two of its levels."""
    blocks = {"down_block_types": ["CrossAttnDownBlock2D"] * 2}
    blocks["up_block_types"] = ["CrossAttnUpBlock2D"] * 2
    folder = text_prior.write(tmp_path / "two", unet=blocks)
    fine, coarse = (sj.load_prior(folder, attention=factor) for factor in (1, 2))
    assert fine.static != coarse.static and coarse.static == sj.load_prior(folder).static
    image, text = jnp.zeros((LATENT, LATENT, 4)), conditioning.embedding(fine, "a cat")
    sides = [
        jax.eval_shape(made.predict, made.params, image, jnp.float32(0.5), text).attention.shape[0]
        for made in (fine, coarse)
    ]
    assert sides == [LATENT, LATENT // 2]


def test_the_cond_of_inpainting_networks_is_prepared_by_a_value(prior):
    one, other = (latent.PrepareInpaint(made.codec) for made in (prior, prior.static))
    assert one == other and hash(one) == hash(other) and jax.tree.leaves(one) == []


# --- what does not fit ----------------------------------------------------------------------------


def without(name):
    return lambda folder: shutil.rmtree(folder / name)


def changed(file, **fields):
    def change(folder):
        values = json.loads((folder / file).read_text())
        text_prior.put(folder / file, {**values, **fields})

    return change


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (without("vae"), r"source: .*model lacks the folder vae/, which model_index.json names"),
        (without("text_encoder"), "lacks the folder text_encoder/"),
        (without("scheduler"), r"do not contain \['scheduler \(scheduler/scheduler_config.json"),
        (without("tokenizer"), r"tokenizer: .*tokenizer holds neither vocab.json and merges.txt"),
        (lambda f: (f / "unet" / "config.json").unlink(), r"do not contain \['unet \(unet/config"),
        (lambda f: (f / "model_index.json").unlink(), "is the U-Net alone; give the whole folder"),
        (changed("text_encoder/config.json", vocab_size=9), "58 tokens .*knows 9 tokens"),
        (changed("unet/config.json", in_channels=5), "takes 5 channels, not 4 .* or 9"),
        (changed("unet/config.json", cross_attention_dim=6), "texts of width 6, .* gives 8"),
        (changed("vae/config.json", latent_channels=3), "gives 4 channels, .* have 3"),
        (changed("unet/config.json", addition_embed_type="text_time"), "addition_embed_type must"),
        (changed("unet/config.json", sample_size=[8, 9, 1]), r"must be a side or \[h, w\]"),
        (changed("scheduler/scheduler_config.json", _class_name="VeSdeScheduler"), "no table"),
    ],
)
def test_what_is_missing_or_mixed_up_is_named(folder, damage, told):
    damage(folder)
    with pytest.raises(ValueError, match=told) as caught:
        convert(folder, folder.parent / "new", check=False)
    assert "\n" not in str(caught.value) and not (folder.parent / "new").exists()


def test_a_prior_without_its_tokenizer_is_refused(tmp_path):
    shutil.copytree(text_prior.text_prior(), tmp_path / "prior")
    shutil.rmtree(tmp_path / "prior" / "tokenizer")
    with pytest.raises(ValueError, match="tokenizer: .* holds neither vocab.json"):
        sj.load_prior(tmp_path / "prior")
    assert home().is_dir()
