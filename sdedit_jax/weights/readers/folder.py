"""Folders of diffusers: a network's config.json and weights, and the scheduler beside them.

    config.json, scheduler_config.json, diffusion_pytorch_model.*           a network at the root
    unet/config.json, unet/diffusion_pytorch_model.*, scheduler/...         a saved pipeline
    model_index.json, unet/, vae/, text_encoder/, tokenizer/, scheduler/    a text pipeline
    unet/, unet_ema/                                                        a training's checkpoint

Weights are in one file, or in several with an index, as safetensors or as `.bin`. Of several copies
(float16, not averaged) the averaged one in full precision is taken. A folder PART_ema holds the
averages of PART, and is taken instead of it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sdedit_jax.files import json_file
from sdedit_jax.files.paths import shown
from sdedit_jax.files.wording import brief
from sdedit_jax.weights.readers import averages, files
from sdedit_jax.weights.readers.home import files_in
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
CONFIG = "config.json"
SCHEDULER = "scheduler_config.json"


def read_folder(path: str | Path, read_file: ReadFile | None = None) -> Source:
    """The network of a folder with its config.json and scheduler; all networks of a text pipeline.

    Args:
        read_file: reads one file of weights; None is `files.read_file`.

    Returns:
        `config` holds "unet" (config.json) and "scheduler" (scheduler_config.json), each only if
        the folder has it; a training's checkpoint has its scheduler in the parent folder.
        `left_out` holds the other copies of the weights. In a text pipeline, tensor names are
        prefixed with the name of the part ("vae.decoder..."), and `config` also holds "vae",
        "text_encoder" and "index" (model_index.json).

    Raises:
        ValueError: no weights, parts of them missing, or a JSON file that is damaged.
    """
    path = Path(path)
    files_in(path)
    if reads_texts(path):
        return _read_pipeline(path, read_file)
    part = path / "unet"
    inner = _weights(part) or _weights(averages.folder_of(part))
    # accelerate may write a model.safetensors beside unet/, without a config.json
    if _weights(path) and ((path / CONFIG).is_file() or not inner):
        found = _described(path, read_file)
    elif inner:
        found = _read_home(part, read_file)
    else:
        raise ValueError(_nothing(path))
    at = (path, path / "scheduler", path.parent / "scheduler")
    scheduler = next((_json(f / SCHEDULER) for f in at if (f / SCHEDULER).is_file()), None)
    config = {"unet": found.config or None, "scheduler": scheduler}
    return found._replace(path=path, config={k: v for k, v in config.items() if v is not None})


def reads_texts(path: str | Path) -> bool:
    """Whether a folder is a pipeline with a text encoder, such as Stable Diffusion."""
    return "text_encoder" in (_json(Path(path) / INDEX) or {})


def _read_pipeline(path: Path, read_file: ReadFile | None) -> Source:
    for part in PARTS:
        if not (path / part).is_dir() and not averages.folder_of(path / part).is_dir():
            raise ValueError(f"source: {path} lacks the folder {part}/, which {INDEX} names")
    found = {part: _read_home(path / part, read_file) for part in PARTS}
    tensors = {f"{p}.{n}": a for p, s in found.items() for n, a in s.tensors.items()}
    left_out = {name: why for s in found.values() for name, why in s.left_out.items()}
    config = {part: source.config for part, source in found.items() if source.config}
    scheduler = _json(path / "scheduler" / SCHEDULER)
    config |= {} if scheduler is None else {"scheduler": scheduler}
    config["index"] = _json(path / INDEX)
    first = found[PARTS[0]]
    return first._replace(path=path, tensors=tensors, left_out=left_out, config=config)


def _read_home(home: Path, read_file: ReadFile | None) -> Source:
    """A part and its config.json; the averages of the part where a folder beside it holds them."""
    mean = averages.folder_of(home)
    taken = mean if _weights(mean) else home
    found = _described(taken, read_file)
    left_out = {f"{taken.name}/{name}": why for name, why in found.left_out.items()}
    if taken == home:
        return found._replace(left_out=left_out)
    if home.is_dir():
        left_out[f"{home.name}/*"] = f"raw weights; their averages ({mean.name}/) were taken"
    config = found.config or _described_by(home)[0]
    return found._replace(ema=True, left_out=left_out, config=config)


def _described(home: Path, read_file: ReadFile | None) -> Source:
    """The weights in one folder, with its config.json as `config`."""
    found = read_part(home, read_file)
    config, averaging = _described_by(home)
    return found._replace(config=config, averaging=averaging, ema=bool(averaging) or found.ema)


def _described_by(home: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """config.json of a folder: the fields of the network, and those of the averaging."""
    config = _json(home / CONFIG) or {}
    averaging = {name: config.pop(name) for name in averages.FIELDS if name in config}
    averages.check(averaging, home / CONFIG)
    return config, averaging


def read_part(home: Path, read_file: ReadFile | None = None) -> Source:
    """The weights in one folder; of several copies the best one.

    Raises:
        ValueError: there are no weights, or a part of them is missing.
    """
    read_file = read_file or files.read_file
    files_in(home)
    copies = _copies(home)
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


def files_of(home: Path) -> list[Path]:
    """The files that `read_part` reads of a folder.

    Raises:
        ValueError: see `read_part`.
    """
    return _parts(_copies(home)[0][1])


def _copies(home: Path) -> list[tuple[str, Path]]:
    """See `_weights`; there is at least one."""
    copies = _weights(home)
    if not copies:
        raise ValueError(_nothing(home))
    return copies


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
            raise ValueError(f"source: {file} names {brief(part.name)}, which does not exist")
    return parts


def _check_index(file: Path, tensors: Mapping[str, Any]) -> None:
    lacking = sorted(_index(file).keys() - tensors.keys()) if file.suffix == ".json" else []
    if lacking:
        raise ValueError(
            f"source: {file} names the tensor {brief(lacking[0])}, which no part holds"
        )


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
    here = sorted(shown(p.name) for p in path.iterdir())[:8] if path.is_dir() else []
    return f"source: {shown(path)} holds no weights ({wanted}, here or in unet/); it holds {here}"
