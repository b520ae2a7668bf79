"""Training of a small text prior: autoencoder, vocabulary, denoiser, and the folder they make."""

import csv
import io
import json
import shutil
from contextlib import redirect_stderr
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxprs import is_program
from PIL import Image
from program import config_of, refused, run

from sdedit_jax.modes.files import plain
from sdedit_jax.modes.train import read
from sdedit_jax.nets.functional import Network
from sdedit_jax.nets.sd_unet import SDUNet, SDUNetConfig
from sdedit_jax.pipeline import executor
from sdedit_jax.text import tokenizer, vocabulary
from sdedit_jax.training import autoencoder, text_prior
from sdedit_jax.training.job import some
from sdedit_jax.training.loss import Objective
from sdedit_jax.training.publishing import Sheet
from sdedit_jax.training.text import short_forms, text_loss, worded, wordings
from sdedit_jax.training.vae import (
    Fidelity,
    centred,
    difference,
    divergence,
    reconstruction_loss,
)
from sdedit_jax.weights import conversion, export, store
from sdedit_jax.weights.readers import safetensors_file

COLOURS = {"red": (200, 20, 30), "dark green": (10, 90, 20), "yellow": (230, 210, 40)}
CAPTIONS = [f"a photo of a {colour} apple" for colour in sorted(COLOURS)]
SIDE = 8


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of captioned pictures: discs of three colours on white."""
    folder = tmp_path_factory.mktemp("discs")
    rows, columns = np.mgrid[:SIDE, :SIDE]
    with (folder / "captions.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "caption"])
        for i in range(12):
            colour = sorted(COLOURS)[i % 3]
            inside = (rows - 4) ** 2 + (columns - 3 - i % 2) ** 2 < 9
            picture = np.where(inside[..., None], COLOURS[colour], 255).astype(np.uint8)
            Image.fromarray(picture).save(folder / f"{i:02d}.png")
            table.writerow([f"{i:02d}.png", f"a photo of a {colour} apple"])
    return folder


def often(run, steps):
    """The fields of config.run for a short run."""
    run.update(steps=steps, batch=6, log_every=5, save_every=steps, sample_every=steps)
    run.update(held_out_every=steps // 2, held_out=6, levels=(1.0,))


def vae_config(photos, steps, **changes):
    config = config_of("train_vae", **changes)
    config.data.update(source=str(photos), split="", held_out="")
    config.net.update(sample_size=SIDE, block_out_channels=(4, 8), norm_num_groups=4)
    config.net.down_block_types = ("DownEncoderBlock2D",) * 2
    config.net.up_block_types = ("UpDecoderBlock2D",) * 2
    config.statistics, config.optimizer.warmup = 12, 1
    often(config.run, steps)
    return config


def text_config(photos, vae, steps, **changes):
    config = config_of("train_text", vae=str(vae), **changes)
    config.data.update(source=str(photos), split="", held_out="", credit="drawn here")
    config.net.update(sample_size=SIDE // 2, block_out_channels=(4, 8), norm_num_groups=4)
    config.net.update(attention_head_dim=(1, 2), cross_attention_dim=8)
    config.net.down_block_types = ("CrossAttnDownBlock2D", "DownBlock2D")
    config.net.up_block_types = ("UpBlock2D", "CrossAttnUpBlock2D")
    config.text.update(hidden_size=8, intermediate_size=16, num_hidden_layers=1)
    config.text.update(num_attention_heads=2, max_position_embeddings=10)
    config.sheet.update(texts=("red", CAPTIONS[0]), seeds=2, steps=2)
    config.optimizer.warmup = 1
    often(config.run, steps)
    config.run.held_out_every = 0  # what is published has its errors
    return config


@pytest.fixture(scope="module")
def first(photos, tmp_path_factory):
    """The workdir of an autoencoder's run."""
    out = tmp_path_factory.mktemp("vae")
    assert run(vae_config(photos, 60), out, "train") == 0
    return out


