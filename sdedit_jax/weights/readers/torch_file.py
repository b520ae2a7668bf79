"""Files of torch.save, in the zip format and in that before 1.6, read without running code.

torch reads them with weights_only=True, zip files memory-mapped. Supported contents:

    state dict                                        SDEdit, guided-diffusion, pytorch_diffusion
    {optimizer, model, ema: {shadow_params}, step}    score_sde_pytorch
    {step, model, opt, ema: {ema_model.*}}            denoising-diffusion-pytorch
    [state dict, optimizer, epoch, step(, ema)]       training runs of ermongroup/ddim and its kin
    {"state_dict": ...}, {"model": ...}, {"ema": ...} wrappers of many programs
"""

import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sdedit_jax.files import door
from sdedit_jax.files.wording import brief
from sdedit_jax.weights.readers import tensors, torch_pickle, torch_tensors
from sdedit_jax.weights.source import Source

if TYPE_CHECKING:
    import torch

    Tensors = Mapping[str, torch.Tensor]

AVERAGED = ("ema", "model_ema", "ema_model", "ema_state_dict", "params_ema", "state_dict_ema")
RAW = ("model", "state_dict", "model_state_dict", "params", "net", "network", "score_model")
RAW += ("string_to_param",)  # of a textual inversion, which the families then name
EMA_MODULE = "ema_model."
SAFE = (2, 6)
REMEDY = 'pip install "torch>=2.6"'
"""For a missing torch and an old one; a CPU build will do."""
BUFFER = "sigmas"
FOURIER = "all_modules.0.W"


class Choice(NamedTuple):
    """The tensors that are taken from a file, see Source."""

    tensors: "Tensors"
    ema: bool | None = None
    left_out: Mapping[str, str] = {}


def read(path: str | Path) -> Source:
    """The weights in a file of torch.save; the averaged ones where the file has them.

    Tensors of a zip file are views of the mapped file, in the file's dtypes.

    Raises:
        ValueError: torch is not installed; the file is cut off or damaged, holds code, holds an
            optimizer or pictures instead of weights, or averages that do not fit its model.
    """
    path = Path(path)
    sizes = torch_pickle.check(path)
    chosen = _choose(_load(path), path)
    for name, tensor in chosen.tensors.items():
        tensors.check_name(name, path)
        torch_tensors.check(tensor, f"tensor {name} in {path}", sizes)
    found = {name: torch_tensors.array(a, name, path) for name, a in chosen.tensors.items()}
    return Source(path, found, ema=chosen.ema, left_out=chosen.left_out)


