"""Pictures for training: a folder, a zip or a tfds name -> a random-access source -> batches.

Step n of the stream is a function of (seed, n) alone, by index arithmetic on grain's MapDataset, so a
run that restarts at step n reads nothing of the steps before it. Augmentation is drawn for each picture
from its place in the stream and done for a batch at once.

Not here: the noise of training (train/loss.py) and how results are written (images.py).
"""

import csv
import io
import posixpath
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
LABELS = (None, "folder", "captions")


@dataclass(frozen=True, eq=False, repr=False)
class Source:
    """Pictures by number.

    Attributes:
        images: uint8 [H, W, 3] each; one array in memory for small sets, else decoded when asked for.
        labels: an int for each picture, or None.
        names: what the labels mean: folder names, or the different captions, sorted.
    """

    images: Sequence[np.ndarray]
    labels: np.ndarray | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> dict[str, Any]:
        element = {"image": self.images[i]}
        return element if self.labels is None else {**element, "label": self.labels[i]}


class Augment(NamedTuple):
    """Random changes of a training picture; the defaults suit an object on a plain ground.

    Attributes:
        flip: mirror left-right with probability 1/2.
        shift: whole pixels, uniform in -shift .. shift in both directions.
        scale: bounds of a factor, uniform in the logarithm.
        often: the probability of scaling; the other pictures keep their pixels as they are.
        fill: what comes in from outside: "border", the median colour of the picture's border, or
            "edge", the nearest pixel.
    """

    flip: bool = True
    shift: int = 4
    scale: tuple[float, float] = (0.85, 1.1)
    often: float = 0.5
    fill: str = "border"


def source(
    path: str | Path,
    split: str | None = None,
    labels: str | None = None,
    *,
    size: int | None = None,
    memory: int = 2**30,
) -> Source:
    """A random-access source of pictures, all of one size.

    Args:
        path: a folder (searched in depth), a zip, a prepared tfds folder, or a tfds name.
        split: keep pictures that have this folder on their path, e.g. "train"; for tfds its split.
        labels: None; "folder" (the folder a picture stands in; tfds: its label); "captions" (columns
            path and caption of captions.csv, path relative to that file). Numbers do not depend on `split`.
        size: crop the middle square and resize to size x size; None takes pictures as they are.
        memory: bytes up to which all pictures are decoded once and kept.

    Raises:
        ValueError: no such path, no picture, a broken picture, pictures of several sizes, no label.
    """
    if labels not in LABELS:
        raise ValueError(f"labels must be one of {LABELS}, got {labels!r}")
    path = Path(path)
    if path.suffix == ".zip" or (path.is_dir() and not (path / "dataset_info.json").exists()):
        images, numbers, names = _from_files(path, split, labels, size)
    else:
        images, numbers, names = _from_tfds(path, split, labels, size)
    if len(images) == 0:
        raise ValueError(f"data: no picture ({', '.join(PICTURES)}) in {path}, split {split!r}")
    if len(images) * images[0].nbytes <= memory:
        images = _decode_all(images)
    return Source(images, numbers, names)


