"""Checkpoints in a workdir that somebody else prepared: the hostile folders of weights, in them."""

import json
import os
import shutil

import jax
import numpy as np
import pytest
from test_hostile_weights import damages, node_of, refused, repeated
from test_train import same, tiny_run

from sdedit_jax.training.step import Optimizer


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The workdir of a run of 4 steps with the checkpoint 4, and its last state."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, tiny_run(folder, 4)


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    return tmp_path / "run"


def resumed(folder, **options):
    return tiny_run(folder, 4, **options)


def state_of(folder):
    return folder / "checkpoints" / "4" / "state"


def line(folder, starts="training: checkpoint 4 in "):
    return refused(resumed, folder, starts=starts)


def test_a_damaged_file_is_refused_or_harmless(whole, tmp_path, capfd):
    rng = np.random.default_rng(0)
    files = [p for p in (whole[0] / "checkpoints").rglob("*") if p.is_file()]
    for file in sorted(p.relative_to(whole[0]) for p in files):
        for name, damage in damages(rng).items():
            shutil.rmtree(tmp_path / "bad", ignore_errors=True)
            shutil.copytree(whole[0], tmp_path / "bad")
            damage(tmp_path / "bad" / file)
            try:  # an older node, or orbax's own notes
                assert same(resumed(tmp_path / "bad"), whole[1]), (file, name)
            except ValueError as error:
                assert str(error).startswith(("training: ", "workdir: ")), (file, name)
                assert "\n" not in str(error) and len(str(error)) < 1000
    printed = capfd.readouterr().err.splitlines()
    assert not [text for text in printed if text and "img" not in text]  # img: the bar of a run


@pytest.mark.parametrize("key", [b"params.a/0", b"opt_state.1.mu.a/0", b"ema.a/.zarray", b"step/0"])
def test_values_expand_to_their_tensors(key, run):
    import tensorstore as ts

    place = {"driver": "file", "path": f"{state_of(run)}/"}
    data = ts.KvStore.open({"driver": "ocdbt", "base": place}).result()
    assert key in data.list().result() or key + b".0" in data.list().result()
    data.write(key, repeated(100_000)).result()
    assert "bytes" in line(run)


@pytest.mark.parametrize("name", ["manifest.ocdbt", "ocdbt.process_0/manifest.ocdbt"])
def test_nodes_expand_to_little(name, run):
    (state_of(run) / name).write_bytes(node_of(repeated(100_000)))
    if name == "manifest.ocdbt":
        assert "bytes" in line(run)


@pytest.mark.parametrize("name", ["state/_METADATA", "state/_sharding", "state/manifest.ocdbt"])
def test_large_descriptions_are_not_read(name, run):
    os.truncate(run / "checkpoints" / "4" / name, 2**40)
    assert "bytes" in line(run)


NOTES = ["4/_CHECKPOINT_METADATA", "4/data/metadata", "4/metrics/metrics"]
NOTES += ["metadata/_ROOT_METADATA", "descriptor/descriptor.pbtxt"]


@pytest.mark.parametrize("name", NOTES)
@pytest.mark.parametrize("kind", ["large", "pipe", "outside"])
def test_notes_of_orbax_are_small_files(kind, name, run, tmp_path):
    file = run / "checkpoints" / name
    file.parent.mkdir(exist_ok=True)
    file.unlink(missing_ok=True)
    if kind == "large":
        file.write_bytes(b"{")
        os.truncate(file, 2**40)
    else:
        damages(None)["pipe" if kind == "pipe" else "outside"](_touched(file))
    assert name.rpartition("/")[2] in line(run, "workdir: cannot read ")


def _touched(file):
    file.touch()
    return file


def test_checkpoints_are_not_those_of_another_workdir(run, tmp_path):
    """Orbax removes old checkpoints, so a link would lead to a loss elsewhere."""
    other = tmp_path / "other"
    (run / "checkpoints").rename(other)
    (run / "checkpoints").symlink_to(other)
    assert "outside of" in line(run, "workdir: cannot read ")
    (run / "checkpoints").unlink()
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "4").symlink_to(other / "4")
    assert "outside of" in line(run, "workdir: cannot read ")


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a/b", "", "..", "a\0b", 3, None])
def test_names_of_tensors_are_no_paths(run, name):
    file = state_of(run) / "_METADATA"
    found = json.loads(file.read_text())
    next(iter(found["tree_metadata"].values()))["key_metadata"][0]["key"] = name
    file.write_text(json.dumps(found))
    assert "tensor in _METADATA" in line(run)


def test_tensors_of_another_optimizer_are_named(run):
    for optimizer, told in (
        (Optimizer(longer=(0.5,)), "lacks longer/0/a, which this training has"),
        (Optimizer(method="muon"), "holds opt_state/1/count, which this training lacks"),
    ):
        with pytest.raises(ValueError, match=told):
            resumed(run, optimizer=optimizer)


@pytest.mark.parametrize("method", ["adam", "muon"])
def test_every_part_of_the_state_is_restored(method, tmp_path):
    optimizer = Optimizer(rate=1e-2, warmup=2, method=method, longer=(0.5, 0.9), clip=0)
    whole = tiny_run(tmp_path, 4, optimizer=optimizer)
    again = resumed(tmp_path, optimizer=optimizer)
    assert same(whole, again)
    dtypes = [[leaf.dtype for leaf in jax.tree.leaves(state)] for state in (whole, again)]
    assert dtypes[0] == dtypes[1]


def test_a_checkpoint_under_another_number(run):
    (run / "checkpoints" / "4").rename(run / "checkpoints" / "3")
    with pytest.raises(ValueError, match="checkpoint 3 in .* holds step 4"):
        resumed(run)
