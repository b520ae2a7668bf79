"""Pasted patches against their definition, and their independence of the order of rows."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from sdedit_jax.data import open_data_set, pasted
from sdedit_jax.data.patches import draw, patch
from sdedit_jax.images import fit

SIZES = [(40, 40), (40, 60), (30, 20), (40, 40), (25, 25), (40, 40)]


@pytest.fixture
def rows(tmp_path, rng):
    """Rows of a manifest, with pictures of several sizes; the pictures by id."""
    found = {}
    for i, size in enumerate(SIZES):
        found[f"r{i}"] = rng.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(found[f"r{i}"]).save(tmp_path / f"{i}.png")
    return [[f"r{i}", f"{i}.png", f"label {i}"] for i in range(len(SIZES))], found


def opened(path, rows):
    path.write_text("\n".join(",".join(row) for row in [["id", "picture", "label"], *rows]))
    return open_data_set(path)


def test_a_guide_is_the_donor_in_the_mask_and_the_picture_elsewhere(tmp_path, rows):
    data = opened(tmp_path / "m.csv", rows[0])
    for seed in range(5):
        for example in pasted(data, seed):
            own, inside = rows[1][example.id], example.mask > 0
            assert (example.picture.rgb == own).all() and example.label == f"label {example.id[1:]}"
            assert example.mask.dtype == np.float32 and set(np.unique(example.mask)) == {0, 1}
            assert (example.guide.rgb[~inside] == own[~inside]).all()
            others = [other for id, other in rows[1].items() if id != example.id]
            fitted = [fit(other, own.shape[:2])[0] for other in others]
            assert sum((example.guide.rgb[inside] == one[inside]).all() for one in fitted) == 1


def test_a_row_depends_on_its_id_the_seed_and_the_ids_alone(tmp_path, rows):
    data = opened(tmp_path / "m.csv", rows[0])
    wanted = {one.id: one for one in pasted(data, 3)}
    for other in (opened(tmp_path / "n.csv", rows[0][::-1]), data):
        for example in pasted(other, 3).first(4):
            assert (example.guide.rgb == wanted[example.id].guide.rgb).all()
            assert (example.mask == wanted[example.id].mask).all()
    changed = pasted(data, 4)
    assert any((one.guide.rgb != wanted[one.id].guide.rgb).any() for one in changed)
    assert changed.digest != pasted(data, 3).digest == pasted(data, 3).digest
    assert pasted(data.first(3), 3).digest != pasted(data, 3).first(3).digest


def test_draws_are_the_sha256_and_spread_evenly():
    """Bounds of five standard deviations."""
    text = json.dumps(["ü", 7, "top"]).encode()
    number = int(hashlib.sha256(text).hexdigest()[:16], 16)
    assert draw("ü", 7, "top") == pytest.approx(number / 2**64, abs=1e-15)
    drawn = np.array([draw(str(i), 0, "top") for i in range(2000)])
    assert 0 <= drawn.min() and drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 5 / np.sqrt(12 * 2000)


def test_donors_are_all_other_rows_equally_often(tmp_path, rows):
    """600 draws of 5 donors: 120 each, within five standard deviations."""
    data = opened(tmp_path / "m.csv", rows[0])
    counts = np.zeros((6, 6), int)
    for seed in range(600):
        rules = pasted(data, seed).references
        for row in range(6):
            counts[row, rules.donor(row)] += 1
    assert (np.diag(counts) == 0).all()
    apart = counts[~np.eye(6, dtype=bool)]
    assert np.abs(apart - 120).max() < 5 * np.sqrt(600 * 0.2 * 0.8)


@pytest.mark.parametrize("size", [(100, 100), (100, 240), (31, 20)])
def test_sides_are_shares_of_the_shorter_side_and_inside(size, rng):
    for box in rng.random((200, 4)):
        region = patch(size, box, False)
        tall, wide = (int(region.max(axis=axis).sum()) for axis in (1, 0))
        assert region.sum() == tall * wide
        assert tall == round(min(size) * (0.3 + 0.2 * box[0]))
        assert wide == round(min(size) * (0.3 + 0.2 * box[1]))
    corner = patch(size, [0, 0, 0, 0], False)
    assert corner[0, 0] == 1
    assert patch(size, [0, 0, 1 - 2**-53, 1 - 2**-53], False)[-1, -1] == 1


def test_an_ellipse_fills_a_quarter_of_pi_of_its_box(rng):
    for box in rng.random((20, 4)):
        whole, round_ = patch((600, 700), box, False), patch((600, 700), box, True)
        assert (round_ <= whole).all()
        assert round_.sum() / whole.sum() == pytest.approx(np.pi / 4, rel=0.01)
        rows, cols = np.nonzero(whole)
        inside = round_[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
        assert (inside == inside[::-1]).all() and (inside == inside[:, ::-1]).all()


def test_shapes_are_chosen(tmp_path, rows):
    data = opened(tmp_path / "m.csv", rows[0])

    def filled(shape, seed=0):
        for example in pasted(data, seed, shape):
            rows, cols = np.nonzero(example.mask)
            yield example.mask.sum() == (np.ptp(rows) + 1) * (np.ptp(cols) + 1)

    assert all(filled("rectangle")) and not any(filled("ellipse"))
    both = sum(sum(filled("either", seed)) for seed in range(50))
    assert abs(both - 150) < 5 * np.sqrt(300 * 0.25)
    with pytest.raises(ValueError, match="shape must be one of .* did you mean 'ellipse'"):
        pasted(data, 0, "elipse")
    with pytest.raises(ValueError, match="at least two rows, m.csv has 1"):
        pasted(data.first(1))
    (tmp_path / "3.png").write_bytes(b"")
    damaged = pasted(data)
    told = [i for i in range(6) if damaged.references.donor(i) == 3]
    for i in {3, *told}:
        with pytest.raises(ValueError, match=f"row 'r{i}' of m.csv_pasted: cannot read 3.png"):
            damaged[i]
