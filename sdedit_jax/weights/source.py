"""What a reader hands over: the tensors of a foreign checkpoint, under the names it gave them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

LAYOUTS = ("torch", "flax")


class Source(NamedTuple):
    """The weights that a file or folder holds, before any of our names are known.

    Attributes:
        path: the file, or the folder.
        tensors: original name -> array, in the file's order; memory-mapped where the format allows.
            The averaged (EMA) weights where the file has them; no "module." before the names.
            Nested names are joined by "." in torch files and by "/" in flax files.
        layout: "torch" (kernels [O, I, h, w] and [O, I]) or "flax" (kernels [h, w, I, O], [I, O]).
        ema: True: averaged weights were taken; False: the file has none and says so;
            None: the file holds one set and does not say which.
        left_out: what the file holds beside the weights -> why it is left out.
        config: what stands in the file or beside it about the network: {}, or
            {"unet": config.json, "scheduler": scheduler_config.json} of a diffusers folder (one
            that reads texts has more parts, see readers/folder.py), or
            {"class_name": ..., "init_kwargs": {...}, ...} of an EDM pickle.
    """

    path: Path
    tensors: Mapping[str, np.ndarray]
    layout: str = "torch"
    ema: bool | None = None
    left_out: Mapping[str, str] = {}
    config: Mapping[str, Any] = {}
