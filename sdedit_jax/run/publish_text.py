"""The folder of a trained text prior, in the layout of diffusers, with its model card."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from sdedit_jax.data import Source
from sdedit_jax.weights import export, store

VERSION = "0.10.0"
"""Of diffusers: the files say what this one and later ones read."""
UNET = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": VERSION,
    "act_fn": "silu",
    "center_input_sample": False,
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "norm_eps": 1e-5,
}
TEXT = {
    "architectures": ["CLIPTextModel"],
    "model_type": "clip_text_model",
    "attention_dropout": 0.0,
    "dropout": 0.0,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-5,
}
SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": VERSION,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": VERSION,
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
WEIGHTS = "diffusion_pytorch_model.safetensors"


class Parts(NamedTuple):
    """What a text prior is made of, besides its weights.

    Attributes:
        unet, text, scheduler: fields of their config.json, as the training's config has them.
        vae, tokenizer: folders that are copied.
        marks: ids of the start, the end and the padding of a text.
    """

    unet: Mapping[str, Any]
    text: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    vae: Path
    tokenizer: Path
    marks: tuple[int, int, int]


def write(
    folder: Path,
    parts: Parts,
    params: Mapping[str, Any],
    dtype: str,
    report: Mapping[str, Any],
    sheet: np.ndarray | None = None,
) -> None:
    """Write the folder; it appears whole or not at all, and replaces an older one.

    Args:
        params: {"unet", "text_encoder"}.
        dtype: of the weights in the files.
        report: what training.json and the model card say.
        sheet: samples, uint8 [H, W, 3].
    """
    folder = folder.absolute()
    aside = store.beside(folder, "partial")
    aside.mkdir(parents=True)
    export.write(aside / "unet" / WEIGHTS, params["unet"], dtype)
    export.write(aside / "text_encoder" / "model.safetensors", params["text_encoder"], dtype)
    _json(aside / "unet" / "config.json", {**UNET, **parts.unet})
    _json(aside / "text_encoder" / "config.json", text_config(parts, dtype))
    _json(aside / "scheduler" / "scheduler_config.json", {**SCHEDULER, **parts.scheduler})
    _json(aside / "model_index.json", INDEX)
    for name in ("config.json", "training.json", WEIGHTS):
        (aside / "vae").mkdir(exist_ok=True)
        shutil.copyfile(parts.vae / name, aside / "vae" / name)
    shutil.copytree(parts.tokenizer, aside / "tokenizer")
    _json(aside / "training.json", report)
    (aside / "README.md").write_text(card(report), encoding="utf-8")
    if sheet is not None:
        Image.fromarray(sheet).save(aside / "samples.png")
    store.replace(aside, folder)


def text_config(parts: Parts, dtype: str) -> dict[str, Any]:
    """config.json of the text encoder."""
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    own = dict(zip(names, parts.marks, strict=True))
    width = parts.text["hidden_size"]
    return {**TEXT, **parts.text, **own, "projection_dim": width, "torch_dtype": dtype}


def report(
    config: ConfigDict, data: Source, vocabulary: int, text: Mapping[str, Any]
) -> dict[str, Any]:
    """What training.json and the model card say; `text` is what to say of the second stage."""
    return {
        "name": config.name,
        "data": {
            "source": Path(config.data.source).name,
            "pictures": len(data),
            "side": int(data.images[0].shape[0]),
            "credit": config.data.credit,
            "captions": list(data.names),
        },
        "vocabulary": vocabulary,
        "vae": first_stage(config.vae),
        "text": text,
        "sheet": {"guidance": config.sheet.guidance, "texts": list(config.sheet.texts)},
    }


def first_stage(folder: str | Path) -> dict[str, Any]:
    """What the first stage tells of its autoencoder.

    Raises:
        ValueError: it was not published by the first stage.
    """
    file = Path(folder) / "training.json"
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"vae: cannot read {file}, which the first stage (configs/train_vae.py) writes: {error}"
        ) from None


def card(report: Mapping[str, Any]) -> str:
    """README.md: what it is, made from what, how good."""
    data, text, vae = report["data"], report["text"], report["vae"]
    errors = {k.removeprefix("held_out/"): v for k, v in text.items() if k.startswith("held_out/")}
    levels = "\n".join(f"| {level} | {value:.3f} |" for level, value in errors.items())
    return f"""---
license: mit
library_name: diffusers
pipeline_tag: text-to-image
---

# {report["name"]}

A model of the shape of Stable Diffusion 1, small enough to be trained on one CPU core: photos of
{data["side"]} x {data["side"]} pixels from captions such as "{data["captions"][0]}". It is for
trying out and testing editors, and knows nothing else than its {len(data["captions"])} captions.

| part | parameters |
|---|---|
| autoencoder | {vae["parameters"]:,} |
| U-Net | {text["unet_parameters"]:,} |
| text encoder | {text["encoder_parameters"]:,} |

- Data: {data["credit"]}; {data["source"]},
  {data["pictures"]:,} training pictures.
- Captions: {len(data["captions"])}, listed below; their short forms (adjectives, noun, both; "a
  NOUN") and the empty text were shown in training too. The vocabulary has {report["vocabulary"]}
  entries; other words fall into bytes that the model has never seen.
- Training: autoencoder {vae["images"]:,} pictures{_hours(vae)}; then U-Net and text encoder
  together {text["images"]:,} latents of the pictures and their mirror images{_hours(text)}.
- Autoencoder on held-out pictures: PSNR {vae["psnr"]:.1f} dB, RMSE {vae["held_out/rmse"]:.3f}
  in units of [-1, 1].
- Noise prediction on held-out latents (std 1), RMSE of the denoised latent:

| sigma / alpha | RMSE |
|---|---|
{levels}

Weights are float16; `samples.png` shows a row of samples for each text, at guidance
{report["sheet"]["guidance"]:g}. All figures are of the files as they stand here;
`training.json` has every setting.

Captions: {"; ".join(data["captions"])}.
"""


def _hours(part: Mapping[str, Any]) -> str:
    seconds = part.get("seconds")
    return f" in {seconds / 3600:.1f} hours" if seconds else ""


def _json(file: Path, values: Mapping[str, Any]) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
