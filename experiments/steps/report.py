"""Tables and plots of experiments/steps.

python experiments/steps/report.py --workdir=FOLDER --data fruits64=PATH flowers64=PATH

Reads oracle.jsonl beside this file, and the pictures of pictures.py in the workdir. Writes
pictures.jsonl, oracle.png and pictures.png beside this file, and prints the tables as Markdown.
"""

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from oracle import ODES

import sdedit_jax as sj
from sdedit_jax import images
from sdedit_jax.data.pictures import source
from sdedit_jax.evaluation import features, kid
from sdedit_jax.evaluation.network import prior_features

HERE = Path(__file__).parent
PRIORS = ("fruits64", "flowers64")
NETWORK = "fruits64"
BEST = "dpmpp_2m_sde_karras"
PHOTOS = 512
GUIDES = 64
FEATURES = ("hand", "network", "statistics")
DRAWS = 5000
MOST_DRAWN = 35
"""Evaluations in the plot."""
SDES = ("dpmpp_2m_sde", "dpmpp_3m_sde", "sa_solver(tau=1.0)")
RANGES = {
    "SDE, 8": (SDES, (8,)),
    "SDE, 12": (SDES, (12,)),
    "SDE, 20 to 100": (SDES, (20, 35, 50, 100)),
    "flow, 12": (ODES, (12,)),
    "flow, 100": (ODES, (100,)),
}
"""A column of the table of ranges -> solvers and numbers of evaluations."""


def main() -> None:
    """Measure the pictures, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--data", nargs="+", required=True, help="PRIOR=zip or folder of photos")
    args = parser.parse_args()
    oracle = lines(HERE / "oracle.jsonl")
    print_oracle(oracle)
    print_ranges(oracle)
    draw_oracle(oracle).savefig(HERE / "oracle.png", dpi=110)
    data = dict(given.split("=", 1) for given in args.data)
    rows = [row for prior in data for row in compared(args.workdir / prior, data[prior])]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (HERE / "pictures.jsonl").write_text(text, encoding="utf-8")
    print_pictures(rows)
    draw_pictures(rows).savefig(HERE / "pictures.png", dpi=110)


def lines(file: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines."""
    return [json.loads(line) for line in file.read_text().splitlines()]


# --- the oracle -----------------------------------------------------------------------------------


def print_oracle(rows: Sequence[dict[str, Any]]) -> None:
    """A table for each process and t0: the distance in units of the distance of two exact sets."""
    for process, t0 in itertools.product(("ve", "vp"), (0.3, 0.5, 0.7)):
        own = [r for r in rows if r["process"] == process and r["t0"] == t0]
        (floor,) = (r["sw"] for r in own if r["solver"] == "exact")
        counts = sorted({r["evaluations"] for r in own} - {0})
        print(f"\n{process.upper()}, t0 {t0}: SW_2 / {floor:.4f}, by evaluations\n")
        print(f"| solver, grid | {' | '.join(map(str, counts))} | order |")
        print("|---" * (len(counts) + 2) + "|")
        table = {}
        for r in own:
            if r["solver"] != "exact":
                table.setdefault((r["solver"], r["grid"]), {})[r["evaluations"]] = r["sw"]
        for (solver, grid), found in sorted(table.items(), key=lambda kv: sum(kv[1].values())):
            cells = [f"{found[n] / floor:.2f}" if n in found else "" for n in counts]
            print(f"| {solver}, {grid} | {' | '.join(cells)} | {order(found, floor)} |")


def print_ranges(rows: Sequence[dict[str, Any]]) -> None:
    """A table of the smallest and largest distance of some solvers, in units of two exact sets."""
    print("\n| process, t0 | " + " | ".join(RANGES) + " |\n|---" + "|---" * len(RANGES) + "|")
    for process, t0 in itertools.product(("ve", "vp"), (0.3, 0.5, 0.7)):
        own = [r for r in rows if (r["process"], r["t0"]) == (process, t0)]
        (floor,) = (r["sw"] for r in own if r["solver"] == "exact")
        cells = []
        for solvers, counts in RANGES.values():
            found = [
                r["sw"] / floor
                for r in own
                if r["solver"] in solvers and r["evaluations"] in counts
            ]
            cells.append(f"{min(found):.1f} to {max(found):.1f}")
        print(f"| {process.upper()}, {t0} | {' | '.join(cells)} |")


def order(found: dict[int, float], floor: float) -> str:
    """The slope of log distance against log evaluations, where the distance is above the floor.

    The floor is taken from the squared distance; points below 1.5 floors are left out.
    """
    points = [(n, sw**2 - floor**2) for n, sw in found.items() if sw > 1.5 * floor]
    if len(points) < 3:
        return ""
    x, y = np.log(np.array(points).T)
    return f"{-np.polyfit(x, y / 2, 1)[0]:.1f}"


