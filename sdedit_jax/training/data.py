"""Pictures for training: a folder, a zip or a tfds name -> a random-access source -> batches.

Step n of the stream is a function of (seed, n) alone, by index arithmetic on grain's MapDataset. A
run that restarts at step n therefore reads no earlier step.

Augmentation is in augment.py, the noise of training in loss.py.
"""

import posixpath
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np

from sdedit_jax.caution import warn
from sdedit_jax.diffusion.noise import seed_word
from sdedit_jax.images import (
    FORMATS,
    LEAST_SHARE,
    MASK_SUFFIX,
    Picture,
    decode,
    fit,
    flatten,
    luminance,
    share,
    size_text,
)
from sdedit_jax.text.spelling import counted, one_of
from sdedit_jax.training import captions
from sdedit_jax.training.augment import Augment, draw, draw_more, stack

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
READABLE = (*FORMATS, "BMP")
LABELS = (None, "folder", "captions")


@dataclass(frozen=True, eq=False, repr=False)
class Source:
    """Pictures by number.

    Attributes:
        images: uint8 [H, W, C] each; one array for small sets, else decoded at each access.
        labels: an int for each picture, or None.
        names: the meaning of the labels: folder names, or the different captions, sorted.
        skipped: one line for each broken picture that was left out.
    """

    images: Sequence[np.ndarray]
    labels: np.ndarray | None = None
    names: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> dict[str, Any]:
        element = {"image": self.images[i]}
        return element if self.labels is None else {**element, "label": self.labels[i]}


def source(
    path: str | Path,
    split: str | None = None,
    labels: str | None = None,
    *,
    size: int | None = None,
    memory: int = 2**30,
    skip_broken: bool = False,
    channels: int = 3,
) -> Source:
    """A random-access source of pictures, all of one size.

    Args:
        path: a folder (searched recursively), a zip, a prepared tfds folder, or a tfds name. A
            file `a_mask.png` beside `a.png` is a mask, and left out with a warning.
        split: keep pictures with this folder in their path, e.g. "train"; for tfds its split.
        labels: None; "folder", the folder of a picture (tfds: its label); "captions",
            those of captions.csv, metadata.jsonl or .txt files, see captions.py. Numbers do not
            depend on `split`.
        size: crop the middle square and resize to size x size; None keeps the pictures unchanged.
            Pictures of which the square is less than a quarter give a warning, in sets that are
            decoded at once.
        memory: sets of at most this many bytes are decoded once and kept. In larger ones a broken
            picture is found when it is read, or with `skip_broken` at once.
        skip_broken: leave out broken pictures.
        channels: 3, or 1 for the luminance.

    Raises:
        ValueError: no such path, no picture, broken pictures (all are named), pictures of several
            sizes, no label.
    """
    one_of("labels", labels, LABELS)
    path = Path(path)
    if path.suffix == ".zip" or (path.is_dir() and not (path / "dataset_info.json").exists()):
        images, numbers, names = _from_files(path, split, labels, size)
    else:
        images, numbers, names = _from_tfds(path, split, labels, size)
    if len(images) == 0:
        raise ValueError(f"data: no picture ({', '.join(PICTURES)}) in {path}, split {split!r}")
    images = replace(images, channels=channels)
    return _checked(images, numbers, names, memory, skip_broken)


def _checked(
    images: "_Decoded",
    numbers: np.ndarray | None,
    names: tuple[str, ...],
    memory: int,
    skip_broken: bool,
) -> Source:
    """The source of the pictures that can be read; see `source`."""
    rows: list[int] = []
    kept: list[np.ndarray] = []
    broken: list[str] = []
    narrow: list[str] = []
    small = True
    for i in range(len(images)):
        try:
            image, shows = images.fitted(i)
        except ValueError as error:
            broken.append(str(error).removeprefix("data: "))
            continue
        narrow += [str(images.keys[i])] * bool(shows < LEAST_SHARE)
        small = small and len(images) * image.nbytes <= memory
        if not small and not skip_broken:
            _warn_narrow(narrow, f"the first {counted(i + 1, 'picture')}")
            return Source(images, numbers, names)
        rows.append(i)
        kept += [image] * small
    if broken and not (skip_broken and rows):
        raise ValueError(
            f"data: {'; '.join(broken)} ({len(broken)} of {counted(len(images), 'picture')}); mend"
            " them, or leave them out with data.skip_broken"
        )
    _warn_narrow(narrow, counted(len(images), "picture"))
    numbers = None if numbers is None else numbers[rows]
    left = replace(images, keys=[images.keys[i] for i in rows])
    return Source(_of_one_size(kept) if small else left, numbers, names, tuple(broken))


