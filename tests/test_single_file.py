"""Single files of Stable Diffusion: the folder of the same weights gives the same prior and edits.

The file is built from the folder of a text prior, by the names of CompVis' and Stability AI's
programs, written here from the folder's side.
"""

import json
import re
import shutil
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import HERE
from program import config_of
from safetensors.numpy import load_file, save_file

import sdedit_jax as sj
from sdedit_jax import modes
from sdedit_jax.weights import store
from sdedit_jax.weights.convert import convert
from sdedit_jax.weights.families import others
from sdedit_jax.weights.readers import torch_file
from sdedit_jax.weights.single_file import Opened, measured, unpack
from sdedit_jax.weights.source import Source

FOLDER = HERE.parent / "checkpoints" / "fruits64-text"
DEPTH, LEVELS = 1, 3
GIVEN = {
    "unet": {"attention_head_dim": [1, 2, 4], "norm_num_groups": 8, "sample_size": 16},
    "vae": {"norm_num_groups": 8},
    "text_encoder": {"num_attention_heads": 4, "hidden_act": "quick_gelu"},
}
RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1"}
RESNET |= {"norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)")


def unet_name(name, names):
    for end, theirs in ENDS.items():
        if name.startswith(end + "."):
            return theirs + resnet(name.removeprefix(end))
    way, level, kind, place, inner = BLOCK.fullmatch(name).groups()
    first = int(level) * (DEPTH + 1) + (way == "down")
    if kind == "downsamplers":
        return f"input_blocks.{first + DEPTH}.0.{inner.replace('conv.', 'op.')}"
    if kind == "upsamplers":
        attends = f"up_blocks.{level}.attentions.0.norm.weight" in names
        return f"output_blocks.{first + DEPTH}.{1 + attends}.{inner}"
    blocks = "input_blocks" if way == "down" else "output_blocks"
    return f"{blocks}.{first + int(place)}.{int(kind == 'attentions')}{resnet('.' + inner)}"


def resnet(inner):
    for ours, theirs in RESNET.items():
        if inner.startswith(f".{ours}."):
            return inner.replace(ours, theirs, 1)
    return inner


def vae_name(name):
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    if "mid_block.attentions.0" in name:
        head, inner = name.split("mid_block.attentions.0.")
        part, last = inner.rsplit(".", 1)
        return f"{head}mid.attn_1.{ATTENTION[part]}.{last}"
    name = re.sub(r"down_blocks\.(\d)", r"down.\1", name)
    name = re.sub(r"up_blocks\.(\d)", lambda m: f"up.{LEVELS - 1 - int(m[1])}", name)
    name = re.sub(r"resnets\.(\d)", r"block.\1", name)
    return re.sub(r"(down|up)samplers\.0", r"\1sample", name)


OPEN = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc"}
OPEN |= {"mlp.fc2": "mlp.c_proj", "self_attn.out_proj": "attn.out_proj"}


def open_clip(text):
    """OpenCLIP's tensors, with one layer more, which the folder does not have."""
    ends = "text_model.embeddings."
    out = {
        "token_embedding.weight": text[ends + "token_embedding.weight"],
        "positional_embedding": text[ends + "position_embedding.weight"],
        "text_projection": np.zeros((2, 2), np.float16),
        "logit_scale": np.zeros((), np.float16),
        "ln_final.weight": text["text_model.final_layer_norm.weight"],
        "ln_final.bias": text["text_model.final_layer_norm.bias"],
    }
    for layer in (0, 1, 2):
        at = f"text_model.encoder.layers.{min(layer, 1)}."
        to = f"transformer.resblocks.{layer}."
        for last in ("weight", "bias"):
            three = [text[f"{at}self_attn.{p}_proj.{last}"] for p in "qkv"]
            out[f"{to}attn.in_proj_{last}"] = np.concatenate(three)
            out |= {f"{to}{theirs}.{last}": text[f"{at}{o}.{last}"] for o, theirs in OPEN.items()}
    return out


def parts():
    stem = "diffusion_pytorch_model.safetensors"
    files = {"unet": stem, "vae": stem, "text_encoder": "model.safetensors"}
    return {part: load_file(FOLDER / part / name) for part, name in files.items()}


