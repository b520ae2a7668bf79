"""What the tests of foreign files share: the goldens' files, cuts, and files with code in them."""

import json
import os

import numpy as np
import pytest
from conftest import HERE, SHARED

from sdedit_jax.weights import readers


def golden_file(case, name):
    """A file of a golden: the repository's copies may lack the originals' files."""
    for folder in (HERE / "goldens", SHARED / "goldens", SHARED / "goldens_sd"):
        if (folder / case / name).exists():
            return folder / case / name
    pytest.skip(f"{name} of golden {case} is not here")


def modules_of(case):
    return json.loads(golden_file(case, "modules.json").read_text())


def torch_shapes(modules):
    """The original's tensor name -> shape, from the listing beside a golden."""
    return {
        f"all_modules.{m['index']}.{name}": tuple(shape)
        for m in modules["all_modules"]
        for name, shape in m["params"].items()
    }


def same(tensors, wanted):
    assert list(tensors) == list(wanted)
    for name, tensor in wanted.items():
        assert tensors[name].dtype == tensor.dtype and np.array_equal(tensors[name], tensor), name


def refuse_each_cut(file, folder):
    """Read the file cut to many lengths; each must be refused in one line."""
    whole = file.read_bytes()
    assert readers.read(file).tensors
    cut = folder / "cut"
    for size in sorted({1, 2, 7, 9, 20, 60, *range(100, len(whole), 211), len(whole) - 1}):
        cut.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="^source: .*cut") as caught:
            readers.read(cut)
        assert "\n" not in str(caught.value) and "weights_only" not in str(caught.value)


class Opens:
    """Pickled as a call that would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


class Runs(Opens):
    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


class Evaluates(Opens):
    def __reduce__(self):
        return eval, (f"open({str(self.path)!r}, 'w')",)
