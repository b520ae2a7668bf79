"""How good is a prior: held-out denoising error beside two baselines, and sheets to look at.

    python experiments/prior/measure.py --prior=checkpoints/fruits64 --data=fruits64.zip --out=out

Needs scipy (extra [test]).
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage

from sdedit_jax import build, editor, images, parallel
from sdedit_jax.data import batch_of, source
from sdedit_jax.edits.sdedit import Request
from sdedit_jax.guide import Guide
from sdedit_jax.tasks.simulate import simulate
from sdedit_jax.train.loss import denoising_error

LEVELS = (0.1, 0.3, 1.0, 3.0)


def rows_of(data, count):
    """`count` pictures of a source, evenly spaced: float32 [count, H, W, 3] in [-1, 1]."""
    return batch_of(data, np.unique(np.linspace(0, len(data) - 1, count).astype(int)))[0]


def constant_error(x0, colour):
    """RMSE of the best constant picture, the mean colour of the training set."""
    return float(np.sqrt(np.mean((x0 - colour) ** 2)))


def blur_error(x0, sigma, rng):
    """(RMSE, width) of a Gaussian blur of the noisy picture, its width the best for this level."""
    x = x0 + sigma * rng.standard_normal(x0.shape).astype(np.float32)
    widths = (0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 8, 12)
    found = [(rmse(scipy.ndimage.gaussian_filter(x, (0, w, w, 0)), x0), w) for w in widths]
    return min(found)


def rmse(a, b):
    return float(np.sqrt(np.mean((a - b) ** 2)))


def errors(prior, train, test, count):
    """One line per noise level: the prior, a constant, a blur."""
    x0 = rows_of(test, count)
    colour = rows_of(train, 500).mean((0, 1, 2))
    error = denoising_error(prior.process, prior.predict, LEVELS)
    found = np.asarray(error(prior.params, x0, None, jax.random.key(0)))
    rng = np.random.default_rng(0)
    print(f"RMSE of x0 in [-1, 1] units, {len(x0)} held-out pictures")
    print("| sigma | prior | best constant | best blur (width) |")
    print("|---|---|---|---|")
    for level, e in zip(LEVELS, found, strict=True):
        blurred, width = blur_error(x0, level, rng)
        constant = constant_error(x0, colour)
        print(f"| {level:g} | {e:.4f} | {constant:.4f} | {blurred:.4f} ({width:g} px) |")


def run(prior, guides, t0, steps, sampling=None):
    """Edit uint8 guides [B, H, W, 3] wholly at t0; uint8 results."""
    plan = build.plan(prior._replace(params=None), build.Sampling(steps=steps, **(sampling or {})))
    mask = np.ones((*guides.shape[1:3], 1), np.float32)
    rows = [Request(np.float32(t0), Guide(images.to_unit(g), mask)) for g in guides]
    keys = jnp.stack([editor.image_key(0, f"sheet{i}") for i in range(len(rows))])
    request = parallel.stack(rows)
    compiled = editor.compile_editor(plan, prior.params, request, keys)
    start = time.perf_counter()
    out = editor.run(compiled, prior.params, request, keys).image
    seconds = (time.perf_counter() - start) / len(rows)
    print(f"t0 {t0:g}, {steps} steps: {seconds:.2f} s per picture")
    return [images.from_unit(p) for p in out]


def uint8(x):
    return [images.from_unit(p) for p in x]


def sheets(prior, test, out, count, steps):
    """unconditional.png (samples above real photos), edits.png (painting, edits, the photo)."""
    blank = np.full((count, *prior.shape), 128, np.uint8)
    samples, real = run(prior, blank, 1.0, steps), uint8(rows_of(test, count))
    gap = [np.full((4, prior.shape[1], 3), 228, np.uint8)] * 8
    rows = [samples[i : i + 8] for i in range(0, count, 8)] + [gap]
    rows += [real[i : i + 8] for i in range(0, count, 8)]
    labels = ["samples"] * (count // 8) + [""] + ["real photos"] * (count // 8)
    sheet = images.contact_sheet(rows, labels, scale=2)
    images.write_png(out / "unconditional.png", sheet, overwrite=True)
    photos = uint8(rows_of(test, 8))
    paintings = np.stack([simulate(p) for p in photos])
    edits = {t0: run(prior, paintings, t0, 20) for t0 in (0.4, 0.5, 0.6)}
    rows = [
        [painting, *(edits[t0][i] for t0 in edits), photo]
        for i, (painting, photo) in enumerate(zip(paintings, photos, strict=True))
    ]
    columns = ["painting", *(f"t0 {t0:g}" for t0 in edits), "real photo"]
    sheet = images.contact_sheet(rows, (), columns, scale=4)
    images.write_png(out / "edits.png", sheet, overwrite=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prior", default="checkpoints/fruits64")
    parser.add_argument("--data", required=True, help="the data set, with train/ and test/")
    parser.add_argument("--out", type=Path, default=Path("out_prior"))
    parser.add_argument("--count", type=int, default=128, help="held-out pictures")
    parser.add_argument("--samples", type=int, default=16, help="unconditional samples")
    parser.add_argument("--steps", type=int, default=40, help="steps of unconditional samples")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    prior = build.load_prior(options.prior)
    train, test = (source(options.data, split) for split in ("train", "test"))
    print(f"device: {jax.devices()[0].device_kind}")
    errors(prior, train, test, options.count)
    sheets(prior, test, options.out, options.samples, options.steps)


if __name__ == "__main__":
    main()
