"""Stable Diffusion in a single file, read as the folder with the same weights."""

from sdedit_jax.weights.single_file.opened import Opened, measured, open_source
from sdedit_jax.weights.single_file.unpack import FILE

__all__ = ["FILE", "Opened", "measured", "open_source"]
