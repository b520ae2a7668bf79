"""A tiny Stable Diffusion folder with random weights, in the layout of diffusers."""

import functools
import json
from pathlib import Path

import jax
import numpy as np
from program import home
from safetensors.numpy import save_file

from sdedit_jax import registry
from sdedit_jax.weights import conversion, store

SIDE, LATENT, FACTOR, WIDTH, LENGTH = 16, 8, 2, 8, 8
COMMON = {"layers_per_block": 1, "norm_num_groups": 4}
UNET = COMMON | {
    "_class_name": "UNet2DConditionModel",
    "sample_size": LATENT,
    "block_out_channels": [8, 8],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "cross_attention_dim": WIDTH,
    "attention_head_dim": 2,
}
VAE = COMMON | {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [8, 8],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
}
LETTERS = "abcdefghijklmnopqrstuvwxyz,!"
VOCABULARY = [*LETTERS, *(f"{a}</w>" for a in LETTERS), "<|startoftext|>", "<|endoftext|>"]
TEXT = {
    "model_type": "clip_text_model",
    "vocab_size": len(VOCABULARY),
    "hidden_size": WIDTH,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": LENGTH,
    "eos_token_id": len(VOCABULARY) - 1,
}
SCHEDULER = {"_class_name": "PNDMScheduler", "beta_schedule": "scaled_linear"}
SCHEDULER |= {"beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}
SCHEDULER |= {"set_alpha_to_one": False, "steps_offset": 1}
FILES = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
FILES |= {"text_encoder": "model"}


def write(folder, dtype="float16", **changes):
    """The folder; `changes` of its configs, by part: unet={"in_channels": 9}."""
    folder = Path(folder)
    given = {"unet": UNET, "vae": VAE, "text_encoder": TEXT, "scheduler": SCHEDULER}
    configs = {part: values | changes.get(part, {}) for part, values in given.items()}
    for part in FILES:
        save(folder / part, configs[part], weights(part, configs[part]), dtype, FILES[part])
    (folder / "scheduler").mkdir()
    put(folder / "scheduler" / "scheduler_config.json", configs["scheduler"])
    (folder / "tokenizer").mkdir()
    put(folder / "tokenizer" / "vocab.json", {name: i for i, name in enumerate(VOCABULARY)})
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    put(folder / "tokenizer" / "tokenizer_config.json", {"model_max_length": LENGTH})
    index = {"_class_name": "StableDiffusionPipeline", "tokenizer": ["transformers", "CLIP"]}
    put(folder / "model_index.json", index | {part: ["diffusers", part] for part in FILES})
    return folder


def put(file, value):
    file.write_text(json.dumps(value))


def save(home, config, tensors, dtype, stem):
    home.mkdir(parents=True)
    put(home / "config.json", config)
    save_file({n: a.astype(dtype) for n, a in tensors.items()}, home / f"{stem}.safetensors")


def weights(part, config):
    """Random weights of a part under torch's names and in its layout, smaller than of a new
    network."""
    card = {"network": "stable_diffusion", "config": {part: config}}
    shapes = registry.part_of(card, part, "float32", part).shapes
    rng, out = np.random.default_rng(len(part)), {}
    for path, leaf in store.leaves(shapes):
        name = conversion.default_name(path)
        std = 0.9 if ".attn2." in name else 0.3  # prompts act, though at one level alone
        a = rng.normal(0, std / np.sqrt(max(leaf.size // leaf.shape[-1], 1)), leaf.shape)
        a = a + 1 if path.endswith("scale") else a
        turns = {4: (3, 2, 0, 1), 2: (1, 0)}
        turned = a.transpose(turns[a.ndim]) if path.endswith("kernel") else a
        out[name] = np.ascontiguousarray(turned, np.float32)
    return out


@functools.cache
def source():
    """The folder of diffusers."""
    return str(write(home() / "text_source"))


@functools.cache
def text_prior():
    """The folder of the prior made from it."""
    from sdedit_jax.weights.convert import convert

    convert(source(), home() / "text", check=False)
    return str(home() / "text")


def leaves_equal(a, b):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


def counted(prior):
    """The prior, and a list that grows by one whenever its predictor is traced."""
    traces = []

    def predict(*args):
        traces.append(1)
        return prior.predict(*args)

    return prior.replace(predict=predict), traces
