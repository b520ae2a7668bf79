"""What a prior is worth: held-out denoising error, and sheets of its pictures beside real photos.

python experiments/prior/report.py --data=PATH of fruits64.zip
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import sdedit_jax as sj
from sdedit_jax import images
from sdedit_jax.data.pictures import Source, source
from sdedit_jax.training.batches import batch_of
from sdedit_jax.training.loss import denoising_error

LEVELS = (0.1, 0.3, 1.0, 3.0)
WIDTHS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.0)
"""Standard deviations in pixels of the blurs that are tried."""


def main() -> None:
    """Print the table of errors and write the sheets."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prior", default="checkpoints/fruits64")
    parser.add_argument("--data", required=True, help="zip or folder with train/ and test/")
    parser.add_argument("--strokes", default="examples/strokes")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--pictures", type=int, default=1110, help="held-out pictures, at most")
    args = parser.parse_args()
    prior = sj.load_prior(args.prior)
    known, held_out = source(args.data, "train"), source(args.data, "test")
    chosen = np.unique(np.linspace(0, len(held_out) - 1, args.pictures).astype(int))
    print_errors(errors(prior, known, batch_of(held_out, chosen)[0]), len(chosen))
    args.out.mkdir(parents=True, exist_ok=True)
    images.write_png(args.out / "prior_samples.png", samples(prior, held_out), overwrite=True)
    sheet = edits(prior, images.find_inputs(args.strokes), held_out)
    images.write_png(args.out / "prior_edits.png", sheet, overwrite=True)


def print_errors(table: dict[str, list[float]], count: int) -> None:
    """Print the errors, a row for each level."""
    print(f"RMSE of x0 in [-1, 1] units, {count} held-out pictures")
    print("| sigma | " + " | ".join(table) + " |\n|---|" + "---|" * len(table))
    for i, level in enumerate(LEVELS):
        print(
            f"| {level:g} | " + " | ".join(f"{column[i]:.4f}" for column in table.values()) + " |"
        )


def errors(prior: sj.Prior, known: Source, x0: np.ndarray) -> dict[str, list[float]]:
    """RMSE at each level: of the prior, of the mean photo, of the best blur, of the noisy input."""
    error = denoising_error(prior.process, prior.predict, LEVELS)
    mean = np.mean([images.to_unit(known.images[i]) for i in range(len(known))], axis=0)
    return {
        "prior": [float(e) for e in error(prior.params, x0, None, jax.random.key(0))],
        "mean photo": [rms(x0 - mean)] * len(LEVELS),
        "best blur": [best_blur(x0, level) for level in LEVELS],
        "noisy input": list(LEVELS),
    }


def rms(a: np.ndarray) -> float:
    """The root of the mean square."""
    return float(np.sqrt(np.mean(np.square(a))))


def best_blur(x0: np.ndarray, sigma: float) -> float:
    """The least error of a Gaussian blur of x0 + sigma z, its width chosen on these pictures."""
    z = np.random.default_rng(0).standard_normal(x0.shape, np.float32)
    return min(rms(blur(x0 + sigma * z, width) - x0) for width in WIDTHS)


@jax.jit
def blur(x: jax.Array, width: float) -> jax.Array:
    """Gaussian blur of [B, H, W, C], normalised at the border."""
    place = jnp.arange(x.shape[1])
    weight = jnp.exp(-0.5 * ((place[:, None] - place[None, :]) / width) ** 2)
    weight = weight / weight.sum(axis=1, keepdims=True)
    return jnp.einsum("ih,jw,bhwc->bijc", weight, weight, x)


def samples(prior: sj.Prior, held_out: Source, columns: int = 8) -> np.ndarray:
    """Two rows of unconditional samples under two rows of real photos, at 4x."""
    empty = np.full(prior.shape, 128, np.uint8)
    drawn = [sj.edit(prior, empty, t0=1.0, steps=40, sample=k) for k in range(2 * columns)]
    real = spread(held_out, 2 * columns)
    rows = [real[:columns], real[columns:], drawn[:columns], drawn[columns:]]
    return images.contact_sheet(rows, ["photo", "photo", "sample", "sample"], scale=4)


def spread(data: Source, count: int) -> list[np.ndarray]:
    """Evenly spaced pictures."""
    return [data.images[i] for i in np.linspace(0, len(data) - 1, count).astype(int)]


def edits(prior: sj.Prior, inputs: list[Path], held_out: Source) -> np.ndarray:
    """For each painting the guide, four edits and the two held-out photos nearest to the guide."""
    rows = []
    for path in inputs:
        guide = images.fit(images.flatten(images.read(path)), prior.shape[:2])[0]
        made = [sj.edit(prior, guide, id=path.stem, sample=k) for k in range(4)]
        rows.append([guide, *made, *nearest(guide, held_out, 2)])
    columns = ["guide", *(f"edit {k}" for k in range(4)), "photo", "photo"]
    return images.contact_sheet(rows, [p.stem for p in inputs], columns, scale=4)


def nearest(guide: np.ndarray, data: Source, count: int, apart: int = 30) -> list[np.ndarray]:
    """Pictures with the least squared distance to the guide; neighbours in number look alike."""
    distance = np.array([np.sum((p.astype(np.float32) - guide) ** 2) for p in data.images])
    found = []
    for _ in range(count):
        best = int(np.argmin(distance))
        found.append(data.images[best])
        distance[max(best - apart, 0) : best + apart + 1] = np.inf
    return found


if __name__ == "__main__":
    main()