def draw_oracle(rows: Sequence[dict[str, Any]]) -> Figure:
    """Distance against evaluations, for both processes, t0 0.5 and 0.7, on the grid karras."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey="row")
    for (process, t0), ax in zip(
        itertools.product(("ve", "vp"), (0.5, 0.7)), axes.ravel(), strict=True
    ):
        own = [r for r in rows if (r["process"], r["t0"]) == (process, t0)]
        (floor,) = (r["sw"] for r in own if r["solver"] == "exact")
        for i, solver in enumerate(dict.fromkeys(r["solver"] for r in own)):
            points = sorted(
                (r["evaluations"], r["sw"])
                for r in own
                if r["solver"] == solver and r["grid"] == "karras"
            )
            if points and solver != "exact":
                style = "-" if i < 10 else "--"
                ax.plot(*zip(*points, strict=True), style, marker=".", label=solver)
        ax.axhline(floor, color="0.5", ls=":", label="two exact sets")
        ax.set(xscale="log", yscale="log", title=f"{process.upper()}, t0 {t0}")
    for ax in axes[-1]:
        ax.set_xlabel("network evaluations")
    for ax in axes[:, 0]:
        ax.set_ylabel("SW_2 to the exact law")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize="small")
    return figure


# --- pictures -------------------------------------------------------------------------------------


def compared(folder: Path, data: str) -> list[dict[str, Any]]:
    """Each set of a prior against the reference, which is two sets, and against photos.

    The first row is that of the one set of the reference against the other one. A set with a seed
    of the reference shares noise with one of its two sets, and is compared with the other one.
    """
    photos = source(data, "train", size=64).images
    photos = {"photos": photos[np.linspace(0, len(photos) - 1, PHOTOS).astype(int)]}
    best, n = reference_of(folder)
    paths = [path for path in sorted(folder.iterdir()) if counts(path)]
    sets = of_sets({path.name: load(path) for path in paths} | photos)
    photos = sets.pop("photos")
    for path in paths:
        sets[path.name]["guide"] = guides_of(path)
    first, second = (sets.pop(name) for name in best)
    reference = {name: np.concatenate([first[name], second[name]]) for name in first}
    floor = row(folder.name, "floor", n, first, second, reference)
    rows = [floor | exchanged(first, second, reference) | to_photos(reference, photos)]
    other = {seed_of(best[0]): second, seed_of(best[1]): first}
    for name, own in sets.items():
        solver, steps, seed = name.rsplit("_", 2)
        found = row(folder.name, solver, int(steps), own, other.get(seed, reference), reference)
        rows.append(found | to_photos(own, photos))
    return rows


def reference_of(folder: Path) -> tuple[list[str], int]:
    """The two sets of BEST with the most steps, both of the same number of samples; the steps."""
    found = {}
    for path in sorted(folder.glob(f"{BEST}_*")):
        found.setdefault(int(path.name.split("_")[-2]), []).append(path)
    pairs = {n: paths for n, paths in found.items() if len(paths) == 2}
    whole = [n for n, (a, b) in pairs.items() if counts(a) and counts(a) == counts(b)]
    return [path.name for path in pairs[max(whole)]], max(whole)


def seed_of(name: str) -> str:
    """The seed in the name of a set."""
    return name.rsplit("_", 1)[1]


def counts(path: Path) -> list[int]:
    """The number of guides in each sample of a set; none where it has fewer than two samples."""
    found = [len(np.load(file, mmap_mode="r")) for file in sorted(path.glob("*.npy"))]
    return found if len(found) > 1 else []


def to_photos(x: dict[str, Any], photos: dict[str, Any]) -> dict[str, float]:
    """KID of a set to photos, on the features of the network, in units of the photos'."""
    a, b = (features.standardised(v["network"], photos["network"]) for v in (x, photos))
    value, error = kid.mmd2(a, b), kid.standard_error(a, b)
    return {"photos_network": round(value, 4), "photos_network_error": round(error, 4)}


def load(path: Path) -> np.ndarray:
    """The pictures of a set, one sample of all its guides after the other."""
    return np.concatenate([np.load(file) for file in sorted(path.glob("*.npy"))])


