"""Folders of diffusers: a network's config.json and weights, and the scheduler beside them.

    config.json, scheduler_config.json, diffusion_pytorch_model.*           a network at the root
    unet/config.json, unet/diffusion_pytorch_model.*, scheduler/...         a saved pipeline
    model_index.json, unet/, vae/, text_encoder/, tokenizer/, scheduler/    a text pipeline

Weights are in one file, or in several with an index, as safetensors or as `.bin`. Of several copies
(float16, not averaged) the averaged one in full precision is taken.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sdedit_jax.text import json_file
from sdedit_jax.weights.readers import files
from sdedit_jax.weights.source import Source

ReadFile = Callable[[Path], Source]

STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
VARIANTS = ("ema", "", "fp32", "fp16", "bf16", "non_ema")
"""Variants of the weights, best first; "" is a file without a variant in its name."""
ENDINGS = ("safetensors", "bin")
AVERAGED = {"ema": True, "non_ema": False}
PARTS = ("unet", "vae", "text_encoder")
"""The networks of a text-conditional pipeline."""
INDEX = "model_index.json"


def read_folder(path: str | Path, read_file: ReadFile | None = None) -> Source:
    """The network of a folder with its config.json and scheduler; all networks of a text pipeline.

    Args:
        read_file: reads one file of weights; None is `files.read_file`.

    Returns:
        `config` holds "unet" (config.json) and "scheduler" (scheduler_config.json), each only if
        the folder has it; `left_out` holds the other copies of the weights. In a text pipeline,
        tensor names are prefixed with the name of the part ("vae.decoder..."), and `config` also
        holds "vae", "text_encoder" and "index" (model_index.json).

    Raises:
        ValueError: no weights, parts of them missing, or a JSON file that is damaged.
    """
    path = Path(path)
    if reads_texts(path):
        return _read_pipeline(path, read_file)
    home = next((h for h in (path, path / "unet") if _weights(h)), None)
    if home is None:
        raise ValueError(_nothing(path))
    config = {"unet": _json(home / "config.json")}
    at = (path / "scheduler_config.json", path / "scheduler" / "scheduler_config.json")
    if home == path:  # the folder unet/ itself may have been given
        at = (*at, path.parent / "scheduler" / at[0].name)
    config["scheduler"] = _json(next((file for file in at if file.is_file()), at[0]))
    found = read_part(home, read_file)
    return found._replace(path=path, config={k: v for k, v in config.items() if v is not None})


def reads_texts(path: str | Path) -> bool:
    """Whether a folder is a pipeline with a text encoder, such as Stable Diffusion."""
    return "text_encoder" in (_json(Path(path) / INDEX) or {})


def _read_pipeline(path: Path, read_file: ReadFile | None) -> Source:
    for part in PARTS:
        if not (path / part).is_dir():
            raise ValueError(f"source: {path} lacks the folder {part}/, which {INDEX} asks for")
    found = {part: read_part(path / part, read_file) for part in PARTS}
    tensors = {f"{p}.{n}": a for p, s in found.items() for n, a in s.tensors.items()}
    left_out = {f"{p}/{n}": why for p, s in found.items() for n, why in s.left_out.items()}
    config = {part: _json(path / part / "config.json") for part in PARTS}
    config["scheduler"] = _json(path / "scheduler" / "scheduler_config.json")
    config = {k: v for k, v in config.items() if v is not None} | {"index": _json(path / INDEX)}
    first = found[PARTS[0]]
    return Source(path, tensors, first.layout, first.ema, left_out, config)


def read_part(home: Path, read_file: ReadFile | None = None) -> Source:
    """The weights in one folder; of several copies the best one.

    Raises:
        ValueError: there are no weights, or a part of them is missing.
    """
    read_file = read_file or files.read_file
    copies = _weights(home)
    if not copies:
        raise ValueError(_nothing(home))
    variant, file = copies[0]
    parts = [read_file(part) for part in _parts(file)]
    tensors: dict[str, np.ndarray] = {}
    for part in parts:
        twice = sorted(tensors.keys() & part.tensors.keys())
        if twice:
            raise ValueError(f"source: tensor {twice[0]} is in two parts of {file}")
        tensors |= part.tensors
    _check_index(file, tensors)
    left_out = {other.name: "another copy of the weights" for _, other in copies[1:]}
    for part in parts:
        left_out |= part.left_out
    ema = AVERAGED.get(variant, parts[0].ema)
    return Source(home, tensors, parts[0].layout, ema, left_out)


def _weights(home: Path) -> list[tuple[str, Path]]:
    """(variant, file or index) of all copies of the weights in a folder, the best first."""
    found = []
    for stem in STEMS:
        for variant in VARIANTS:
            middle = f".{variant}" if variant else ""
            for ending in ENDINGS:
                names = (
                    f"{stem}{middle}.{ending}",
                    f"{stem}.{ending}.index{middle}.json",
                    f"{stem}{middle}.{ending}.index.json",
                )
                found += [(variant, home / n) for n in dict.fromkeys(names) if (home / n).is_file()]
        if found:
            break
    return found


def _parts(file: Path) -> list[Path]:
    """The files of a file of weights or of an index."""
    if file.suffix != ".json":
        return [file]
    parts = [file.parent / name for name in sorted(set(_index(file).values()))]
    for part in parts:
        if not part.is_file():
            raise ValueError(f"source: {file} names {part.name}, which does not exist")
    return parts


def _check_index(file: Path, tensors: Mapping[str, Any]) -> None:
    lacking = sorted(_index(file).keys() - tensors.keys()) if file.suffix == ".json" else []
    if lacking:
        raise ValueError(f"source: {file} names the tensor {lacking[0]}, which no part holds")


def _index(file: Path) -> dict[str, str]:
    """Tensor name -> file name, without folders."""
    names = (_json(file) or {}).get("weight_map")
    fine = isinstance(names, dict) and all(
        isinstance(n, str) and n == Path(n).name for n in names.values()
    )
    if not fine or not names:
        raise ValueError(f"source: {file} must hold a weight_map of tensor names to file names")
    return names


def _json(file: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if the file does not exist."""
    return json_file.read_object(file, "source") if file.is_file() else None


def _nothing(path: Path) -> str:
    stem = STEMS[0]
    wanted = " or ".join(f"{stem}.{ending}" for ending in ENDINGS)
    here = sorted(p.name for p in path.iterdir())[:8] if path.is_dir() else []
    return f"source: {path} holds no weights ({wanted}, here or in unet/); it holds {here}"
