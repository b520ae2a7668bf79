"""Networks trained for recognition, from files that the user has; nothing is downloaded.

    Inception v3    pt_inception-2015-12-05-6726825d.pth (of pytorch-fid or torch-fidelity)
    LPIPS 0.1       vgg16-397923af.pth or alexnet-owt-7be5be79.pth (of torchvision), and the heads
                    vgg.pth or alex.pth (of the package lpips, weights/v0.1)
    CLIP            a folder of a CLIPModel (of transformers) with config.json and weights

Tensors may also be in safetensors files, under the same names.
"""

import fnmatch
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from sdedit_jax.files import json_file
from sdedit_jax.nets import functional
from sdedit_jax.nets.clip import Clip, ClipConfig
from sdedit_jax.nets.clip_vision import MEAN, STD
from sdedit_jax.nets.functional import Network, Params
from sdedit_jax.nets.inception import Inception, InceptionConfig
from sdedit_jax.nets.lpips import Lpips, LpipsConfig
from sdedit_jax.weights import conversion, published, readers
from sdedit_jax.weights.readers import folder as folders
from sdedit_jax.weights.source import Source

CLASSES = 1008
"""Rows of the classifier of 2015-12-05; torchvision's has 1000."""

UNUSED_INCEPTION = {
    "*.num_batches_tracked": "a count of training steps",
    "fc.*": "the classifier, after the features",
    "AuxLogits.*": "the second classifier, for training only",
}
UNUSED_LPIPS = {"classifier.*": "the classifier, after the features"}
UNUSED_CLIP = {
    "*.position_ids": "position ids 0, 1, 2, ...",
    "logit_scale": "the temperature of the training",
}


class Loaded(NamedTuple):
    """A network with its weights.

    Attributes:
        facts: "network"; "file" and "sha256" of the weights, of several files joined by "+";
            "weights": "published" or "not a published file"; "unused": patterns of tensor names
            that have no use -> the reason.
    """

    network: Network
    params: Params
    facts: Mapping[str, Any]


def load_inception(path: str | Path) -> Loaded:
    """Inception v3 of 2015-12-05 for FID and KID.

    Raises:
        ValueError: no such file, not the published bytes under the published name, tensors missing
            or of other shapes, values that are not finite, variances below 0, torchvision's
            Inception.
    """
    facts = _facts("Inception v3 2015-12-05", {Path(path): "inception"})
    source = readers.read(path)
    _check_classes(source)
    unused = _unused(source, UNUSED_INCEPTION)
    network = Network(Inception, InceptionConfig())
    params = _filled(network.shapes, source, UNUSED_INCEPTION)
    for name, a in source.tensors.items():
        if name.endswith(".running_var") and name.split(".")[0] != "AuxLogits" and np.min(a) < 0:
            raise ValueError(f"source: {name} in {path} has a variance below 0: {np.min(a)}")
    return Loaded(network, params, {**facts, "unused": unused})


def load_lpips(net: str, backbone: str | Path, heads: str | Path) -> Loaded:
    """LPIPS 0.1.

    Args:
        net: "vgg" (VGG16) or "alex" (AlexNet).
        backbone: the weights of that network. heads: those of the linear heads.

    Raises:
        ValueError: another net, or see `load_inception`; heads with weights below 0.
    """
    network = Network(Lpips, LpipsConfig(net))
    files = {Path(backbone): net, Path(heads): f"{net} heads"}
    facts = _facts(f"LPIPS 0.1 ({net})", files)
    body, top = readers.read(backbone), readers.read(heads)
    shapes = dict(network.shapes)
    params = {"net": _filled(shapes.pop("net"), body, UNUSED_LPIPS), **_filled(shapes, top, {})}
    for name, a in top.tensors.items():
        if np.min(a) < 0:
            raise ValueError(f"source: {name} in {heads} has weights below 0: no heads of LPIPS")
    return Loaded(network, params, {**facts, "unused": _unused(body, UNUSED_LPIPS)})


