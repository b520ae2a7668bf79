"""Parameters on disk: they come back as they were, or one message says what is wrong."""

import hashlib
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from sdedit_jax.weights import store, whole_folder


def params():
    rng = np.random.default_rng(0)
    return {
        "out": {"kernel": jnp.asarray(rng.normal(size=(3, 3, 2, 4)), jnp.bfloat16)},
        "blocks": {
            "10": {"bias": jnp.asarray(rng.normal(size=4), jnp.float32)},
            "2": {"bias": jnp.asarray(rng.normal(size=4), jnp.float32)},
        },
        "step": jnp.asarray(7, jnp.int32),
    }


def shapes(tree):
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), tree)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("priors") / "fruits"
    store.save(folder, params(), {"name": "fruits", "size": [64, 64, 3]})
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(saved, tmp_path / "fruits")


def test_digest_by_its_definition():
    """sha256 over the leaves in path order: path, dtype, shape, C-order bytes."""
    tree = params()
    total = hashlib.sha256()
    for path, leaf in [
        ("blocks/10/bias", tree["blocks"]["10"]["bias"]),
        ("blocks/2/bias", tree["blocks"]["2"]["bias"]),
        ("out/kernel", tree["out"]["kernel"]),
        ("step", tree["step"]),
    ]:
        array = np.array(leaf, order="C")
        for part in (path, array.dtype.name, str(array.shape)):
            total.update(part.encode())
        total.update(array.tobytes("C"))
    assert store.digest(tree) == total.hexdigest()


def test_digest_sees_every_part():
    tree = params()
    base = store.digest(tree)
    turned = {**tree, "out": {"kernel": jnp.asarray(np.asfortranarray(tree["out"]["kernel"]))}}
    assert store.digest(turned) == base
    changed = [
        {**tree, "step": jnp.asarray(8, jnp.int32)},
        {**tree, "step": jnp.asarray(7, jnp.int16)},
        {**tree, "step": jnp.asarray([7], jnp.int32)},
        {**{k: v for k, v in tree.items() if k != "step"}, "steps": tree["step"]},
    ]
    assert len({base, *map(store.digest, changed)}) == 5


def test_round_trip(saved):
    """Values, dtypes (bfloat16 too) and structure; the card with the digest."""
    tree, card = params(), store.read_metadata(saved)
    got = store.load(saved, shapes(tree), sha256=card["sha256"])
    assert jax.tree.structure(got) == jax.tree.structure(tree)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(tree), strict=True):
        assert a.dtype == b.dtype and np.array_equal(a, b)
    assert np.asarray(got["out"]["kernel"]).dtype == ml_dtypes.bfloat16
    assert card == {"name": "fruits", "size": [64, 64, 3], "sha256": store.digest(tree)}
    assert sorted(p.name for p in saved.iterdir()) == ["params", "prior.json"]


def test_dtypes_come_from_the_disk(saved):
    wide = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, jnp.float32), params())
    assert store.load(saved, wide)["out"]["kernel"].dtype == jnp.bfloat16


def test_save_replaces_the_older_one_whole(copy):
    tree = {"only": jnp.ones(3)}
    store.save(copy, tree, {"name": "new"})
    assert store.read_metadata(copy)["name"] == "new"
    np.testing.assert_array_equal(store.load(copy, shapes(tree))["only"], 1)
    assert [p.name for p in copy.parent.iterdir()] == ["fruits"]


def test_a_save_that_fails_keeps_the_older_one(copy):
    with pytest.raises(TypeError):
        store.save(copy, {"only": jnp.ones(3)}, {"name": object()})
    assert store.read_metadata(copy)["name"] == "fruits"
    assert [p.name for p in copy.parent.iterdir()] == ["fruits"]
    store.load(copy, shapes(params()), sha256=store.read_metadata(copy)["sha256"])


def test_wrong_sha256(saved):
    with pytest.raises(ValueError, match=r"have sha256 [0-9a-f]{64}, prior.json says abc"):
        store.load(saved, shapes(params()), sha256="abc")