def loader(
    data: Source,
    batch: int,
    seed: int = 0,
    augment: Augment | None = None,
    start_step: int = 0,
    *,
    threads: int = 0,
    workers: int = 0,
    process: tuple[int, int] | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """This process's share of an endless stream of batches, from `start_step` on.

    Args:
        data: the pictures; each epoch in another order.
        batch: pictures in a step over all processes.
        seed: of the order and of the augmentation.
        augment: None takes the pictures as they are.
        start_step: the step of the first batch.
        threads: batches made ahead by this many threads; 0 makes each when asked for.
        workers: processes that decode, for sets that do not fit into memory.
        process: (index, count), by default jax's.

    Returns:
        {"image": float32 [b, H, W, 3] in [-1, 1], "label": int32 [b] where there are labels}.

    Raises:
        ValueError: an empty source; a batch that the processes cannot share.
    """
    index, count = process or (jax.process_index(), jax.process_count())
    if len(data) == 0:
        raise ValueError("data: the source is empty")
    if batch < 1 or batch % count:
        raise ValueError(f"batch must be a positive multiple of {count} processes, got {batch}")
    stream = grain.MapDataset.source(data).seed(seed).shuffle().repeat()
    if augment is not None:
        stream = stream.random_map(lambda element, rng: {**element, "draw": _draw(augment, rng)})
    stream = stream[index::count].batch(batch // count, batch_fn=_stack(augment))[start_step:]
    ahead = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    batches = stream.to_iter_dataset(ahead)
    if workers:
        batches = batches.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    return iter(batches)


def warp(
    images: np.ndarray, flip: np.ndarray, shift: np.ndarray, scale: np.ndarray, fill: str = "border"
) -> np.ndarray:
    """Mirror, scale about the middle and move pictures, by Keys' cubic (Catmull-Rom) along each axis.

    A whole shift at scale 1 moves pixels exactly.

    Args:
        images: uint8 [B, H, W, C].
        flip: bool [B], left-right.
        shift: pixels down and right [B, 2].
        scale: factors > 0 [B].
        fill: see Augment.

    Returns:
        float32 [B, H, W, C] in [-1, 1].
    """
    if fill not in ("border", "edge"):
        raise ValueError(f"augment.fill must be 'border' or 'edge', got {fill!r}")
    ground = _border(images) if fill == "border" else np.zeros((), np.float32)
    planes = np.moveaxis(to_float(images) - ground, 3, 1)
    height, width = images.shape[1:3]
    down = _axis(height, shift[:, 0], scale, np.zeros_like(flip), fill)
    right = _axis(width, shift[:, 1], scale, flip, fill)
    moved = down[:, None] @ np.ascontiguousarray(planes) @ right.transpose(0, 2, 1)[:, None]
    return np.clip(np.moveaxis(moved, 1, 3) + ground, -1, 1).astype(np.float32, order="C")


def to_float(images: np.ndarray) -> np.ndarray:
    """uint8 -> float32 in [-1, 1]."""
    return images.astype(np.float32) / np.float32(127.5) - 1


def _draw(augment: Augment, rng: np.random.Generator) -> tuple[bool, int, int, float]:
    low, high = np.log(augment.scale)
    flip, often, place = rng.random(3)
    moves = rng.integers(-augment.shift, augment.shift, 2, endpoint=True)
    scale = np.exp(low + place * (high - low)) if often < augment.often else 1.0
    return augment.flip and flip < 0.5, moves[0], moves[1], scale


def _stack(augment: Augment | None) -> Callable[[Sequence[dict]], dict[str, np.ndarray]]:
    def stack(elements: Sequence[dict]) -> dict[str, np.ndarray]:
        images = np.stack([element["image"] for element in elements])
        if augment is None:
            out = {"image": to_float(images)}
        else:
            flip, down, right, scale = np.asarray([e["draw"] for e in elements], np.float32).T
            shift = np.stack([down, right], 1)
            out = {"image": warp(images, flip > 0, shift, scale, augment.fill)}
        if "label" in elements[0]:
            out["label"] = np.asarray([element["label"] for element in elements], np.int32)
        return out

    return stack


def _axis(n: int, shift: np.ndarray, scale: np.ndarray, flip: np.ndarray, fill: str) -> np.ndarray:
    """Resampling matrices [B, n out, n in] along one axis."""
    middle = np.float32((n - 1) / 2)
    place = (np.arange(n, dtype=np.float32) - middle - shift[:, None]) / scale[:, None]
    place = middle + np.where(flip[:, None], -place, place)
    if fill == "edge":
        place = np.clip(place, 0, n - 1)
    d = np.abs(place[:, :, None] - np.arange(n, dtype=np.float32))
    near, far = (1.5 * d - 2.5) * d * d + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
    return np.where(d < 1, near, np.where(d < 2, far, 0)).astype(np.float32)


def _border(images: np.ndarray) -> np.ndarray:
    """The median colour of each picture's border, float32 [B, 1, 1, C] in [-1, 1]."""
    sides = (images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1])
    return to_float(np.median(np.concatenate(sides, 1), 1)[:, None, None])


@dataclass(frozen=True)
class _Decoded(Sequence):
    """Pictures that are decoded each time they are asked for."""

    read: Callable[[Any], Any]
    keys: Sequence
    size: int | None

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, i: int) -> np.ndarray:
        return _decode(self.read(self.keys[i]), self.size, str(self.keys[i]))


