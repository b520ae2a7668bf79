"""The flower prior's report: copies of training photos are found whatever training did to them."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdedit_jax.training.retake import View, retake

FILE = Path(__file__).parent.parent / "experiments" / "flowers" / "report.py"
SPEC = importlib.util.spec_from_file_location("flowers_report", FILE)
report = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(report)


@pytest.fixture(scope="module")
def photos():
    """Twelve smooth pictures, uint8 [12, 128, 128, 3]: noise at 8 x 8, enlarged."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (12, 8, 8, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(a).resize((128, 128), 3)) for a in small])


def test_copies_are_found_and_others_are_not_near(photos):
    """A view on the grid of the search is found nearly exactly, one between its lines well below
    the distance of two unlike pictures, which is that of what is no copy at all."""
    known = np.stack([retake(photo, View(), 64) for photo in photos[:10]])
    on_grid = retake(photos[3], View(flip=True, angle=-40.0, scale=1 / 0.9, down=2, right=-4), 64)
    between = retake(photos[7], View(angle=101.0, scale=0.95, right=1), 64)
    found = report.nearest([on_grid, between, retake(photos[10], View(), 64)], known)
    assert [f.number for f in found[:2]] == [3, 7]
    assert found[0].distance < 0.06 and found[2].distance > 0.3
    assert found[1].distance < found[2].distance / 2