def single(generation="1"):
    """The tensors of the single file."""
    held = parts()
    out = {
        f"model.diffusion_model.{unet_name(name, held['unet'])}": a
        for name, a in held["unet"].items()
    }
    for name, a in held["vae"].items():
        matrix = ".attentions.0.to_" in name and a.ndim == 2
        out[f"first_stage_model.{vae_name(name)}"] = a[..., None, None] if matrix else a
    text = held["text_encoder"]
    if generation == "2":
        out |= {f"cond_stage_model.model.{name}": a for name, a in open_clip(text).items()}
    else:
        out |= {f"cond_stage_model.transformer.{name}": a for name, a in text.items()}
        at = "cond_stage_model.transformer.text_model.embeddings.position_ids"
        out[at] = np.arange(24)[None]
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    out |= {"betas": betas.astype(np.float32)}
    return out | {"alphas_cumprod": np.cumprod(1 - betas).astype(np.float32)}


def averaged(tensors):
    """The tensors as raw weights that are wrong, with the right ones as averages."""
    out = dict(tensors)
    for name, a in tensors.items():
        if name.startswith("model."):
            out["model_ema." + name[len("model.") :].replace(".", "")] = a
            out[name] = a + np.float16(1)
    return out | {"model_ema.decay": np.array(0.9999), "model_ema.num_updates": np.array(9)}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Single files, each in a folder with the tokenizer beside it."""
    root = tmp_path_factory.mktemp("single")
    shutil.copytree(FOLDER / "tokenizer", root / "tokenizer")
    save_file(single(), root / "one.safetensors")
    save_file(single("2"), root / "two.safetensors")
    save_file(averaged(single()), root / "ema.safetensors")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    new = tmp_path_factory.mktemp("folder") / "prior"
    return convert(FOLDER, new, check=False).folder


def test_a_single_file_is_converted_as_its_folder(files, folder, tmp_path, capsys):
    given = tmp_path / "given.json"
    given.write_text(json.dumps(GIVEN))
    config = config_of(
        "convert", source=str(files / "one.safetensors"), architecture=str(given), check=False
    )
    assert modes.run(config, tmp_path / "new", "convert") == 0
    out = capsys.readouterr().out
    assert "note      prediction eps, the one of Stable Diffusion 1" in out
    assert "left out  betas: a table or number of the training program" in out
    card, wanted = (store.read_metadata(at) for at in (tmp_path / "new", folder))
    for field in ("sha256", "process", "prediction", "size", "range"):
        assert card[field] == wanted[field], field


def test_averages_in_a_single_file_are_taken(files, folder, tmp_path):
    made = convert(files / "ema.safetensors", tmp_path / "new", architecture=GIVEN, check=False)
    assert made.metadata["sha256"] == store.read_metadata(folder)["sha256"]
    source = made.metadata["source"]
    assert source["ema"] is True and "model_ema.*" in source["left_out"]["model.diffusion_model.*"]
    tensors = averaged(single())
    del tensors["model_ema.diffusion_modelout2bias"]
    with pytest.raises(ValueError, match="no average .*out.2.bias"):
        unpack.unpack(Source("x", tensors))


def test_the_text_tower_of_the_second_generation(files, folder, tmp_path):
    """The fused projections are split, the last layer is left out, eps is measured."""
    made = convert(files / "two.safetensors", tmp_path / "new", architecture=GIVEN, check=False)
    assert made.metadata["sha256"] == store.read_metadata(folder)["sha256"]
    (note,) = made.metadata["notes"]
    assert re.fullmatch(
        r"prediction eps, measured: .* correlation (0.9[0-9]|1.00) with it .*", note
    )
    new, old = (sj.load_prior(at) for at in (tmp_path / "new", folder))
    assert (new.process, new.predict) == (old.process, old.predict)
    ids = new.text.tokenize("an apple").ids
    np.testing.assert_array_equal(ids, old.text.tokenize("an apple").ids)
    found, wanted = (prior.text.encode(prior.params, ids) for prior in (new, old))
    np.testing.assert_array_equal(found, wanted)


def test_a_given_prediction_is_taken_and_noted(files, tmp_path):
    two = files / "two.safetensors"
    sizeless = GIVEN | {"unet": {n: v for n, v in GIVEN["unet"].items() if n != "sample_size"}}
    made = convert(two, tmp_path / "v", architecture=sizeless, prediction="v", check=False)
    assert made.metadata["prediction"]["predicts"] == "v"
    assert made.metadata["notes"] == ["prediction v, as given"]
    assert made.metadata["size"] == [96 * 4, 96 * 4, 3]
    both = GIVEN | {"scheduler": {"prediction_type": "epsilon"}}
    with pytest.raises(ValueError, match="prediction: 'v' contradicts 'epsilon'"):
        convert(two, tmp_path / "w", architecture=both, prediction="v")
    with pytest.raises(ValueError, match="prediction must be one of"):
        convert(two, tmp_path / "w", architecture=GIVEN, prediction="x0")
    with pytest.raises(ValueError, match="only single files of Stable Diffusion take it, got 'v'"):
        convert(FOLDER, tmp_path / "w", prediction="v")


@pytest.mark.parametrize(("alpha", "predicts"), [(1.0, "epsilon"), (0.07, "v_prediction")])
def test_the_measurement_tells_eps_from_v(alpha, predicts):
    """eps gives pure noise back; v = alpha eps - sigma x0 has little of it."""
    x0 = np.random.default_rng(1).normal(size=(16, 16, 4))
    sigma = np.sqrt(1 - alpha**2)
    prior = SimpleNamespace(
        eps=lambda params, x, t, cond: alpha * x - sigma * jnp.asarray(x0, jnp.float32),
        params=None,
        text=SimpleNamespace(
            tokenize=lambda text: SimpleNamespace(ids=np.zeros(3)), encode=lambda *_: None
        ),
    )
    given = {"scheduler": {"prediction_type": "epsilon"}, "unet": {"sample_size": 16}}
    source = Source("x", {}, config={"unet": {"in_channels": 4}})
    found = measured(Opened(source, given, "", True), prior)
    assert found.given["scheduler"]["prediction_type"] == predicts and not found.open


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alphas_cumprod": np.linspace(0.9, 0.1, 1000)}, "alphas_cumprod .* not those of its sch"),
        ({"alphas_cumprod": np.linspace(0.9, 0.1, 50)}, "50 levels"),
        ({"model.diffusion_model.more.weight": np.zeros(2)}, "without use.*unet.more.weight"),
        ({"stranger": np.zeros(2)}, "without use.*stranger"),
    ],
)
def test_files_that_do_not_fit_are_refused(change, words, tmp_path, files):
    save_file(single() | change, files / "bad.safetensors")
    with pytest.raises(ValueError, match=words):
        convert(files / "bad.safetensors", tmp_path / "new", architecture=GIVEN, check=False)


def test_given_fields_must_not_contradict_the_tensors(files, tmp_path):
    for part, field in (("unet", {"in_channels": 9}), ("text_encoder", {"vocab_size": 3})):
        given = GIVEN | {part: GIVEN[part] | field}
        with pytest.raises(ValueError, match=f"{part}.{next(iter(field))} is"):
            convert(files / "one.safetensors", tmp_path / "new", architecture=given)


def test_the_tokenizer_is_asked_for(files, tmp_path):
    alone = tmp_path / "alone.safetensors"
    shutil.copy(files / "one.safetensors", alone)
    with pytest.raises(ValueError, match="has none; give --config.tokenizer=DIR"):
        convert(alone, tmp_path / "new", architecture=GIVEN)
    with pytest.raises(ValueError, match="tokenizer: .*gone is not a folder"):
        convert(alone, tmp_path / "new", architecture=GIVEN, tokenizer=tmp_path / "gone")
    for home in (FOLDER, FOLDER / "tokenizer"):
        made = convert(
            alone, tmp_path / "new", architecture=GIVEN, tokenizer=home, check=False, overwrite=True
        )
        kept = made.folder / "tokenizer" / "vocab.json"
        assert kept.read_bytes() == (FOLDER / "tokenizer" / "vocab.json").read_bytes()
    pixels = HERE / "goldens" / "unet2d_trained"
    with pytest.raises(ValueError, match="does not read texts"):
        convert(pixels, tmp_path / "pixels", tokenizer=FOLDER)


def test_a_ckpt_of_lightning_is_read(tmp_path):
    """Its state dict lies under a name, beside numbers of the training."""
    torch = pytest.importorskip("torch")
    held = {n: torch.from_numpy(np.ascontiguousarray(a)) for n, a in single().items()}
    content = {"state_dict": held, "global_step": 7, "epoch": 1}
    torch.save(content, tmp_path / "a.ckpt")
    made = convert(
        tmp_path / "a.ckpt", tmp_path / "new", architecture=GIVEN, tokenizer=FOLDER, check=False
    )
    assert (
        made.metadata["sha256"] == convert(FOLDER, tmp_path / "b", check=False).metadata["sha256"]
    )
    torch.save({"string_to_param": {"*": torch.zeros(1, 4)}, "name": "cat"}, tmp_path / "word.pt")
    with pytest.raises(ValueError, match="a textual inversion"):
        convert(tmp_path / "word.pt", tmp_path / "word", check=False)


OTHERS = {
    "a LoRA": (
        "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight",
        "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha",
        "base_model.model.down_blocks.0.attn1.to_q.lora_A.weight",
        "unet.down_blocks.0.attentions.0.to_q.lora.down.weight",
        "down_blocks.0.attn1.processor.to_q_lora.down.weight",
        "lora_unet_mid_block.hada_w1_a",
    ),
    "a ControlNet": (
        "control_model.input_blocks.0.0.weight",
        "controlnet_cond_embedding.conv_in.weight",
        "input_hint_block.0.weight",
    ),
    "an IP-Adapter": ("image_proj.proj.weight", "ip_adapter.1.to_k_ip.weight"),
    "Stable Diffusion XL": (
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight",
        "model.diffusion_model.label_emb.0.0.weight",
    ),
    "a U-Net of denoising-diffusion-pytorch": (
        "model.downs.0.0.block1.proj.weight",
        "ups.3.1.mlp.1.bias",
    ),
    "a textual inversion": ("emb_params", "*", "<cat-toy>"),
    "the autoencoder .VAE.": ("first_stage_model.encoder.conv_in.weight", "decoder.conv_in.weight"),
    "the text encoder": ("text_model.final_layer_norm.weight",),
    "the U-Net of a latent": ("model.diffusion_model.out.2.weight",),
    "a diffusion transformer": ("double_blocks.0.img_attn.qkv.weight",),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_files_are_called_by_name(kind):
    """A LoRA may have names of any other kind beside its own; a word has one tensor."""
    whole = kind.split()[1] in ("LoRA", "ControlNet") or kind == "Stable Diffusion XL"
    for name in OTHERS[kind]:
        held = {name: np.zeros(1)} | ({"model.x.weight": np.zeros(1)} if whole else {})
        with pytest.raises(ValueError, match=f"source: f.safetensors is {kind}.*; ") as caught:
            others.check(Source("f.safetensors", held))
        assert "\n" not in str(caught.value)


def test_a_checkpoint_of_denoising_diffusion_pytorch_is_named(tmp_path):
    """The file of its Trainer: raw weights, optimizer, and the module of the averages."""

    class Tensor(np.ndarray):
        untyped_storage = None

        def is_floating_point(self):
            return True

    def held(value):
        return np.full((2, 2), value).view(Tensor)

    name, why = "model.downs.0.0.block1.proj.weight", "a U-Net of denoising-diffusion-pytorch"
    content = {
        "step": 10,
        "model": {name: held(0), "betas": held(0)},
        "opt": {"state": {}, "param_groups": []},
        "ema": {
            **{f"online_model.{name}": held(0), f"ema_model.{name}": held(1)},
            **{"ema_model.betas": held(1), "initted": held(1), "step": held(1)},
        },
        "version": "2.2.5",
    }
    chosen = torch_file._choose(content, tmp_path / "model-10.pt")
    assert chosen.ema is True and list(chosen.tensors) == [name, "betas"]
    assert np.array_equal(chosen.tensors[name], held(1))
    with pytest.raises(ValueError, match=f"model-10.pt is {why}; its blocks"):
        others.check(Source(tmp_path / "model-10.pt", chosen.tensors))


def test_priors_are_not_taken_for_other_files():
    others.check(Source("x", single("2")))
    for part, tensors in parts().items():
        if part == "unet":
            others.check(Source("x", tensors))
    for golden in ("unet2d_trained",):
        folder = HERE / "goldens" / golden
        others.check(Source("x", load_file(folder / "diffusion_pytorch_model.safetensors")))
