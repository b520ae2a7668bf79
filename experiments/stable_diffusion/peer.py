"""The side of diffusers; it runs in an environment of its own, without this project.

    python peer.py write FOLDER --tokenizer=FOLDER [--size=full] [--dtype=float32]
    python peer.py evaluate FOLDER --out=FILE.npz
    python peer.py time FOLDER [--dtype=bfloat16] [--only=sdedit,leditspp,ledits] [--steps=20]
        [--runs=3]

The last line of the output is a JSON object. Needs torch, diffusers, transformers, accelerate and
safetensors.
"""

import argparse
import json
import math
import resource
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

PROMPT = "a photo of a red apple on a wooden table, studio light"
CONCEPT = "green apple"
STEP = 481
"""Of the U-Net's evaluation, in 0 ... 999."""
LEDITS = {"steps": 100, "skip": 36}
"""Of the demo of LEDITS."""
SDEDIT = {"num_inference_steps": 5, "strength": 0.8, "guidance_scale": 7.5}
"""Four evaluations of the U-Net with and without the prompt."""

DOWN, UP = ["DownEncoderBlock2D"] * 4, ["UpDecoderBlock2D"] * 4
ATTENDING = ["CrossAttnDownBlock2D"] * 3, ["CrossAttnUpBlock2D"] * 3
SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "full": {
        "unet": {"sample_size": 64, "block_out_channels": [320, 640, 1280, 1280]}
        | {"attention_head_dim": 8, "cross_attention_dim": 768, "norm_num_groups": 32},
        "vae": {"sample_size": 512, "block_out_channels": [128, 256, 512, 512]}
        | {"norm_num_groups": 32},
        "text_encoder": {"hidden_size": 768, "intermediate_size": 3072, "projection_dim": 768}
        | {"num_hidden_layers": 12, "num_attention_heads": 12},
    },
    "tiny": {
        "unet": {"sample_size": 16, "block_out_channels": [16, 32, 48, 48]}
        | {"attention_head_dim": 4, "cross_attention_dim": 24, "norm_num_groups": 8},
        "vae": {"sample_size": 128, "block_out_channels": [8, 16, 32, 32], "norm_num_groups": 4},
        "text_encoder": {"hidden_size": 24, "intermediate_size": 72, "projection_dim": 24}
        | {"num_hidden_layers": 3, "num_attention_heads": 4},
    },
}
"""What differs between Stable Diffusion 1.5 and a small model of the same layout."""
COMMON: dict[str, dict[str, Any]] = {
    "unet": {"in_channels": 4, "out_channels": 4, "layers_per_block": 2, "act_fn": "silu"}
    | {"down_block_types": [*ATTENDING[0], "DownBlock2D"], "downsample_padding": 1}
    | {"up_block_types": ["UpBlock2D", *ATTENDING[1]], "center_input_sample": False}
    | {"flip_sin_to_cos": True, "freq_shift": 0, "mid_block_scale_factor": 1, "norm_eps": 1e-5},
    "vae": {"in_channels": 3, "out_channels": 3, "latent_channels": 4, "layers_per_block": 2}
    | {"down_block_types": DOWN, "up_block_types": UP, "act_fn": "silu"},
    "text_encoder": {"vocab_size": 49408, "max_position_embeddings": 77, "layer_norm_eps": 1e-5}
    | {"hidden_act": "quick_gelu", "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1},
}
SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}
CLASSES = {
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
    "scheduler": ("diffusers", "PNDMScheduler"),
    "safety_checker": (None, None),
    "feature_extractor": (None, None),
}
FILES = {"text_encoder": "model.safetensors"}
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def main() -> None:
    """One step; its results are the last line of the output."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("step", choices=("write", "evaluate", "time"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokenizer", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--size", choices=list(SIZES), default="full")
    parser.add_argument("--dtype", choices=list(DTYPES), default="float32")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice")
    parser.add_argument("--only", default="sdedit,leditspp,ledits")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    with torch.no_grad():
        print(json.dumps(STEPS[args.step](args)))


# --- a folder of random weights -------------------------------------------------------------------


def write(args: argparse.Namespace) -> dict[str, Any]:
    """The folder of Stable Diffusion in the layout of the hub, weights of a fixed seed."""
    generator, parameters = torch.Generator().manual_seed(0), 0
    for part in ("unet", "vae", "text_encoder"):
        home = args.folder / part
        home.mkdir(parents=True)
        shapes = skeleton(part, SIZES[args.size][part] | COMMON[part], home)
        parameters += sum(math.prod(shape) for shape in shapes.values())
        tensors = {n: drawn(n, s, generator).to(DTYPES[args.dtype]) for n, s in shapes.items()}
        if part == "text_encoder":  # the hub's files have this buffer
            places = COMMON[part]["max_position_embeddings"]
            tensors["text_model.embeddings.position_ids"] = torch.arange(places)[None]
        name = FILES.get(part, "diffusion_pytorch_model.safetensors")
        save_file(tensors, home / name, metadata={"format": "pt"})
        del tensors
    (args.folder / "scheduler").mkdir()
    put(args.folder / "scheduler/scheduler_config.json", SCHEDULER)
    shutil.copytree(args.tokenizer, args.folder / "tokenizer")
    index = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.6.0"}
    put(args.folder / "model_index.json", index | CLASSES | {"requires_safety_checker": False})
    size = sum(file.stat().st_size for file in args.folder.rglob("*.safetensors"))
    return {"file_mib": round(size / 2**20), "file_parameters": parameters}


def skeleton(part: str, config: dict[str, Any], home: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors as the hub's files have them; writes config.json."""
    with torch.device("meta"):
        if part == "text_encoder":
            made = CLIPTextModel(CLIPTextConfig(**config))
            more = {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model"}
            put(home / "config.json", config | more)
        else:
            made = {"unet": UNet2DConditionModel, "vae": AutoencoderKL}[part](**config)
            made.save_config(home)
    prefix = "text_model."
    shapes = {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}
    if part != "text_encoder":
        return shapes
    return {prefix + name.removeprefix(prefix): shape for name, shape in shapes.items()}


def drawn(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Values that keep activations near size 1: N(0, 1 / inputs); norms and biases drawn too."""
    z = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        return z / math.sqrt(math.prod(shape[1:]))
    return 1 + 0.1 * z if name.endswith("weight") else 0.1 * z


def put(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=2) + "\n")


# --- its numbers ----------------------------------------------------------------------------------


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Every network once in float32, loaded by diffusers from the folder; numbers to --out."""
    generator = torch.Generator().manual_seed(1)
    config = json.loads((args.folder / "unet/config.json").read_text())
    side = config["sample_size"]
    found = {"ids": tokens(args.folder), "step": torch.tensor(STEP)}
    found["x"] = torch.randn((1, 4, side, side), generator=generator)
    found["image"] = 2 * torch.rand((1, 3, 8 * side, 8 * side), generator=generator) - 1
    seconds = {}
    for part, run in (("text", text_states), ("unet", noise), ("vae", pictures)):
        start = time.perf_counter()
        found |= run(args.folder, found)
        seconds[f"peer_{part}_s"] = time.perf_counter() - start
    np.savez(args.out, **{name: value.numpy() for name, value in found.items()})
    result = {name: round(value, 2) for name, value in seconds.items()}
    return result | {"peer_mib": peak_memory(), "peer": versions()}


def tokens(folder: Path) -> torch.Tensor:
    reader = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    padded = reader(PROMPT, padding="max_length", max_length=77, truncation=True)
    return torch.tensor([padded.input_ids])


def text_states(folder: Path, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    net = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
    return {"text": net.eval()(given["ids"]).last_hidden_state}


def noise(folder: Path, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    net = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    return {"eps": net.eval()(given["x"], STEP, given["text"]).sample}


def pictures(folder: Path, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The mean of the latent of a picture, and the picture of a latent."""
    net = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval()
    return {
        "encoded": net.encode(given["image"]).latent_dist.mean,
        "decoded": net.decode(given["x"]).sample,
    }


# --- its pipelines --------------------------------------------------------------------------------


def time_step(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of img2img, LEDITS++ and semantic guidance, on the GPU if there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = torch.cuda.get_device_name() if device == "cuda" else device
    result = {"peer": versions(), "peer_device": kind, "peer_dtype": args.dtype}
    edits = {"sdedit": img2img, "leditspp": leditspp, "ledits": semantic}
    for name in args.only.split(","):
        result |= {f"peer_{name}_{what}": v for what, v in edits[name](args, device).items()}
    if device == "cuda":
        result["peer_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return result


def img2img(args: argparse.Namespace, device: str) -> dict[str, float]:
    """SDEdit with a prompt, by DDIM."""
    from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline

    pipeline = loaded(StableDiffusionImg2ImgPipeline, args, device)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    image = photo(pipeline.unet.config.sample_size * 8)
    seed = lambda: torch.Generator(device).manual_seed(0)  # noqa: E731
    edit = lambda: pipeline(PROMPT, image, generator=seed(), **SDEDIT)  # noqa: E731
    return timed({"edit": edit}, args.runs)


def leditspp(args: argparse.Namespace, device: str) -> dict[str, float]:
    """LEDITS++: --steps there and --steps back, one concept, its defaults elsewhere."""
    from diffusers import LEditsPPPipelineStableDiffusion

    pipeline = loaded(LEditsPPPipelineStableDiffusion, args, device)
    image = photo(pipeline.unet.config.sample_size * 8)
    seed = lambda: torch.Generator(device).manual_seed(0)  # noqa: E731

    def invert() -> None:
        pipeline.invert(image, num_inversion_steps=args.steps, skip=0.0, generator=seed())

    def edit() -> None:
        concept = {"editing_prompt": [CONCEPT], "edit_guidance_scale": 5.0, "edit_threshold": 0.9}
        pipeline(**concept, use_intersect_mask=True, generator=seed())

    return timed({"invert": invert, "edit": edit}, args.runs)


def semantic(args: argparse.Namespace, device: str) -> dict[str, float]:
    """Semantic guidance from noise, as many steps as LEDITS replays, one concept."""
    from diffusers import DDIMScheduler, SemanticStableDiffusionPipeline

    pipeline = loaded(SemanticStableDiffusionPipeline, args, device)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    steps = LEDITS["steps"] - LEDITS["skip"]

    def edit() -> None:
        concept = {"editing_prompt": [CONCEPT], "edit_guidance_scale": 7.0, "edit_threshold": 0.95}
        concept |= {"edit_warmup_steps": 2, "edit_momentum_scale": 0.3, "edit_mom_beta": 0.6}
        seed = torch.Generator(device).manual_seed(0)
        guided = {"guidance_scale": 15.0, "eta": 1.0, "generator": seed}
        pipeline("", num_inference_steps=steps, **guided, **concept)

    return timed({"edit": edit}, args.runs)


def loaded(pipeline: Any, args: argparse.Namespace, device: str) -> Any:
    extra = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    made = pipeline.from_pretrained(args.folder, torch_dtype=DTYPES[args.dtype], **extra)
    made.set_progress_bar_config(disable=True)
    return made.to(device)


def photo(side: int) -> Any:
    """A picture of noise; the time does not depend on what it shows."""
    from PIL import Image

    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8))


def timed(parts: dict[str, Callable[[], None]], runs: int) -> dict[str, float]:
    """Median seconds of each part, in turns, after one round that is not counted."""
    took: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(1 + runs):
        for name, run in parts.items():
            took[name].append(clock(run)[0])
    return {f"{name}_s": round(statistics.median(all_[1:]), 3) for name, all_ in took.items()}


# --- measuring ------------------------------------------------------------------------------------


def clock(run: Callable[[], Any]) -> tuple[float, Any]:
    """Wall seconds of a call, the GPU's work included, and what it gave."""
    start = time.perf_counter()
    result = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


def peak_memory() -> int:
    """Peak MiB of this process, mapped files included."""
    kilo = 1 if sys.platform == "darwin" else 1024
    return round(kilo * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def versions() -> str:
    import diffusers
    import transformers

    libraries = (torch, diffusers, transformers)
    return ", ".join(f"{lib.__name__} {lib.__version__}" for lib in libraries)


STEPS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "write": write,
    "evaluate": evaluate,
    "time": time_step,
}

if __name__ == "__main__":
    main()
