"""Files of recognition networks with the weights of the rule of recognition_goldens.py."""

import numpy as np
import recognition_goldens as goldens
from safetensors.numpy import save_file

from sdedit_jax.nets.functional import Network
from sdedit_jax.nets.lpips import Lpips, LpipsConfig
from sdedit_jax.weights import conversion, store


def theirs(shapes, start=""):
    """{PyTorch name: array} with the weights of the rule; names start so after the first part."""
    found = {}
    for path, leaf in store.leaves(shapes):
        turned = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(leaf.shape) * path.endswith("kernel"))
        shape = [leaf.shape[i] for i in turned] if turned else leaf.shape
        found[start + conversion.default_name(path)] = tuple(shape)
    return goldens.weights(found)


def write(path, tensors):
    save_file({n: np.ascontiguousarray(a) for n, a in tensors.items()}, path)
    return path


def lpips_in(folder):
    """The files of AlexNet and of the heads of LPIPS, with a tensor that has no use."""
    shapes = dict(Network(Lpips, LpipsConfig("alex")).shapes)
    backbone = theirs(shapes.pop("net"))
    backbone["classifier.6.weight"] = np.zeros((2, 2), np.float32)
    return (
        write(folder / "backbone.safetensors", backbone),
        write(folder / "heads.safetensors", theirs(shapes)),
    )
