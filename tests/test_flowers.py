"""The included flower prior, on the held-out photos of examples/flowers/photos."""

import csv
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

import sdedit_jax as sj
from sdedit_jax.training.loss import denoising_error

ROOT = Path(__file__).parent.parent
PHOTOS = ROOT / "examples" / "flowers" / "photos"
LEVELS = (0.1, 0.3, 1.0, 3.0)


@pytest.fixture(scope="module")
def prior():
    return sj.load_prior(ROOT / "checkpoints" / "flowers64")


@pytest.fixture(scope="module")
def photos():
    """Every second photo, [35, 64, 64, 3] in [-1, 1], and the names of their classes."""
    with (PHOTOS / "captions.csv").open() as file:
        rows = list(csv.DictReader(file))[::2]
    images = [np.asarray(Image.open(PHOTOS / row["path"]).convert("RGB")) for row in rows]
    return np.float32(np.stack(images) / 127.5 - 1), [row["caption"] for row in rows]


def best_blur(x0, level, rng):
    """The least RMSE of Gaussian blurs of the noisy photos, in [-1, 1] units."""
    noisy = x0 + level * rng.standard_normal(x0.shape)
    return min(
        np.sqrt(np.mean((gaussian_filter(noisy, (0, width, width, 0)) - x0) ** 2))
        for width in (0.4, 0.5, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 2.9, 3.8, 5.0)
    )


def test_it_denoises_held_out_photos_better_than_any_blur(prior, photos):
    error = denoising_error(prior.process, prior.predict, LEVELS)
    found = error(prior.params, photos[0], None, jax.random.key(0))
    rng = np.random.default_rng(0)
    for level, own in zip(LEVELS, found, strict=True):
        assert float(own) < 0.85 * best_blur(photos[0], level, rng), level


def test_the_class_of_a_photo_helps(prior, photos):
    """At much noise the photo's own class gives a smaller error than each other class."""
    names = prior.metadata["data"]["labels"]
    own = np.array([names.index(name) for name in photos[1]], np.int32)
    error = denoising_error(prior.process, prior.predict, (3.0,))
    at = [
        float(error(prior.params, photos[0], (own + k) % len(names), jax.random.key(0))[0])
        for k in range(len(names))
    ]
    assert at[0] == min(at) and sorted(at)[1] > 1.005 * at[0]


def test_every_photographer_is_credited():
    credits = (ROOT / "checkpoints" / "flowers64" / "CREDITS.tsv").read_text().splitlines()
    assert sum("flickr.com/photos/" in line for line in credits) == 860
    shown = (PHOTOS / "CREDITS.tsv").read_text()
    assert all(f"{file.name}\t" in shown for file in PHOTOS.glob("*.webp"))
