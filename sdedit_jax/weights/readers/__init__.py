"""Readers of checkpoint files. The format is detected from the first bytes, not from the name.

    folder                 a diffusers model: config.json and weights    folder.py
    zip with data.pkl      torch.save since 1.6                          torch_file.py
    pickle, torch's magic  torch.save before 1.6                         torch_file.py
    another pickle         a network of EDM                              edm_pickle.py
    8 bytes, then JSON     safetensors                                   safetensors_file.py
    msgpack map            flax.serialization.to_bytes, score_sde (JAX)  msgpack_file.py

Readers run no code from a file and do not depend on networks.
"""

import os
from pathlib import Path

from sdedit_jax.weights.readers import averages, files
from sdedit_jax.weights.source import Source


def read(path: str | Path) -> Source:
    """The tensors of a checkpoint file or folder, memory-mapped where the format allows.

    Raises:
        ValueError: see files.read_file and folder.read_folder.
    """
    found, more = _read(Path(path)), averages.beside(Path(path))
    if not more:
        return found
    return found._replace(ema=False, left_out={**found.left_out, **more})


def _read(path: Path) -> Source:
    if not os.path.isdir(path):  # False for names that no file can have
        return files.read_file(path)
    from sdedit_jax.weights.readers import folder

    return folder.read_folder(path)