@pytest.fixture(scope="module")
def second(photos, first, tmp_path_factory):
    """The workdir of a text prior's run, its sample sheet an empty one: sampling compiles long.

    The file stderr.txt has what the run has written there.
    """
    out, sheet = tmp_path_factory.mktemp("text"), np.zeros((4, 4, 3), np.uint8)
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(io.StringIO()) as said:
        patch.setattr(text_prior, "sampler", lambda *_: lambda params: sheet)
        assert run(text_config(photos, first / "vae", 20), out, "train") == 0
    (out / "stderr.txt").write_text(said.getvalue())
    return out


def metrics(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


# --- the autoencoder ------------------------------------------------------------------------------


def test_the_loss_of_known_differences():
    weights = Fidelity(square=0.5, edges=0.25, kl=0)
    flat = jnp.full((2, 4, 6, 3), -0.5)
    assert difference(flat, weights) == pytest.approx(0.5 + 0.5 * 0.25)
    ramp = jnp.broadcast_to(0.1 * jnp.arange(4.0)[:, None, None], (2, 4, 6, 3))  # edges 0.1 and 0
    square = 0.5 * 0.01 * (0 + 1 + 4 + 9) / 4
    assert difference(ramp, weights) == pytest.approx(0.15 + square + 0.25 * 0.1, rel=1e-6)


def test_the_divergence_is_that_of_the_closed_form():
    # KL(N(m, s^2) || N(0, 1)) by numerical integration, times the 2 x 2 x 3 numbers of a latent
    m, s = 0.7, 0.4
    x = np.linspace(m - 12 * s, m + 12 * s, 200_001)
    log_p = -(((x - m) / s) ** 2) / 2 - np.log(s)
    kl = np.sum(np.exp(log_p) / np.sqrt(2 * np.pi) * (log_p + x**2 / 2)) * (x[1] - x[0])
    found = divergence(jnp.full((5, 2, 2, 3), m), jnp.full((5, 2, 2, 3), s))
    assert float(found) == pytest.approx(12 * kl, rel=1e-5)


def test_the_autoencoder_learns(first):
    lines = metrics(first)
    assert [line["step"] for line in lines] == list(range(5, 65, 5))
    assert lines[-1]["loss"] < 0.5 * lines[0]["loss"]
    held_out = [line["held_out/rmse"] for line in lines if "held_out/rmse" in line]
    assert len(held_out) == 2 and held_out[1] < held_out[0]
    sheet = np.asarray(Image.open(first / "samples" / "00000060.png"))
    assert sheet.shape == (2 * (SIDE + 2) + 2, 6 * (SIDE + 2) + 2, 3)
    assert np.unique(sheet[2 : SIDE + 2]).size > 4  # pictures in the first row


def test_a_run_that_is_started_again_goes_on_from_its_checkpoint(first, photos, tmp_path):
    again, config = tmp_path / "again", vae_config(photos, 60)
    shutil.copytree(first, again)
    shutil.rmtree(again / "vae")
    assert run(config, again, "train") == 0  # it stands at the last step
    assert (again / "vae" / autoencoder.WEIGHTS).read_bytes() == (
        first / "vae" / autoencoder.WEIGHTS
    ).read_bytes()
    assert metrics(again) == metrics(first)
    config = vae_config(photos, 60, export=True, publish=str(tmp_path / "vae"))
    assert run(config, again, "train") == 0
    weights = [autoencoder.load(folder / "vae")[1] for folder in (first, tmp_path)]
    assert store.digest(weights[0]) == store.digest(weights[1])


def test_published_latents_have_mean_0_and_std_1(first, photos):
    vae, params = autoencoder.load(first / "vae")
    config = vae_config(photos, 60)
    pictures = some(read(config, "", SIDE), 12)
    x0 = autoencoder.latents(vae, params, pictures) * 0.18215
    assert x0.shape == (12, SIDE // 2, SIDE // 2, 4)
    np.testing.assert_allclose(x0.mean((0, 1, 2)), 0, atol=0.01)  # float16 weights
    np.testing.assert_allclose(x0.std((0, 1, 2)), 1, atol=0.01)
    report = json.loads((first / "vae" / "training.json").read_text())
    assert report["steps"] == 60 and report["images"] == 360 and report["psnr"] > 0


def test_moving_the_latents_changes_neither_pictures_nor_relative_noise():
    net = {"block_out_channels": (4,), "norm_num_groups": 2, "down_block_types": "?"}
    net |= {"down_block_types": ("DownEncoderBlock2D",), "up_block_types": ("UpDecoderBlock2D",)}
    vae = autoencoder.autoencoder(net)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda a: np.asarray(a + rng.normal(0, 0.2, a.shape), np.float32),
        vae.init(jax.random.key(0)),
    )
    mean, std = rng.normal(size=4), rng.uniform(0.1, 3, 4)
    moved = centred(params, mean, std, 0.5)
    x = jnp.asarray(rng.uniform(-1, 1, (2, 4, 4, 3)), jnp.float32)
    (m_0, s_0), (m_1, s_1) = vae.encode(params, x), vae.encode(moved, x)
    np.testing.assert_allclose(m_1, (np.asarray(m_0) - mean) / std / 0.5, atol=1e-4)
    np.testing.assert_allclose(s_1, np.asarray(s_0) / std / 0.5, rtol=1e-4)
    np.testing.assert_allclose(vae.decode(moved, m_1), vae.decode(params, m_0), atol=1e-4)


# --- texts ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    return folder, vocabulary.write(folder, CAPTIONS, 16)


def test_words_of_captions_are_single_tokens_and_other_words_bytes(tokens):
    folder, size = tokens
    found = tokenizer.read(folder)
    names = json.loads((folder / "vocab.json").read_text())
    assert sorted(names.values()) == list(range(size)) and size <= 1000
    assert found.end == size - 1 == max(names.values()) and found.start == size - 2
    assert (found.pad, found.length) == (found.end, 16)
    assert found.encode("a photo of a dark green apple").count == 7
    back = {i: name for name, i in names.items()}
    seen = found.encode("Zoé!")
    spelt = "".join(back[i] for i in seen.ids[1 : 1 + seen.count]).replace("</w>", " ")
    table = {c: b for b, c in zip(range(33, 127), map(chr, range(33, 127)), strict=True)}
    assert [table.get(c, ord(c)) for c in spelt if c != " "] == list("zoé!".encode())


def test_the_vocabulary_is_the_same_each_time_and_keeps_to_its_size(tokens):
    assert vocabulary.learn(CAPTIONS) == vocabulary.learn(CAPTIONS)
    names, merges = vocabulary.learn(CAPTIONS, 520)
    assert len(names) <= 520 and len(merges) == 6
    with pytest.raises(ValueError, match="size above 514"):
        vocabulary.learn(CAPTIONS, 514)


def test_short_forms():
    assert short_forms("a photo of an orange apple") == [
        "a photo of an apple",
        "an apple",
        "an orange apple",
        "orange apple",
        "orange",
        "apple",
    ]
    assert short_forms("a photo of a tomato") == ["a photo of a tomato", "a tomato"]
    assert short_forms("two fruits") == []


def test_captions_are_dropped_and_shortened_as_often_as_promised(tokens):
    encode = tokenizer.read(tokens[0]).encode
    captions = [*CAPTIONS, "two apples"]
    table = wordings(captions, lambda text: encode(text).ids, whole=6)
    n, drop = 4000, 0.1
    objective = Objective(null_label=len(captions), drop_label=drop)
    draw = jax.jit(jax.vmap(lambda key, label: worded(table, key, label, objective), (0, None)))
    keys = jax.random.split(jax.random.key(3), n)
    # a short form is one of 12 wordings, the caption itself six of them; a caption without short
    # forms is always itself
    expected = {"": drop, "a photo of a red apple": 0.9 / 2, "red": 0.9 / 12, "apple": 0.9 / 12}
    for label, shares in ((1, expected), (3, {"": drop, "two apples": 0.9})):
        ids = np.asarray(draw(keys, label))
        for text, share in shares.items():
            seen = np.mean((ids == encode(text).ids).all(1))
            # 5 standard deviations: a false alarm in 1.7 million for each of the 6 shares
            assert abs(seen - share) < 5 * np.sqrt(share * (1 - share) / n), text


# --- weights are arguments ------------------------------------------------------------------------


MARK = np.float32(0.12345678)


def holds_weights(fn, *args):
    """Whether a value MARK is a constant of the program, inner programs included."""
    return any(np.any(np.asarray(c) == MARK) for c in constants(jax.make_jaxpr(fn)(*args)))


def constants(jaxpr):
    yield from getattr(jaxpr, "consts", ())
    for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield from (v.val for v in eqn.invars if hasattr(v, "val"))
        for value in jax.tree.leaves(list(eqn.params.values()), is_leaf=is_program):
            if is_program(value):
                yield from constants(value)


def test_programs_hold_no_weights(photos, tokens):
    """Neither those that are trained nor those of the autoencoder."""
    config, found = text_config(photos, "", 5), tokenizer.read(tokens[0])
    config.text.max_position_embeddings = found.length
    settings = (plain(config.net), plain(config.text), plain(config.process))
    parts = text_prior.parts_of(*settings, (tokens[0], tokens[0]), found)
    model = text_prior.model_of(parts, found, "float32")
    vae = autoencoder.autoencoder(plain(vae_config(photos, 5).net))
    shapes = {"unet": model.unet.shapes, "text_encoder": model.encoder.shapes}
    params, own = (jax.tree.map(lambda a: np.full(a.shape, MARK), t) for t in (shapes, vae.shapes))
    keys = jax.random.split(jax.random.key(0), 2)
    words = wordings(CAPTIONS, lambda text: found.encode(text).ids)
    objective = Objective(null_label=len(CAPTIONS))
    loss = text_loss(model.process, model.denoise, words, objective, model.levels)
    batch = {"image": np.zeros((6, 4, 4, 4), np.float32), "label": np.zeros(6, np.int32)}
    assert not holds_weights(jax.grad(loss), params, batch, keys[0])
    loss = reconstruction_loss(vae.encode, vae.decode, Fidelity())
    batch = {"image": np.zeros((6, SIDE, SIDE, 3), np.float32)}
    assert not holds_weights(jax.grad(loss), own, batch, keys[0])


def test_the_sheet_is_one_program_for_all_weights(photos, tokens):
    """Other weights compile nothing and give other pictures: they are arguments."""
    config, found = text_config(photos, "", 5), tokenizer.read(tokens[0])
    config.text.max_position_embeddings = found.length
    settings = (plain(config.net), plain(config.text), plain(config.process))
    parts = text_prior.parts_of(*settings, (tokens[0], tokens[0]), found)
    model = text_prior.model_of(parts, found, "float32")
    vae = autoencoder.autoencoder(plain(vae_config(photos, 5).net))
    draw = text_prior.drawing(model, vae, Sheet(("red", "green"), 2, 2, 3.0))
    keys, own = jax.random.split(jax.random.key(0), 2), vae.init(jax.random.key(1))
    shapes = {"unet": model.unet.shapes, "text_encoder": model.encoder.shapes}
    weights = []
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        weights.append(jax.tree.map(lambda a: rng.normal(0, 0.2, a.shape), shapes))  # noqa: B023
    executor.PROGRAMS.clear()
    first = draw(jax.tree.map(np.float32, weights[0]), own, keys)
    programs = len(executor.PROGRAMS.kept)
    other = draw(jax.tree.map(np.float32, weights[1]), own, keys)
    assert len(executor.PROGRAMS.kept) == programs > 0
    assert first.shape[0] == 4 and not np.allclose(first, other, atol=1e-3)


# --- the folder -----------------------------------------------------------------------------------


def test_export_is_read_back_bit_for_bit(tmp_path):
    net = {"block_out_channels": (4, 8), "norm_num_groups": 2, "layers_per_block": 1}
    net |= {"down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "attention_head_dim": 2}
    net |= {"up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "cross_attention_dim": 6}
    made = Network(SDUNet, SDUNetConfig.from_mapping(net))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda a: rng.normal(size=a.shape).astype(np.float16), made.shapes)
    export.write(tmp_path / "x.safetensors", params)
    source = safetensors_file.read(tmp_path / "x.safetensors")
    assert {a.dtype for a in source.tensors.values()} == {np.dtype(np.float16)}
    back = conversion.fill(made.shapes, source)
    assert store.digest(back) == store.digest(jax.tree.map(np.float32, params))
    large = jax.tree.map(lambda a: a.astype(np.float32) + 1e5, params)
    with pytest.raises(ValueError, match="conv_in/bias has values that float16 cannot hold"):
        export.tensors(large)


def test_the_folder_has_the_layout_of_stable_diffusion(second, golden):
    ours, theirs = second / "prior", golden("sd_tiny")
    for file in ("unet/" + autoencoder.WEIGHTS, "vae/" + autoencoder.WEIGHTS):
        a, b = (safetensors_file.read(folder / file).tensors for folder in (ours, theirs))
        assert kinds(a) == kinds(b)
    a, b = (
        safetensors_file.read(f / "text_encoder/model.safetensors").tensors for f in (ours, theirs)
    )
    assert kinds(a) == kinds(b) - {("text_model.embeddings.position_ids", 2)}
    for file in sorted(theirs.rglob("*.json")):
        part = file.relative_to(theirs)
        wanted, found = (json.loads(f.read_text()) for f in (file, ours / part))
        if part.name in ("model_index.json", "special_tokens_map.json"):
            assert {k: v for k, v in found.items() if k != "_ledits"} == wanted
        if part.name == "scheduler_config.json":
            assert {**wanted, "_diffusers_version": ""} == {**found, "_diffusers_version": ""}
    assert (
        json.loads((ours / "tokenizer/tokenizer_config.json").read_text())["model_max_length"]
        == (json.loads((ours / "text_encoder/config.json").read_text())["max_position_embeddings"])
    )


def kinds(tensors):
    """(name with every number as #, rank) of the tensors."""
    names = {
        ".".join("#" if part.isdigit() else part for part in name.split(".")): a.ndim
        for name, a in tensors.items()
    }
    return set(names.items())


def test_an_untrained_text_prior_is_said_to_be_so(second):
    said = (second / "stderr.txt").read_text()
    assert f"warning: {second / 'prior'} at step 20: the prior fails the denoise test" in said


def test_the_denoiser_learns_and_tells_what_it_is(second, photos):
    lines = metrics(second)
    assert [line["step"] for line in lines] == [5, 10, 15, 20]
    assert all(np.isfinite(line["loss"]) for line in lines)
    assert lines[-1]["loss"] < lines[0]["loss"]
    card = (second / "prior" / "README.md").read_text()
    assert "drawn here" in card and "license: mit" in card and str(Path(photos).name) in card
    report = json.loads((second / "prior" / "training.json").read_text())
    assert report["text"]["images"] == 120 and report["vae"]["images"] == 360
    assert report["data"]["captions"] == CAPTIONS
    assert len(list(second.glob("latents-*.npy"))) == 1
    assert (second / "prior" / "samples.png").exists()


def test_what_is_missing_is_named(photos, first, tmp_path):
    assert "vae: give the folder" in refused(text_config(photos, "", 5), tmp_path, "train")
    message = refused(text_config(photos, tmp_path / "no", 5), tmp_path, "train")
    assert "vae: cannot read" in message
    config = text_config(photos, first / "vae", 5, data__labels="")
    assert "the text stage needs captions" in refused(config, tmp_path, "train")
    config = vae_config(photos, 5, stage="unet")
    assert "stage must be one of" in refused(config, tmp_path, "train")
    config = vae_config(photos, 5, objective__kl=-1.0)
    assert "objective.kl must be at least 0" in refused(config, tmp_path, "train")