def _load(path: Path) -> Any:
    """The object in the file, on the CPU."""
    try:
        import torch
    except ImportError:
        raise ValueError(f"source: {path} is a torch file; to read it: {REMEDY}") from None
    if tuple(int(n) for n in torch.__version__.split(".")[:2]) < SAFE:
        raise ValueError(
            f"source: torch {torch.__version__} may run code of {path} in spite of weights_only "
            f"(CVE-2025-32434); to read it: {REMEDY}"
        )
    mapped = door.read_head(path, 2, "source") == b"PK"
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(str(path), map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch raises many kinds for damaged files
        raise ValueError(_refusal(path, str(error))) from None


def _refusal(path: Path, reason: str) -> str:
    """The reason why torch does not read the file, without its advice to allow code."""
    code = re.search(r"GLOBAL (\S+)", reason)
    if code:
        return (
            f"source: {path} is refused: beside tensors it holds code or objects ({code[1][:60]}), "
            "which a file of weights does not need; no code was run"
        )
    inner = reason.rpartition("WeightsUnpickler error:")[2].strip() or "it ends too early"
    return (
        f"source: {path} is a torch file that is cut off or damaged: {inner.splitlines()[0][:200]}"
    )


def _choose(content: Any, path: Path) -> Choice:
    """The tensors to take from the object in the file."""
    if isinstance(content, list | tuple):
        return _from_run(list(content), path)
    if not isinstance(content, Mapping):
        raise ValueError(f"source: {path} holds a {type(content).__name__}, not weights")
    inner = any(_is_weights(value) or _is_optimizer(value) for value in content.values())
    if _is_weights(content) and not inner:
        left = {_text(n): "no tensor" for n, value in content.items() if not _is_tensor(value)}
        return Choice(_bare(content), None, left)
    return _from_wrapper(content, path)


def _from_wrapper(content: Mapping[str, Any], path: Path) -> Choice:
    """The tensors of a dict that holds a state dict, and perhaps averages of it."""
    left = {_text(n): _why(value) for n, value in content.items()}
    raw_name = next((n for n in RAW if _is_weights(content.get(n))), None)
    raw = _bare(content[raw_name]) if raw_name else {}
    name = next((n for n in AVERAGED if _is_given(content.get(n))), None)
    if name:
        averages = _averages(content[name], raw, name, path)
        return _averaged(raw, averages, left, (raw_name, name), path)
    if raw:
        return _raw(raw, raw_name, left, content.values())
    if _is_optimizer(content) or any(_is_optimizer(value) for value in content.values()):
        raise ValueError(
            f"source: {path} holds an optimizer's state, not weights; give the model's file"
        )
    nested = {
        f"{_text(n)}.{_text(k)}": a
        for n, v in content.items()
        if _is_weights(v)
        for k, a in v.items()
    }
    if nested:
        return Choice(_bare(nested))
    raise ValueError(f"source: {path} holds no weights: it has {list(map(_text, content))[:8]}")


def _from_run(content: list[Any], path: Path) -> Choice:
    """The tensors of [state dict, optimizer, epoch, step(, averages)]."""
    if not content or not _is_weights(content[0]):
        what = [str(tuple(v.shape)) if _is_tensor(v) else type(v).__name__ for v in content[:3]]
        raise ValueError(
            f"source: {path} holds a list of {len(content)} ({', '.join(what)}), not weights "
            "(SDEdit's example pictures are lists of two tensors)"
        )
    raw = _bare(content[0])
    left = {f"[{i}]": _why(value) for i, value in enumerate(content)}
    if len(content) > 1 and _is_weights(content[-1]):
        averages = _bare(content[-1])
        return _averaged(raw, averages, left, ("[0]", f"[{len(content) - 1}]"), path)
    return _raw(raw, "[0]", left, content)


def _raw(raw: "Tensors", name: str, left: dict[str, str], beside: Iterable[Any]) -> Choice:
    """Weights without averages; beside an optimizer they are known to be raw."""
    training = any(_is_optimizer(value) for value in beside)
    return Choice(raw, False if training else None, {n: w for n, w in left.items() if n != name})


def _averages(found: Any, raw: "Tensors", name: str, path: Path) -> "Tensors":
    """The averaged tensors by name.

    score_sde_pytorch lists them in the order of model.parameters(): that of the state dict,
    without the buffer of noise levels and the Fourier frequencies, which are not trained. The
    module of ema-pytorch holds the raw weights beside the averages.
    """
    if isinstance(found, Mapping) and any(_text(n).startswith(EMA_MODULE) for n in found):
        own = {_text(n): a for n, a in found.items() if _text(n).startswith(EMA_MODULE)}
        return _bare({n.removeprefix(EMA_MODULE): a for n, a in own.items()})
    if isinstance(found, Mapping) and _is_weights(found):
        return _bare(found)
    listed = found.get("shadow_params") if isinstance(found, Mapping) else None
    if not isinstance(listed, list | tuple) or not all(_is_tensor(a) for a in listed):
        raise ValueError(f"source: {path} has averages ({name}) in an unknown layout")
    names = [n for n in raw if n != BUFFER]
    if len(names) == len(listed) + 1 and FOURIER in raw and raw[FOURIER].ndim == 1:
        names.remove(FOURIER)
    if len(names) != len(listed):
        raise ValueError(
            f"source: {path} lists {len(listed)} averages ({name}.shadow_params) for the "
            f"{len(names)} trained tensors of its model"
        )
    return dict(zip(names, listed, strict=True))


def _averaged(
    raw: "Tensors",
    averages: "Tensors",
    left: dict[str, str],
    names: tuple[str | None, str],
    path: Path,
) -> Choice:
    """The averages in the model's order, with the tensors that only the model has."""
    for n, a in averages.items():
        if raw and n not in raw:
            raise ValueError(f"source: {path} averages {n}, which its model lacks")
        if raw and a.shape != raw[n].shape:
            raise ValueError(
                f"source: the average of {n} in {path} has shape {tuple(a.shape)}, "
                f"its model's tensor {tuple(raw[n].shape)}"
            )
    alone = [n for n in raw if n not in averages]
    trained = [n for n in alone if raw[n].ndim > 1 and raw[n].is_floating_point()]
    if trained:
        raise ValueError(f"source: {path} has no average of {trained[:5]}")
    left = {n: why for n, why in left.items() if n != names[1]}
    if names[0]:
        but = f", but {alone} have none" if alone else ""
        left[names[0]] = f"raw weights; their averages ({names[1]}) were taken{but}"
    return Choice({n: averages.get(n, a) for n, a in raw.items()} or averages, True, left)


def _bare(named: Mapping[str, Any]) -> "Tensors":
    """The tensors of a state dict, without the prefixes of DataParallel and torch.compile."""
    found = {_text(n): a for n, a in named.items() if _is_tensor(a)}
    for prefix in ("_orig_mod.", "module.", "_orig_mod."):
        if all(n.startswith(prefix) for n in found):
            found = {n.removeprefix(prefix): a for n, a in found.items()}
    return found


def _text(name: Any) -> str:
    """A name; of what is no text, a short description."""
    return name if isinstance(name, str) else brief(name)


def _is_tensor(value: Any) -> bool:
    # of what weights_only reading gives, classes have this attribute too
    return hasattr(value, "untyped_storage") and not isinstance(value, type)


def _is_given(value: Any) -> bool:
    """Whether a part of the file is something: a tensor, or not empty."""
    return _is_tensor(value) or bool(value)


def _is_weights(value: Any) -> bool:
    """Whether this is a state dict: names to tensors, and perhaps a few other things."""
    return isinstance(value, Mapping) and any(_is_tensor(a) for a in value.values())


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, Mapping) and {"state", "param_groups"} <= set(value)


def _why(value: Any) -> str:
    """The reason why a part of the file is left out."""
    if _is_optimizer(value):
        return "state of the optimizer"
    if isinstance(value, bool | int | float | str):
        return f"no weights ({brief(value)})"
    return "other weights" if _is_weights(value) else "no weights"
