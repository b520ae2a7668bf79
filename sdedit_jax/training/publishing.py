"""The folder of a trained text prior in the layout of diffusers, with its model card."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from sdedit_jax.files import door
from sdedit_jax.training.autoencoder import WEIGHTS
from sdedit_jax.training.job import Job
from sdedit_jax.weights import export, whole_folder
from sdedit_jax.weights.families import stable_diffusion

VERSION = "0.10.0"
"""Version of diffusers; this one and later ones read the files."""
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


class Parts(NamedTuple):
    """The parts of a text prior, without the weights.

    Attributes:
        unet, text, scheduler: fields of their config.json that the training chooses.
        vae, tokenizer: folders that are copied.
        marks: ids of the start, the end and the padding of a text.
        ledits: preset of LEDITS -> the prior's own numbers for it.
    """

    unet: Mapping[str, Any]
    text: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    vae: Path
    tokenizer: Path
    marks: tuple[int, int, int]
    ledits: Mapping[str, Any] = {}


class Sheet(NamedTuple):
    """A sheet of samples: a row of `seeds` samples for each text."""

    texts: tuple[str, ...]
    seeds: int
    steps: int
    guidance: float


def write(
    job: Job,
    parts: Parts,
    params: Mapping[str, Any],
    report: Mapping[str, Any],
    sheet: np.ndarray,
) -> None:
    """Write the folder, or replace it. An interrupted call leaves the old folder or none.

    Args:
        params: {"unet", "text_encoder"}.
        report: the contents of training.json and of the model card.
        sheet: samples, uint8 [H, W, 3].
    """
    dtype = job.dtype
    with whole_folder.writing(job.folder, "publish") as aside:
        export.write(aside / "unet" / WEIGHTS, params["unet"], dtype)
        export.write(aside / "text_encoder" / "model.safetensors", params["text_encoder"], dtype)
        _json(aside / "unet" / "config.json", {**UNET, **parts.unet})
        _json(aside / "text_encoder" / "config.json", text_config(parts, dtype))
        _json(aside / "scheduler" / "scheduler_config.json", {**SCHEDULER, **parts.scheduler})
        own = {stable_diffusion.OWN: dict(parts.ledits)} if parts.ledits else {}
        _json(aside / "model_index.json", {**INDEX, **own})
        (aside / "vae").mkdir()
        for name in ("config.json", "training.json", WEIGHTS):
            door.copy(parts.vae / name, aside / "vae" / name, "vae")
        (aside / "tokenizer").mkdir()
        for file in door.check_folder(parts.tokenizer, "workdir", most=door.TEXT):
            door.copy(file, aside / "tokenizer" / file.name, "workdir", door.TEXT)
        _json(aside / "training.json", report)
        (aside / "README.md").write_text(model_card(report), encoding="utf-8")
        Image.fromarray(sheet).save(aside / "samples.png")
        for name, file in job.files.items():
            door.copy(file, aside / name)


def text_config(parts: Parts, dtype: str) -> dict[str, Any]:
    """config.json of the text encoder."""
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    own = dict(zip(names, parts.marks, strict=True))
    width = parts.text["hidden_size"]
    return {**TEXT, **parts.text, **own, "projection_dim": width, "torch_dtype": dtype}


def report(
    job: Job, vocabulary: int, first: Mapping[str, Any], text: Mapping[str, Any], sheet: Sheet
) -> dict[str, Any]:
    """The contents of training.json, from which the model card is made.

    Args:
        vocabulary: entries of the tokenizer.
        first: the report of the first stage.
        text: the report of the second stage.
        sheet: the samples.
    """
    return {
        "name": job.name,
        "data": {
            **job.origin,
            "pictures": len(job.data),
            "side": int(job.data.images[0].shape[0]),
            "captions": list(job.data.names),
        },
        "vocabulary": vocabulary,
        "vae": first,
        "text": text,
        "sheet": {"guidance": sheet.guidance, "texts": list(sheet.texts)},
    }


CARD = """---
license: mit
library_name: diffusers
pipeline_tag: text-to-image
---

# {name}

A model of the shape of Stable Diffusion 1, small enough to be trained on one CPU core: photos of
{side} x {side} pixels from captions such as "{example}". It is for
testing editors, and knows only its {captions} captions.

| part | parameters |
|---|---|
| autoencoder | {vae_parameters:,} |
| U-Net | {unet_parameters:,} |
| text encoder | {encoder_parameters:,} |

- Data: {credit}; {source},
  {pictures:,} training pictures.
- Captions: {captions}, listed below. Their short forms (adjectives, noun, both; "a NOUN") and the
  empty text were shown in training too. The vocabulary has {vocabulary} entries; other words are
  encoded as bytes, which the model has never seen.
- Training: autoencoder {vae_images:,} pictures{vae_hours}; then U-Net and text encoder
  together {text_images:,} latents of the pictures and their mirror images{text_hours}.
- Autoencoder on held-out pictures: PSNR {psnr:.1f} dB, RMSE {rmse:.3f}
  in units of [-1, 1].
- Noise prediction on held-out latents (std 1), RMSE of the denoised latent:

| sigma / alpha | RMSE |
|---|---|
{levels}

Weights are float16. `samples.png` shows a row of samples for each text, at guidance
{guidance:g}. All figures are of the files in this folder;
`training.json` has every setting.

Captions: {all_captions}.
"""


def model_card(report: Mapping[str, Any]) -> str:
    """README.md of the folder."""
    data, text, vae = report["data"], report["text"], report["vae"]
    errors = {k.removeprefix("held_out/"): v for k, v in text.items() if k.startswith("held_out/")}
    values = {name: data[name] for name in ("side", "credit", "source", "pictures")}
    values |= {"name": report["name"], "vocabulary": report["vocabulary"]}
    values |= {"example": data["captions"][0], "captions": len(data["captions"])}
    values |= {"vae_parameters": vae["parameters"], "unet_parameters": text["unet_parameters"]}
    values |= {"encoder_parameters": text["encoder_parameters"]}
    values |= {"vae_images": vae["images"], "vae_hours": _hours(vae)}
    values |= {"text_images": text["images"], "text_hours": _hours(text)}
    values |= {"psnr": vae["psnr"], "rmse": vae["held_out/rmse"]}
    values["levels"] = "\n".join(f"| {level} | {value:.3f} |" for level, value in errors.items())
    values |= {"guidance": report["sheet"]["guidance"], "all_captions": "; ".join(data["captions"])}
    return CARD.format_map(values)


def _hours(part: Mapping[str, Any]) -> str:
    seconds = part.get("seconds")
    return f" in {seconds / 3600:.1f} hours" if seconds else ""


def _json(file: Path, values: Mapping[str, Any]) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
