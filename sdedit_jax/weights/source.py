"""The result of a reader: the tensors of a released checkpoint, under their original names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

LAYOUTS = ("torch", "flax")


class Source(NamedTuple):
    """The weights in a file or folder, under their original names.

    Attributes:
        path: the file, or the folder.
        tensors: original name -> array, in the file's order; memory-mapped where the format allows.
            The averaged (EMA) weights where the file has them; names have no prefix "module.".
            Nested names are joined by "." in torch files and by "/" in flax files.
        layout: "torch" (kernels [O, I, h, w] and [O, I]) or "flax" (kernels [h, w, I, O], [I, O]).
        ema: True: averaged weights were taken; False: the file states that it has none;
            None: the file holds one set of weights and does not state which.
        left_out: other contents of the file -> the reason why they are left out.
        config: the description of the network in the file or beside it: {}, or
            {"unet": config.json, "scheduler": scheduler_config.json} of a diffusers folder (a
            text pipeline has more parts, see readers/folder.py), or
            {"class_name": ..., "init_kwargs": {...}, ...} of an EDM pickle.
        averaging: how the averages were made, where the source states it: the fields of diffusers'
            EMAModel, see readers/averages.py.
    """

    path: Path
    tensors: Mapping[str, np.ndarray]
    layout: str = "torch"
    ema: bool | None = None
    left_out: Mapping[str, str] = {}
    config: Mapping[str, Any] = {}
    averaging: Mapping[str, Any] = {}