class _Files:
    """The members of a folder or a zip; can be sent to another process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.zip = zipfile.ZipFile(path) if path.suffix == ".zip" else None

    def __reduce__(self) -> tuple:
        return _Files, (self.path,)

    def names(self) -> list[str]:
        if self.zip:
            return sorted(self.zip.namelist())
        return sorted(p.relative_to(self.path).as_posix() for p in self.path.rglob("*"))

    def __call__(self, name: str) -> bytes:
        return self.zip.read(name) if self.zip else (self.path / name).read_bytes()


def _from_files(path: Path, split: str | None, labels: str | None, size: int | None) -> tuple:
    try:
        files = _Files(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"data: cannot open {path}: {error}") from error
    names = files.names()
    pictures = [name for name in names if name.lower().endswith(PICTURES)]
    kept = [name for name in pictures if split is None or f"/{split}/" in f"/{name}"]
    if labels is None:
        return _Decoded(files, kept, size), None, ()
    told = _captions(files, names) if labels == "captions" else {p: _folder(p) for p in pictures}
    missing = [name for name in kept if name not in told]
    if missing:
        raise ValueError(f"data: captions.csv of {path} has no caption for {missing[0]}")
    words = tuple(sorted(set(told.values())))
    number = {word: i for i, word in enumerate(words)}
    return _Decoded(files, kept, size), np.array([number[told[p]] for p in kept], np.int32), words


def _folder(name: str) -> str:
    return posixpath.basename(posixpath.dirname(name))


def _captions(files: _Files, names: list[str]) -> dict[str, str]:
    tables = [name for name in names if posixpath.basename(name) == "captions.csv"]
    if not tables:
        raise ValueError(f"data: labels='captions' needs a captions.csv in {files.path}")
    rows = csv.DictReader(io.StringIO(files(tables[0]).decode()))
    if not {"path", "caption"} <= set(rows.fieldnames or ()):
        raise ValueError(f"data: {tables[0]} needs columns path and caption, has {rows.fieldnames}")
    root = posixpath.dirname(tables[0])
    return {posixpath.join(root, row["path"]): row["caption"] for row in rows}


def _from_tfds(path: Path, split: str | None, labels: str | None, size: int | None) -> tuple:
    import tensorflow_datasets as tfds

    if labels == "captions":
        raise ValueError("labels must be None or 'folder' for a tfds set, got 'captions'")
    try:
        here = path.is_dir()
        builder = tfds.builder_from_directory(path) if here else tfds.builder(str(path))
        rows = builder.as_data_source(split=split or "train")
    except (tfds.core.DatasetNotFoundError, FileNotFoundError, AttributeError) as error:
        raise ValueError(f"data: {path} is no folder, zip or prepared tfds set: {error}") from error
    images = _Decoded(lambda i: rows[i]["image"], range(len(rows)), size)
    if labels is None:
        return images, None, ()
    raw = builder.as_data_source(
        split=split or "train", decoders={"image": tfds.decode.SkipDecoding()}
    )
    numbers = np.array([raw[i]["label"] for i in range(len(raw))], np.int32)
    return images, numbers, tuple(builder.info.features["label"].names)


def _decode(data: bytes | np.ndarray, size: int | None, name: str) -> np.ndarray:
    try:
        picture = (
            Image.open(io.BytesIO(data))
            if isinstance(data, bytes)
            else Image.fromarray(np.squeeze(data))
        )
        picture = ImageOps.exif_transpose(picture).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise ValueError(f"data: cannot read picture {name}: {error}") from error
    if size is not None and picture.size != (size, size):
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _decode_all(images: Sequence[np.ndarray]) -> np.ndarray:
    out = np.empty((len(images), *images[0].shape), np.uint8)
    for i, image in enumerate(images):
        if image.shape != out.shape[1:]:
            raise ValueError(
                f"data: pictures of several sizes, {out.shape[1:3]} and {image.shape[:2]}; give `size`"
            )
        out[i] = image
    return out
