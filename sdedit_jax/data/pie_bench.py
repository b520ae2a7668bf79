"""PIE-Bench: 700 pictures with source and target prompts, and masks of what the edit concerns.

    mapping_file.json       id -> image_path, original_prompt, editing_prompt, mask, blended_word,
                            editing_type_id, editing_instruction
    annotation_images/      the pictures, 512 x 512

Brackets in prompts mark what the two prompts differ in. Ju et al., PnP Inversion: Boosting
Diffusion-based Editing with 3 Lines of Code, ICLR 2024 (arXiv:2310.01506).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sdedit_jax.data.examples import DataSet, Row, file_set
from sdedit_jax.data.files import Files
from sdedit_jax.data.layouts import Choice, Layout
from sdedit_jax.files import json_file
from sdedit_jax.files.wording import brief
from sdedit_jax.images import Size
from sdedit_jax.images.fitting import mask_at
from sdedit_jax.text.spelling import one_of

MAPPING = "mapping_file.json"
PICTURES = "annotation_images"
SIDE = 512
TYPES = (
    "random",
    "change object",
    "add object",
    "delete object",
    "change content",
    "change pose",
    "change color",
    "change material",
    "change background",
    "change style",
)
"""The editing types; their numbers are the labels."""


def fits(path: Path) -> bool:
    """Whether a path has the files of PIE-Bench."""
    return (path / MAPPING).is_file() and (path / PICTURES).is_dir()


def pie_bench(path: Path, choice: Choice) -> DataSet:
    """The rows of PIE-Bench in the order of the mapping file.

    Prompts are without brackets. The label is the number of the editing type, see TYPES. Where the
    two blended words differ, the concepts remove the first and add the second. The mask is the
    published one; `with_border` is the rule of the benchmark's own evaluation.

    Args:
        choice: split: editing types, such as "1,8"; "": all.

    Raises:
        ValueError: the mapping file cannot be read, or a row has other fields.
    """
    wanted = [one_of("split", part.strip(), LABELS) for part in choice.split.split(",") if part]
    entries = json_file.read_object(path / MAPPING, "data", "ids")
    rows = (
        (id, row, id)
        for id, entry in entries.items()
        if (row := _row(id, entry)).label in wanted or not wanted
    )
    return file_set(path.name, rows, Files(path / PICTURES), _mask)


def _row(id: str, entry: Any) -> Row:
    if not isinstance(entry, dict):
        raise ValueError(f"data: {MAPPING}: {brief(id)} must be an object, got {brief(entry)}")
    fields = ("image_path", "original_prompt", "editing_prompt", "editing_type_id")
    for field in fields:
        if not isinstance(entry.get(field), str):
            raise ValueError(f"data: {MAPPING}: {field} of {brief(id)} must be a text")
    if not isinstance(entry.get("mask"), list):
        raise ValueError(f"data: {MAPPING}: mask of {brief(id)} must be a list of numbers")
    if not isinstance(entry.get("blended_word") or "", str):
        raise ValueError(f"data: {MAPPING}: blended_word of {brief(id)} must be a text")
    return Row(
        picture=entry["image_path"],
        mask=json.dumps(entry["mask"]),
        label=entry["editing_type_id"],
        prompt=_plain(entry["editing_prompt"]),
        source_prompt=_plain(entry["original_prompt"]),
        concepts=_concepts(entry.get("blended_word") or ""),
    )


def _plain(prompt: str) -> str:
    """A prompt without its brackets."""
    return prompt.replace("[", "").replace("]", "")


def _concepts(blended: str) -> str:
    """The blended words "cat dog" as the concepts -"cat",+"dog"."""
    words = blended.split()
    if len(words) != 2 or words[0] == words[1]:
        return ""
    return f"-{json.dumps(words[0])},+{json.dumps(words[1])}"


def _mask(files: Files, runs: str, size: Size) -> np.ndarray:
    return mask_at(mask_of_runs(json.loads(runs)), size, "mask")


def mask_of_runs(runs: Sequence[int], side: int = SIDE) -> np.ndarray:
    """The mask of run lengths: float32 [side, side] of 0 and 1, as published.

    Args:
        runs: start and length of each run of ones, in the rows of the mask joined to one line. A
            run that is too long ends at the last pixel.

    Raises:
        ValueError: a start lacks its length, or a number is no place or length in the mask.
    """
    pixels = side * side
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in runs)
    if len(runs) % 2 or not whole or any(start >= pixels for start in runs[::2]):
        raise ValueError(
            f"mask must be pairs of a start below {pixels} and a length, got {brief(runs)}"
        )
    starts, lengths = np.array([min(n, pixels) for n in runs], np.int64).reshape(-1, 2).T
    steps = np.zeros(pixels + 1, np.int64)
    np.add.at(steps, starts, 1)
    np.add.at(steps, np.minimum(starts + lengths, pixels), -1)
    return (np.cumsum(steps)[:-1] > 0).astype(np.float32).reshape(side, side)


def with_border(mask: np.ndarray) -> np.ndarray:
    """A mask whose outermost pixels are 1, as in the evaluation of the benchmark's authors.

    They set a border of one pixel to 1 because annotations miss the boundary. Measures of the
    unedited part therefore leave the border out.

    Args:
        mask: float32 [H, W] in [0, 1].
    """
    bordered = mask.copy()
    bordered[[0, -1], :] = 1
    bordered[:, [0, -1]] = 1
    return bordered


LABELS = tuple(str(number) for number in range(len(TYPES)))
LAYOUT = Layout(fits, pie_bench, ("split",))
