"""Compositing beside copying, Laplacian and Poisson blending: Table 3 of the paper.

python experiments/paper/composite.py --workdir=FOLDER        needs opencv-python-headless
"""

import json
from collections.abc import Callable

import cv2
import evaluations as ev
import numpy as np
from evaluations import Setting

import sdedit_jax as sj
from sdedit_jax import images
from sdedit_jax.data.examples import DataSet, Example
from sdedit_jax.data.patches import pasted
from sdedit_jax.data.sets import open_data_set
from sdedit_jax.evaluation import extractors
from sdedit_jax.evaluation.averages import mean_and_error
from sdedit_jax.evaluation.distances import distances
from sdedit_jax.evaluation.paired import PAIRED

NAME = "composite"
T0 = (0.2, 0.35, 0.5)
LEVELS = 4
"""Of the Laplacian pyramid."""
SHOWN = 6
MEASURES = {"guide_l2": "l2", "guide_rms_edited": "rms_edited", "photo_rms_kept": "rms_kept"}


def copied(example: Example) -> np.ndarray:
    """The patch as it is."""
    return example.guide.rgb


def poisson(example: Example) -> np.ndarray:
    """Seamless cloning (Perez et al. 2003) of the patch."""
    mask = (example.mask > 0).astype(np.uint8) * 255
    mask[[0, -1]], mask[:, [0, -1]] = 0, 0  # OpenCV needs a rim
    rows, columns = np.nonzero(mask)
    centre = (int(columns.min() + columns.max() + 1) // 2, int(rows.min() + rows.max() + 1) // 2)
    return cv2.seamlessClone(example.guide.rgb, example.picture.rgb, mask, centre, cv2.NORMAL_CLONE)


def laplacian(example: Example) -> np.ndarray:
    """Blending of Laplacian pyramids (Burt and Adelson 1983) by the mask."""
    pictures = [p.rgb.astype(np.float32) for p in (example.guide, example.picture)]
    a, b = (_pyramid(picture) for picture in pictures)
    masks = [np.repeat(example.mask[..., None], 3, -1).astype(np.float32)]
    for _ in range(LEVELS):
        masks.append(cv2.pyrDown(masks[-1]))
    levels = [m * x + (1 - m) * y for x, y, m in zip(a, b, masks, strict=True)]
    found = levels[-1]
    for level in reversed(levels[:-1]):
        found = level + cv2.pyrUp(found, dstsize=level.shape[1::-1])
    return np.clip(np.rint(found), 0, 255).astype(np.uint8)


def _pyramid(picture: np.ndarray) -> list[np.ndarray]:
    gaussian = [picture]
    for _ in range(LEVELS):
        gaussian.append(cv2.pyrDown(gaussian[-1]))
    pairs = zip(gaussian[:-1], gaussian[1:], strict=True)
    return [x - cv2.pyrUp(y, dstsize=x.shape[1::-1]) for x, y in pairs] + gaussian[-1:]


BLENDING: dict[str, Callable[[Example], np.ndarray]] = {
    "copied": copied,
    "Laplacian blending": laplacian,
    "Poisson blending": poisson,
}


def main() -> None:
    """Evaluate, measure the others on the same rows, and write table and sheet."""
    args = ev.arguments(__doc__)
    settings = [
        Setting(f"t0_{t0:g}", "evaluate_composite", {"t0": t0}, {"method": f"SDEdit, t0 {t0:g}"})
        for t0 in T0
    ]
    edits = ev.run(settings, args, NAME)
    if args.workdir is None:
        return ev.show(ev.table(edits, columns()), NAME)
    data = pasted(open_data_set(args.input or sj.example("examples/flowers/photos")))
    data = data.first(args.limit) if args.limit else data
    rows = [{"method": name, **measured(data, blend)} for name, blend in BLENDING.items()]
    file = ev.HERE / NAME / "results.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *edits]), encoding="utf-8")
    ev.show(ev.table([*rows, *edits], columns()), NAME)
    sheet(data, args)


def columns() -> list[ev.Column]:
    """The columns of the table."""
    return [
        ("method", ev.fact("method")),
        ("L2 to the guide", ev.measure("guide_l2", 2)),
        ("change outside the patch (RMS)", ev.measure("photo_rms_kept", 4)),
        ("KID, hand", ev.distance("hand_edits")),
        ("KID, network", ev.distance("fruits64_edits")),
    ]


def measured(data: DataSet, blend: Callable[[Example], np.ndarray]) -> dict:
    """The measures of a blending, as an evaluation has them."""
    every = list(data)
    made = np.stack([blend(example) for example in every])
    photos = np.stack([example.picture.rgb for example in every])
    guides = np.stack([example.guide.rgb for example in every])
    mask = np.stack([example.mask for example in every])
    against = {"guide": guides, "photo": photos}
    measures = {
        name: list(mean_and_error(PAIRED[kind].of(made, against[name.split("_")[0]], mask)))
        for name, kind in MEASURES.items()
    }
    groups, sets = (np.arange(len(made)),) * 2, {}
    for one in (extractors.hand(), extractors.of_prior(sj.load_prior("fruits64"))):
        found = distances(one.apply(made), one.apply(photos), one, groups=groups)["kid_apart"]
        sets[f"{one.name}_edits"] = [found["value"], found["error"]]
    return {"edits": len(made), "measures": measures, "sets": sets}


def sheet(data: DataSet, args: object) -> None:
    """Photo, guide, blendings and edits of some rows."""
    rows, names = [], ["photo", *BLENDING]
    chosen = [int(row) for row in np.linspace(0, len(data) - 1, SHOWN)]
    for row in chosen:
        example = data[row]
        cells = [example.picture.rgb, *(blend(example) for blend in BLENDING.values())]
        rows.append([*cells, *(edit(args.workdir / f"t0_{t0:g}", example.id) for t0 in T0)])
    names += [f"SDEdit {t0:g}" for t0 in T0]
    made = images.contact_sheet(rows, [data.ids[row] for row in chosen], names, scale=2)
    images.write_png(ev.HERE / NAME / "composite.png", made, {}, overwrite=True)


def edit(folder: object, id: str) -> np.ndarray:
    """The first edit of an id in the shards of an evaluation."""
    from sdedit_jax.evaluation import shards

    count = len(list((folder / shards.FOLDER).glob("*.jsonl")))
    store = shards.Store(folder / shards.FOLDER, count)
    for number in range(count):
        header, lines = store.read(number)
        places = {(line["id"], line["sample"]): line.get("picture") for line in lines}
        if places.get((id, 0)) is not None:
            return shards.pixels(list(store.pictures(number, header))[places[id, 0]])
    raise SystemExit(f"{folder} has no edit of {id}")


if __name__ == "__main__":
    main()