def load_clip(folder: str | Path) -> Loaded:
    """CLIP's encoders of pictures and texts, with their projections.

    Args:
        folder: with the config.json and the weights of a CLIPModel.

    Raises:
        ValueError: no such folder, another model, a preprocessor_config.json that asks for other
            pictures than OpenAI's; or see `load_inception`.
    """
    folder = Path(folder)
    values = json_file.read_object(folder / folders.CONFIG, "source")
    network = functional.network((Clip, ClipConfig.from_mapping), values, name=str(folder))
    _check_processor(folder, network.config.vision.image_size)
    facts = _facts("CLIP", dict.fromkeys(folders.files_of(folder), "clip"))
    source = folders.read_part(folder)
    shapes = network.shapes
    params = {
        "text": _filled(shapes["text"], _only(source, "text_"), UNUSED_CLIP),
        "vision": _filled(shapes["vision"], _only(source, "vision_", "visual_"), UNUSED_CLIP),
    }
    _filled({}, _only(source, "text_", "vision_", "visual_", others=True), UNUSED_CLIP)
    return Loaded(network, params, {**facts, "unused": _unused(source, UNUSED_CLIP)})


def _facts(network: str, files: Mapping[Path, str]) -> dict[str, Any]:
    """What identifies the weights, for files and their kinds."""
    found = [published.identify(path, kind) for path, kind in files.items()]
    known = all(state == published.KNOWN for _, state in found)
    return {
        "network": network,
        "file": "+".join(path.name for path in files),
        "sha256": "+".join(sha256 for sha256, _ in found),
        "weights": published.KNOWN if known else published.UNKNOWN,
    }


def _filled(shapes: Params, source: Source, unused: Mapping[str, str]) -> Params:
    """The parameters as arrays of jax; tensors that match a pattern of `unused` are left out."""
    names = {n: why for n in source.tensors for p, why in unused.items() if fnmatch.fnmatch(n, p)}
    return conversion.fill(shapes, source, unused=names, make=jnp.asarray)


def _unused(source: Source, patterns: Mapping[str, str]) -> dict[str, str]:
    """The patterns that match a tensor."""
    return {p: why for p, why in patterns.items() if fnmatch.filter(source.tensors, p)}


def _only(source: Source, *starts: str, others: bool = False) -> Source:
    """The tensors whose names start so, or all others."""
    kept = {n: a for n, a in source.tensors.items() if n.startswith(starts) is not others}
    return source._replace(tensors=kept)


def _check_classes(source: Source) -> None:
    rows = source.tensors["fc.weight"].shape[0] if "fc.weight" in source.tensors else CLASSES
    if rows != CLASSES:
        raise ValueError(
            f"source: {source.path} has {rows} classes: it is torchvision's Inception, which has "
            f"other features; FID is defined on that of 2015-12-05, of {CLASSES} classes"
        )


def _check_processor(folder: Path, side: int) -> None:
    """Check that the folder asks for pictures of this side, prepared as in evaluation/resizing."""
    file = folder / "preprocessor_config.json"
    values = json_file.read_object(file, "source") if file.is_file() else {}
    wanted = {"size": side, "crop_size": side, "resample": 3}
    found = {name: _side(values.get(name, value)) for name, value in wanted.items()}
    for name, colour in (("image_mean", MEAN), ("image_std", STD)):
        if not np.allclose(values.get(name, colour), colour):
            found[name], wanted[name] = values[name], colour.tolist()
    if found != wanted:
        raise ValueError(f"source: {file} asks for {found}, supported is {wanted}")


def _side(value: Any) -> Any:
    """The side of a size: a number, {"shortest_edge": ..} or {"height": .., "width": ..}."""
    if not isinstance(value, dict):
        return value
    sides = set(value.values())
    return sides.pop() if len(sides) == 1 else value