def _warn_narrow(narrow: Sequence[str], among: str) -> None:
    """Warn about pictures of which the crop shows little, among those that were read."""
    if narrow:
        share = f"less than {LEAST_SHARE:.0%}"
        warn(f"data: the crop shows {share} of {len(narrow)} of {among}, such as {narrow[0]}")


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
        augment: None keeps the pictures unchanged.
        start_step: the step of the first batch.
        threads: this many threads prepare batches in advance; 0: no prefetching.
        workers: processes that decode, for sets that do not fit into memory; grain then needs
            parsed absl flags (absl.app.run parses them).
        process: (index, count), by default that of JAX.

    Returns:
        {"image": float32 [b, H, W, C] in [-1, 1], "label": int32 [b] where there are labels}.

    Raises:
        ValueError: an empty source; a batch size that is not a multiple of the processes.
    """
    index, count = process or (jax.process_index(), jax.process_count())
    if len(data) == 0:
        raise ValueError("data: the source is empty")
    if batch < 1 or batch % count:
        raise ValueError(f"batch must be a positive multiple of {count} processes, got {batch}")
    # practically endless; grain's own endless stream is too long for batches of one picture
    epochs = 2**60 // len(data)
    stream = grain.MapDataset.source(data).seed(seed_word(seed)).shuffle().repeat(epochs)
    if augment is not None:
        stream = stream.random_map(partial(_drawn, augment=augment))
    stream = stream[index::count].batch(batch // count, batch_fn=partial(stack, augment=augment))
    stream = stream[start_step:]
    ahead = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    batches = stream.to_iter_dataset(ahead)
    if workers:
        batches = batches.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    return iter(batches)


def _drawn(
    element: dict[str, Any], rng: np.random.Generator, *, augment: Augment
) -> dict[str, Any]:
    return {**element, "draw": (*draw(augment, rng), *draw_more(augment, rng))}


def spaced(count: int, wanted: int) -> np.ndarray:
    """At most `wanted` numbers in [0, count), evenly spaced, each once."""
    return np.unique(np.linspace(0, count - 1, wanted).astype(int))


def batch_of(data: Source, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
    """Pictures by number: (float32 [B, H, W, C] in [-1, 1], int32 labels [B] or None)."""
    batch = stack([data[int(i)] for i in rows], None)
    return batch["image"], batch.get("label")


@dataclass(frozen=True)
class _Decoded(Sequence):
    """Pictures that are decoded at each access."""

    read: Callable[[Any], Any]
    keys: Sequence
    size: int | None
    channels: int = 3

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, i: int) -> np.ndarray:
        return self.fitted(i)[0]

    def fitted(self, i: int) -> tuple[np.ndarray, float]:
        """A picture, and the share of it that the crop shows."""
        rgb, shows = _decode(self.read(self.keys[i]), self.size, str(self.keys[i]))
        return (rgb if self.channels == 3 else luminance(rgb)[..., None]), shows


class _Files:
    """The members of a folder or a zip; can be pickled."""

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
        try:
            return self.zip.read(name) if self.zip else (self.path / name).read_bytes()
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
            # RuntimeError: an encrypted member, or one in a compression that Python does not know
            raise ValueError(f"data: cannot read {name} in {self.path}: {error}") from error


def _from_files(path: Path, split: str | None, labels: str | None, size: int | None) -> tuple:
    try:
        files = _Files(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"data: cannot open {path}: {error}") from error
    hidden = re.compile(r"(^|/)(\.|__MACOSX/)")
    names = [name for name in files.names() if not hidden.search(name)]
    pictures = _without_masks([name for name in names if name.lower().endswith(PICTURES)])
    kept = [name for name in pictures if split is None or f"/{split}/" in f"/{name}"]
    if pictures and not kept:
        raise ValueError(_no_split(path, split, pictures))
    if labels is None:
        return _Decoded(files, kept, size), None, ()
    texts = _texts(files, names, pictures, labels)
    missing = [name for name in kept if name not in texts]
    if missing:
        raise ValueError(
            f"data: {path} has no caption for {missing[0]} ({len(missing)} of"
            f" {counted(len(kept), 'picture')})"
        )
    classes = tuple(sorted(set(texts.values())))
    number = {text: i for i, text in enumerate(classes)}
    numbers = np.array([number[texts[name]] for name in kept], np.int32)
    return _Decoded(files, kept, size), numbers, classes


def _without_masks(pictures: list[str]) -> list[str]:
    """The pictures without the masks beside them: `a_mask.png` beside `a.png`."""
    stems = {posixpath.splitext(name)[0] for name in pictures}
    photos = {name: posixpath.splitext(name)[0].removesuffix(MASK_SUFFIX) for name in pictures}
    masks = [n for n, photo in photos.items() if photo in stems and photo != n.rsplit(".", 1)[0]]
    if masks:
        left_out = counted(len(masks), "mask")
        warn(f"data: left out {left_out} beside pictures, such as {masks[0]}")
    return [name for name in pictures if name not in set(masks)]


def _no_split(path: Path, split: str | None, pictures: list[str]) -> str:
    """The error for a split without pictures."""
    top = sum("/" not in name for name in pictures)
    inside = "the folder itself" if top else f"its folder {posixpath.dirname(pictures[0])}/"
    return (
        f"data: no picture of the split {split!r} in {path}; {top or len(pictures)} pictures lie in"
        f" {inside}: add --config.data.split= (and --config.data.held_out=)"
    )


def _texts(files: _Files, names: list[str], pictures: list[str], labels: str) -> dict[str, str]:
    """The caption or the folder of each picture."""
    if labels == "captions":
        return captions.read(files, names, pictures, str(files.path))
    return {name: Path(name).parent.name for name in pictures}


def _from_tfds(path: Path, split: str | None, labels: str | None, size: int | None) -> tuple:
    import tensorflow_datasets as tfds

    if labels == "captions":
        raise ValueError("labels must be None or 'folder' for a tfds set, got 'captions'")
    here = path.is_dir()
    if not here and not _is_tfds_name(str(path)):
        raise ValueError(f"data: {path} is not a folder, zip or prepared tfds set")
    try:
        builder = tfds.builder_from_directory(path) if here else tfds.builder(str(path))
        rows = builder.as_data_source(split=split or "train")
    except (tfds.core.DatasetNotFoundError, FileNotFoundError, AttributeError) as error:
        raise ValueError(
            f"data: {path} is not a folder, zip or prepared tfds set: {error}"
        ) from error
    images = _Decoded(lambda i: rows[i]["image"], range(len(rows)), size)
    if labels is None:
        return images, None, ()
    undecoded = {"image": tfds.decode.SkipDecoding()}
    raw = builder.as_data_source(split=split or "train", decoders=undecoded)
    numbers = np.array([raw[i]["label"] for i in range(len(raw))], np.int32)
    return images, numbers, tuple(builder.info.features["label"].names)


def _is_tfds_name(name: str) -> bool:
    """Whether tfds knows a set; asking it to build another one would search the network."""
    import tensorflow_datasets as tfds

    first = re.split("[/:]", name)[0]
    folders = tfds.core.utils.file_utils.list_data_dirs()
    known = first in tfds.list_builders(with_community_datasets=False)
    return bool(first) and (known or any((Path(folder) / first).is_dir() for folder in folders))


def _decode(data: bytes | np.ndarray, size: int | None, name: str) -> tuple[np.ndarray, float]:
    try:
        rgb = flatten(_picture(data, name))
    except ValueError as error:
        raise ValueError(f"data: {error}") from error
    if size is None:
        return rgb, 1.0
    fitted, placement = fit(rgb, (size, size))
    return fitted, share(placement)


def _picture(data: bytes | np.ndarray, name: str) -> Picture:
    """A picture of a file's bytes, or of uint8 [H, W, 1 | 3 | 4]."""
    if isinstance(data, bytes):
        return decode(data, name, READABLE)
    if data.dtype != np.uint8 or data.ndim != 3 or data.shape[-1] not in (1, 3, 4):
        raise ValueError(f"cannot read {name}: {data.dtype} {data.shape} is not a uint8 picture")
    rgb = np.broadcast_to(data[..., :3], (*data.shape[:2], 3))
    return Picture(rgb, data[..., 3] if data.shape[-1] == 4 else None)


def _of_one_size(images: Sequence[np.ndarray]) -> np.ndarray:
    """The pictures as one array.

    Raises:
        ValueError: their sizes differ.
    """
    for image in images:
        if image.shape != images[0].shape:
            sizes = f"{size_text(images[0].shape[:2])} and {size_text(image.shape[:2])}"
            raise ValueError(f"data: pictures of several sizes, {sizes}; give `size`")
    return np.stack(images)