def test_structure_must_be_the_networks(saved):
    """What lacks, what is too much and what has another shape, each by its name."""
    tree = params()
    more = {**tree, "extra": {"bias": jnp.ones(2)}}
    less = {k: v for k, v in tree.items() if k != "step"}
    other = {**tree, "out": {"kernel": jnp.ones((3, 3, 2, 5))}}
    for wanted, message in [
        (more, r"lacks extra/bias, which the network of prior.json has"),
        (less, r"holds step, which the network of prior.json lacks"),
        (other, r"params holds out/kernel of shape \(3, 3, 2, 4\), .* needs \(3, 3, 2, 5\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            store.load(saved, shapes(wanted))


def test_missing(tmp_path, copy):
    with pytest.raises(ValueError, match=r"prior: n+/prior.json does not exist"):
        store.read_metadata("n" * 300)
    with pytest.raises(ValueError, match=r"prior: .*nowhere/prior.json does not exist"):
        store.read_metadata(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"prior: .*nowhere/params does not exist"):
        store.load(tmp_path / "nowhere", shapes(params()))
    (copy / "prior.json").write_text("{not json")
    with pytest.raises(ValueError, match=r"prior.json: the file is not JSON"):
        store.read_metadata(copy)
    (copy / "prior.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"prior.json must hold a JSON object"):
        store.read_metadata(copy)


def test_truncated(copy):
    """Each file of the checkpoint cut in half or emptied: an error or the same numbers."""
    good = {p: p.read_bytes() for p in sorted((copy / "params").rglob("*")) if p.is_file()}
    wanted, sha256 = shapes(params()), json.loads((copy / "prior.json").read_text())["sha256"]
    refused = 0
    for file, data in good.items():
        for left in (data[: len(data) // 2], b""):
            file.write_bytes(left)
            try:
                store.load(copy, wanted, sha256=sha256)
            except ValueError as error:
                assert str(error).startswith("prior: ") and str(copy) in str(error), error
                refused += 1
        file.write_bytes(data)
    assert refused >= 4
    store.load(copy, wanted, sha256=sha256)


def test_not_finite(tmp_path):
    tree = {"a": {"w": jnp.asarray([1.0, np.nan], jnp.bfloat16)}}
    store.save(tmp_path / "bad", tree, {})
    with pytest.raises(ValueError, match=r"prior: a/w in .* holds values that are not finite"):
        store.load(tmp_path / "bad", shapes(tree))


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_error_between_the_renames_leaves_the_old_folder(error, tmp_path, monkeypatch):
    store.save(tmp_path / "prior", params(), {"name": "a"})
    rename = Path.rename

    def fails(path, target):
        if path.name == ".prior.sdedit_jax-partial":
            raise error
        return rename(path, target)

    with monkeypatch.context() as patched, pytest.raises(error):
        patched.setattr(Path, "rename", fails)
        store.save(tmp_path / "prior", params(), {"name": "b"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["prior"]
    assert store.read_metadata(tmp_path / "prior")["name"] == "a"


def test_a_link_to_a_folder_is_written_through(tmp_path):
    """Twice: what is replaced leaves nothing that the next one meets."""
    (tmp_path / "link").symlink_to("prior")
    for name in "ab":
        store.save(tmp_path / "link", params(), {"name": name})
        assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "prior"]
        assert store.read_metadata(tmp_path / "prior")["name"] == name
        assert (tmp_path / "link").is_symlink()


def test_a_file_is_not_replaced_by_a_folder_and_left_parts_are_removed(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="workdir: .*file is not a folder"):
        store.save(tmp_path / "file", params(), {"name": "a"})
    (tmp_path / ".prior.sdedit_jax-partial").write_text("a file")
    (tmp_path / ".prior.sdedit_jax-old").symlink_to("file")
    store.save(tmp_path / "prior", params(), {"name": "a"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "prior"]
    assert (tmp_path / "file").read_text() == "mine"


def test_only_a_folder_of_its_kind_is_replaced(tmp_path):
    """A backup beside it stays, and so do folders that hold anything else, the run's own too."""
    (tmp_path / "prior.old").mkdir()
    (tmp_path / "prior.old" / "backup.txt").write_text("mine")
    for _ in range(2):
        store.save(tmp_path / "prior", params(), {"name": "a"})
        whole_folder.check_target(tmp_path / "prior", "publish", "prior.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["prior", "prior.old"]
    whole_folder.check_target(tmp_path / "new", "publish", "prior.json", tmp_path)
    with pytest.raises(ValueError, match="publish: .*prior.old holds other files"):
        whole_folder.check_target(tmp_path / "prior.old", "publish", "prior.json")
    for own in (tmp_path, tmp_path.parent):
        with pytest.raises(ValueError, match="publish: .* holds the run itself"):
            whole_folder.check_target(own, "publish", "prior.json", tmp_path)
