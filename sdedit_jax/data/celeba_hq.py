"""CelebA-HQ with the part masks of CelebAMask-HQ, in its published layout.

    CelebA-HQ-img/N.jpg                                     1024 x 1024, N from 0
    CelebAMask-HQ-mask-anno/FOLDER/NNNNN_PART.png           512 x 512, optional
    CelebA-HQ-to-CelebA-mapping.txt                         for splits: idx orig_idx orig_file

The ids are the numbers N. Lee et al., MaskGAN, CVPR 2020 (arXiv:1907.11922).
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from sdedit_jax.data.examples import DataSet, Row, file_set
from sdedit_jax.data.files import Files, picture_names, to_picture
from sdedit_jax.data.layouts import Choice, Layout
from sdedit_jax.files import json_file
from sdedit_jax.images import (
    MASK_SUFFIX,
    Size,
    from_levels,
    luminance,
    proportional,
    resize_mask,
    size_text,
)
from sdedit_jax.text.spelling import one_of

PICTURES = "CelebA-HQ-img"
MASKS = "CelebAMask-HQ-mask-anno"
MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"
PARTS = ("skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear", "mouth")
PARTS += ("u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth")
NUMBER = re.compile(r"\d{1,18}")
SPLITS = {"train": (0, 162771), "val": (162771, 182638), "test": (182638, 202600)}
"""The first number in CelebA of a split, and that after its last, as CelebAMask-HQ splits it."""


def fits(path: Path) -> bool:
    """Whether a path has the pictures of CelebA-HQ."""
    return (path / PICTURES).is_dir()


def celeba_hq(path: Path, choice: Choice) -> DataSet:
    """The faces by their numbers.

    Args:
        choice: mask_suffix: the parts that may change, such as "_hair,_hat"; the mask is their
            union, and faces with none of them are left out. By default there are no masks.
            split: "train", "val" or "test", where the mapping to CelebA is there.

    Raises:
        ValueError: a part or split is unknown, the masks or the mapping are missing, or there is
            no picture.
    """
    names = picture_names(Files(path / PICTURES).names())
    stems = {Path(name).stem: f"{PICTURES}/{name}" for name in names}
    kept = _of_split(stems, path, choice.split) if choice.split else set(stems)
    parts = _parts(choice.mask_suffix)
    masks = _masks(path, parts) if parts else {}
    rows = ((id, Row(stems[id], masks.get(id, "")), stems[id]) for id in _in_order(kept))
    wanted = (row for row in rows if not parts or row[1].mask)
    return file_set(path.name, wanted, Files(path), _mask)


def _in_order(ids: set[str]) -> list[str]:
    """Ids by their numbers, and behind them those that are none."""
    numbers = {id: int(id) for id in ids if NUMBER.fullmatch(id)}
    return sorted(ids, key=lambda id: (id not in numbers, numbers.get(id, 0), id))


def _of_split(ids: Mapping[str, str], path: Path, split: str) -> set[str]:
    """The ids of a split."""
    first, last = SPLITS[one_of("split", split, SPLITS)]
    lines = (line.split() for line in json_file.lines(path / MAPPING, "data"))
    numbers = {
        cells[0]: int(cells[1]) for cells in lines if len(cells) > 1 and NUMBER.fullmatch(cells[1])
    }
    return {id for id in ids if first <= numbers.get(id, -1) < last}


def _parts(suffix: str) -> Sequence[str]:
    """The parts of "_hair,_hat"."""
    if suffix in ("", MASK_SUFFIX):
        return ()
    return [
        one_of("mask_suffix", part.strip().removeprefix("_"), PARTS) for part in suffix.split(",")
    ]


def _masks(path: Path, parts: Sequence[str]) -> dict[str, str]:
    """The id of a face -> the files of its parts, joined by line breaks."""
    found = defaultdict(list)
    for id, name, part in _part_files(path):
        if part in parts:
            found[id].append(f"{MASKS}/{name}")
    if not found:
        raise ValueError(f"data: {path / MASKS} has no mask of the parts {list(parts)}")
    return {id: "\n".join(sorted(names)) for id, names in found.items()}


def _part_files(path: Path) -> Iterator[tuple[str, str, str]]:
    """(id, name, part) of the part masks."""
    for name in picture_names(Files(path / MASKS).names()):
        number, _, part = Path(name).stem.partition("_")
        if NUMBER.fullmatch(number):
            yield str(int(number)), name, part


def _mask(files: Files, names: str, size: Size) -> np.ndarray:
    """The union of part masks, at the size of the picture."""
    union = np.zeros(size, np.float32)
    for name in names.split("\n"):
        levels = luminance(to_picture(files(name), name).rgb)
        if not proportional(levels.shape, size):
            raise ValueError(
                f"mask {name} has {size_text(levels.shape)} pixels (height x width), the picture"
                f" has {size_text(size)}; both must have the same proportions"
            )
        union = np.maximum(union, resize_mask(from_levels(levels), size))
    return union


LAYOUT = Layout(fits, celeba_hq, ("split", "mask_suffix"))
