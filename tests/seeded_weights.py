"""Weights of the small golden variants, drawn again instead of stored.

Standard normal numbers of numpy's default_rng(7) in the sorted order of the names of the PyTorch
state dict, divided by the root of the fan-in (16 for vectors); the weights of norms plus 1.
"""

import numpy as np

from sdedit_jax.weights import conversion

NORMS = ("norm1.weight", "norm2.weight", "norm3.weight", "norm.weight", "norm_out.weight")


def seeded(shapes, names=None):
    """({PyTorch name: array in PyTorch's layout}, the generator after them) for a tree of ours."""
    theirs = {}
    for path, leaf in conversion.store.leaves(shapes):
        turned = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(leaf.shape) * path.endswith("kernel"))
        name = (names or {}).get(path, conversion.default_name(path))
        theirs[name] = tuple(leaf.shape[i] for i in turned) if turned else tuple(leaf.shape)
    rng, tensors = np.random.default_rng(7), {}
    for name in sorted(theirs):
        a = rng.standard_normal(theirs[name]).astype(np.float32)
        a = a / np.float32(np.sqrt(np.prod(a.shape[1:]) if a.ndim > 1 else 16))
        tensors[name] = a + 1 if name.endswith(NORMS) else a
    return tensors, rng