def guides_of(path: Path) -> np.ndarray:
    """The number of the guide of each picture of a set; a set may have every k-th guide alone."""
    return np.concatenate([np.arange(0, GUIDES, GUIDES // count) for count in counts(path)])


def of_sets(sets: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """The features of sets of pictures, by name.

    One call makes the network's: it adds noise to each picture by its number, and pictures of two
    sets must not share it.
    """
    x = images.to_unit(np.concatenate(list(sets.values())))
    found = {
        "hand": features.hand_made(x),
        "network": prior_features(sj.load_prior(NETWORK), x),
        "statistics": features.pixel_statistics(x),
    }
    ends = np.cumsum([len(pictures) for pictures in sets.values()])[:-1]
    split = {name: np.split(rows, ends) for name, rows in found.items()}
    return {name: {f: parts[i] for f, parts in split.items()} for i, name in enumerate(sets)}


def row(
    prior: str, solver: str, n: int, x: dict[str, Any], y: dict[str, Any], scale: dict[str, Any]
) -> dict[str, Any]:
    """Distances between two sets, by features: KID, and the energy distance given the guide."""
    found = {"prior": prior, "solver": solver, "n": n, "edits": len(x["hand"])}
    same = np.isin(y["guide"], x["guide"])
    for name in FEATURES:
        a, b = (features.standardised(v[name], scale[name]) for v in (x, y))
        found[f"kid_{name}"] = round(kid.mmd2(a, b), 5)
        found[f"kid_{name}_error"] = round(kid.standard_error(a, b), 5)
        value, error = kid.grouped(a, b[same], x["guide"], y["guide"][same])
        found[f"energy_{name}"], found[f"energy_{name}_error"] = round(value, 5), round(error, 5)
    return found


def exchanged(x: dict[str, Any], y: dict[str, Any], scale: dict[str, Any]) -> dict[str, float]:
    """The probability of an energy distance as far from 0 for equal laws, by features.

    The edits of each guide are exchanged between the two sets at random, DRAWS times.
    """
    rng, guides, found = np.random.default_rng(0), np.concatenate([x["guide"], y["guide"]]), {}
    for name in FEATURES:
        both = [features.standardised(v[name], scale[name]) for v in (x, y)]
        groups = [np.concatenate(both)[guides == g] for g in np.unique(guides)]
        kernels = np.stack([kid.energy_kernel(rows, rows) for rows in groups])
        orders = rng.permuted(
            np.tile(np.arange(kernels.shape[1]), (DRAWS, len(groups), 1)), axis=-1
        )
        first = np.tile(np.arange(kernels.shape[1]), (len(groups), 1))
        values = [energy(kernels, order) for order in (first, *orders)]
        found[f"exchanged_{name}"] = float(np.mean(np.abs(values[1:]) >= abs(values[0])))
    return found


def energy(kernels: np.ndarray, order: np.ndarray) -> float:
    """The mean energy distance of the first to the last half of the rows [G, 2 N] in an order."""
    n, groups = order.shape[1] // 2, np.arange(len(order))[:, None, None]
    k = kernels[groups, order[:, :, None], order[:, None]]
    own = [
        part.sum() - np.trace(part, axis1=1, axis2=2).sum() for part in (k[:, :n, :n], k[:, n:, n:])
    ]
    return (sum(own) / (n * (n - 1)) - 2 * k[:, :n, n:].sum() / n**2) / len(k)


def print_pictures(rows: Sequence[dict[str, Any]]) -> None:
    """A table for each prior."""
    names = ["energy_hand", "energy_network", "energy_statistics", "kid_hand", "kid_network"]
    names += ["photos_network"]
    for prior in PRIORS:
        head = ["solver", "N", "edits", *names]
        print(f"\n{prior}\n\n| {' | '.join(head)} |\n{'|---' * len(head)}|")
        for r in sorted(
            (r for r in rows if r["prior"] == prior), key=lambda r: (r["n"], r["solver"])
        ):
            cells = [f"{r[n]:.4f} +- {r[n + '_error']:.4f}" for n in names]
            print(f"| {r['solver']} | {r['n']} | {r['edits']} | {' | '.join(cells)} |")
        (floor,) = (r for r in rows if r["prior"] == prior and r["solver"] == "floor")
        far = {name: floor[key] for name in FEATURES if (key := f"exchanged_{name}") in floor}
        print(f"\nfloor, probability of a value as far from 0: {far}")


def draw_pictures(rows: Sequence[dict[str, Any]]) -> Figure:
    """The energy distance given the guide against evaluations, by prior and features."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplots(len(PRIORS), len(FEATURES), sharex=True)
    for (prior, name), ax in zip(itertools.product(PRIORS, FEATURES), axes.ravel(), strict=True):
        own = [r for r in rows if r["prior"] == prior]
        for solver in dict.fromkeys(r["solver"] for r in own):
            points = sorted(
                (r["n"], r[f"energy_{name}"], r[f"energy_{name}_error"])
                for r in own
                if r["solver"] == solver and (solver == "floor" or r["n"] <= MOST_DRAWN)
            )
            if solver == "floor":
                ax.axhline(0, color="0.5", ls=":", label="expected of one law")
                low, high = (points[0][1] + sign * points[0][2] for sign in (-1, 1))
                ax.axhspan(low, high, color="0.5", alpha=0.15, label="two references")
            elif len(points) > 1:
                ax.errorbar(*zip(*points, strict=True), marker=".", capsize=2, label=solver)
        ax.set(xscale="log", title=f"{prior}, {name}")
        ax.set_xticks([5, 8, 12, 20, 35], ["5", "8", "12", "20", "35"])
        ax.minorticks_off()
    for ax in axes[-1]:
        ax.set_xlabel("network evaluations")
    for ax in axes[:, 0]:
        ax.set_ylabel("energy distance to the reference")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize="small")
    return figure


if __name__ == "__main__":
    main()
