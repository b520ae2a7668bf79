"""The self-check on trained weights in the layout of diffusers, and on mutations of its files.

The folder goldens/unet2d_trained holds a small network that tests/train_unet2d.py trained; the
included prior's network does not exist in that layout.
"""

import json
import shutil

import numpy as np
import pytest
from conftest import golden_folder
from safetensors.numpy import load_file, save_file

from sdedit_jax.weights.convert import convert

WEIGHTS = "diffusion_pytorch_model.safetensors"
FIRST, LAST = "down_blocks.0.resnets.0.conv1.weight", "up_blocks.1.resnets.1.conv2.weight"


def imported(tmp_path, change=lambda tensors: {}, scheduler=None):
    """The card of the trained folder, imported with {name: new tensor} and scheduler fields."""
    source = tmp_path / "source"
    shutil.copytree(golden_folder("unet2d_trained"), source)
    tensors = load_file(source / WEIGHTS)
    save_file({**tensors, **change(tensors)}, source / WEIGHTS)
    file = source / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **(scheduler or {})}))
    return convert(source, tmp_path / "prior").metadata


def channels_swapped(tensors):
    turned = {"conv_in.weight": tensors["conv_in.weight"][:, ::-1]}
    turned |= {f"conv_out.{part}": tensors[f"conv_out.{part}"][::-1] for part in ("weight", "bias")}
    return {name: np.ascontiguousarray(a) for name, a in turned.items()}


def random(tensors):
    rng = np.random.default_rng(0)
    return {n: (a.std() * rng.standard_normal(a.shape)).astype(a.dtype) for n, a in tensors.items()}


MUTATIONS = {
    "two layers swapped": (
        lambda t: {FIRST: t["down_blocks.0.resnets.0.conv2.weight"], LAST: t[FIRST]},
        ("weights", "scale", "untrained"),
    ),
    "weights scaled": (
        lambda t: {n: np.float16(1.3) * a for n, a in t.items()},
        ("weights", "scale"),
    ),
    "channels swapped": (channels_swapped, ("channels", "weights")),
    "raw random weights": (random, ("untrained",)),
}


def test_the_trained_folder_passes(tmp_path):
    card = imported(tmp_path)
    assert card["check"]["passed"] and card["source"]["family"] == "diffusers"


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutated_file_fails_and_is_named(name, tmp_path):
    change, modes = MUTATIONS[name]
    check = imported(tmp_path, change)["check"]
    assert not check["passed"]
    assert check["failure_mode"] in modes


def test_a_wrong_beta_table_is_named(tmp_path):
    check = imported(tmp_path, scheduler={"beta_schedule": "squaredcos_cap_v2"})["check"]
    assert (check["passed"], check["failure_mode"]) == (False, "table")
    assert "linear" in check["message"]
