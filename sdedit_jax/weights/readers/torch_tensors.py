"""Tensors of torch as arrays, after a check that they are plain and lie in their file."""

from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np

from sdedit_jax.files.wording import first_line
from sdedit_jax.weights.readers import tensors

if TYPE_CHECKING:
    import torch


def array(tensor: "torch.Tensor", name: str, path: Path) -> np.ndarray:
    """The tensor as a numpy array without a copy; float16, bfloat16 and float64 are kept."""
    import torch

    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    try:
        return tensor.numpy()
    except (TypeError, RuntimeError):
        raise ValueError(f"source: tensor {name} in {path} has dtype {tensor.dtype}") from None


def check(tensor: "torch.Tensor", what: str, sizes: Container[int] | None) -> None:
    """Check that a tensor is a plain array, all of which is in the file.

    Args:
        sizes: see torch_pickle.check.
    """
    try:
        odd = _odd(tensor)
        held = 0 if odd else tensor.untyped_storage().nbytes()
    except Exception as error:  # torch raises many kinds for rare layouts
        raise ValueError(f"source: {what} cannot be read: {first_line(error)}") from None
    if odd:
        raise ValueError(f"source: {what} is {odd}")
    if sizes is not None and held not in sizes:
        raise ValueError(f"source: {what} needs {held} bytes, no part of the file has as many")
    tensors.check_shape(tuple(tensor.shape), what)
    place = (tensor.stride(), tensor.storage_offset(), held // tensor.element_size())
    tensors.check_storage(tuple(tensor.shape), *place, what)


def _odd(tensor: "torch.Tensor") -> str:
    """What keeps a tensor from being a plain array; "" if nothing does."""
    import torch

    kinds = {
        "nested": tensor.is_nested,
        "sparse": tensor.layout is not torch.strided,
        "quantized": tensor.is_quantized,
        "without values (meta)": tensor.device.type != "cpu",
        "complex or conjugate": tensor.is_complex() or tensor.is_conj(),
        "negated": tensor.is_neg(),
    }
    return next((kind for kind, found in kinds.items() if found), "")
