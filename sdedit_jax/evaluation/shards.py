"""Shards of results on disk. A shard exists when its last file does; files are renamed when whole.

00003-of-00010.array_record    the pictures, lossless WebP, in the order of the lines
00003-of-00010.npz             features, float32, by name
00003-of-00010.jsonl           a header, then one line for each edit; it is written last
"""

import hashlib
import io
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from sdedit_jax import images, provenance
from sdedit_jax.files import (
    array_file,
    array_record_file,
    door,
    json_file,
    picture_file,
    recipe_fields,
    wording,
)

FOLDER = "shards"
LONGEST = 16383
"""Pixels of a side of a WebP picture."""
MOST = 2**20
"""Bytes of the features of a picture."""


class Shard(NamedTuple):
    """A finished shard.

    Attributes:
        header: fields that its lines share. lines: one for each edit.
    """

    header: dict[str, Any]
    lines: list[dict[str, Any]]


class Store(NamedTuple):
    """The shards of a run.

    Attributes:
        folder: of the shards. count: their number.
    """

    folder: Path
    count: int

    def file(self, number: int, ending: str) -> Path:
        """A file of a shard."""
        return self.folder / f"{number:05d}-of-{self.count:05d}.{ending}"

    def has(self, number: int) -> bool:
        """Whether a shard is finished."""
        return self.file(number, "jsonl").is_file()

    @property
    def missing(self) -> list[int]:
        """The shards that are not finished."""
        there = {path.name for path in self.folder.glob("*.jsonl")}
        names = (self.file(k, "jsonl").name for k in range(self.count))
        return [k for k, name in enumerate(names) if name not in there]

    @property
    def finished(self) -> list[int]:
        """The shards that are finished."""
        left = set(self.missing)
        return [k for k in range(self.count) if k not in left]

    def remove(self, number: int) -> None:
        """Make a shard unfinished, and remove what a killed process left of it."""
        self.file(number, "jsonl").unlink(missing_ok=True)
        for left in self.folder.glob(f".{number:05d}-of-*.part"):
            left.unlink(missing_ok=True)

    def write(
        self,
        number: int,
        header: Mapping[str, Any],
        lines: Sequence[Mapping[str, Any]],
        pictures: Sequence[bytes],
        features: Mapping[str, np.ndarray],
    ) -> None:
        """Write a shard.

        Raises:
            OSError: the disk is full or cannot be written; the shard is then not finished.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.remove(number)
        buffer = io.BytesIO()
        np.savez(buffer, **features)
        packed = buffer.getvalue()
        digests = {
            "array_record": _write_records(self.file(number, "array_record"), pictures),
            "npz": hashlib.sha256(packed).hexdigest(),
        }
        images.write_bytes(self.file(number, "npz"), packed, overwrite=True)
        text = [provenance.dumps({**header, "files": digests}), *map(provenance.dumps, lines)]
        whole = ("\n".join(text) + "\n").encode()
        images.write_bytes(self.file(number, "jsonl"), whole, overwrite=True)

    def read(self, number: int) -> Shard:
        """The header and the lines of a shard.

        Raises:
            ValueError: it is damaged.
        """
        file = self.file(number, "jsonl")
        if not self.file(number, "array_record").is_file():
            raise ValueError(self.damaged(number, "its .array_record is missing"))
        try:
            texts = json_file.lines(file, "workdir")
            rows = [json_file.parse_text(text, file, "workdir") for text in texts]
            recipe_fields.check_shard(rows)
        except ValueError as error:
            reason = str(error).removeprefix(f"workdir: cannot read {file}: ")
            raise ValueError(self.damaged(number, reason)) from None
        return Shard(rows[0], rows[1:])

    def of_run(self, number: int, run: str, expected: Sequence[tuple[str, int]]) -> Shard:
        """The header and the lines of a shard of a run.

        Args:
            run: its short name. expected: id and sample of each line.

        Raises:
            ValueError: it is damaged, or belongs to another run.
        """
        shard = self.read(number)
        if shard.header["run"] != run:
            raise ValueError(
                f"workdir: {self.file(number, 'jsonl')} belongs to another run; a host with other"
                " code, weights, data or settings wrote it: remove it and give the command again"
            )
        if places(shard.lines) != list(expected):
            raise ValueError(self.damaged(number, "it has other lines than its edits"))
        return shard

    def features(self, number: int, shard: Shard, rows: Mapping[str, int]) -> dict[str, np.ndarray]:
        """The features of a shard, float32 [rows, D] by name.

        Args:
            rows: of each name.

        Raises:
            ValueError: they are damaged, or others.
        """
        file, most = self.file(number, "npz"), MOST * (1 + len(shard.lines))
        self._check(number, "npz", shard.header, most)
        try:
            found = array_file.members(door.read(file, "workdir", most), str(file), "workdir", most)
        except ValueError as error:
            raise ValueError(self.damaged(number, error)) from None
        rows = {name: count for name, count in rows.items() if count}
        if found.keys() != rows.keys():
            names = f"{wording.brief(sorted(found))}, not {sorted(rows)}"
            raise ValueError(self.damaged(number, f"its features are {names}"))
        for name, one in found.items():
            if one.ndim != 2 or one.dtype != np.float32 or len(one) != rows[name]:
                raise ValueError(self.damaged(number, f"{name} is {one.dtype} {one.shape}"))
        return found

    def pictures(self, number: int, shard: Shard) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
        """The lines of the finished edits of a shard, each with its picture, uint8 [H, W, C].

        Raises:
            ValueError: the pictures are damaged, or others.
        """
        kept = [line for line in shard.lines if "picture" in line]
        records = self._records(number, shard.header, door.PICTURE * (1 + len(kept)))
        if len(records) != len(kept):
            counts = f"it has {len(records)} pictures, not {len(kept)}"
            raise ValueError(self.damaged(number, counts))
        for line, data in zip(kept, records, strict=True):
            try:
                recipe_fields.check(recipe_of(shard.header, line))
                found = pixels(data, line["channels"])
            except ValueError as error:
                raise ValueError(self.damaged(number, error)) from None
            if provenance.digest(found) != line["sha256"]:
                wrong = f"the picture of {wording.brief(line['id'])} has another sha256"
                raise ValueError(self.damaged(number, wrong))
            yield line, found

    def _records(self, number: int, header: Mapping[str, Any], most: int) -> Sequence[bytes]:
        """The pictures of a shard, as WebP, in the order of its lines."""
        from array_record.python.array_record_module import ArrayRecordReader

        file = self.file(number, "array_record")
        self._check(number, "array_record", header, most)
        try:
            array_record_file.check(file, "workdir", most)
            reader = ArrayRecordReader(str(file))
            try:
                return reader.read_all()
            finally:
                reader.close()
        except Exception as error:  # the reader raises many kinds for damaged files
            raise ValueError(self.damaged(number, wording.reason(error))) from None

    def _check(self, number: int, ending: str, header: Mapping[str, Any], most: int) -> None:
        """Raise ValueError unless a file of at most so many bytes has the sha256 in its header."""
        try:
            found = _sha256(self.file(number, ending), most)
        except (ValueError, OSError) as error:
            raise ValueError(self.damaged(number, error)) from None
        if found != (header.get("files") or {}).get(ending):
            raise ValueError(self.damaged(number, f"the sha256 of its .{ending} is another one"))

    def damaged(self, number: int, why: object) -> str:
        """The message about a shard that cannot be used."""
        file, why = self.file(number, "jsonl"), str(why).removeprefix("workdir: ")
        return f"workdir: the shard {file} is damaged ({why}); remove this file and run again"


class Growing:
    """A shard whose batches come one after the other."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clear()

    def clear(self) -> None:
        """Begin a shard."""
        self.lines: list[dict[str, Any]] = []
        self.pictures: list[bytes] = []
        self.features: dict[str, list[np.ndarray]] = {}

    def add(self, features: Mapping[str, np.ndarray]) -> None:
        """Add the features of a batch, by name."""
        for name, rows in features.items():
            self.features.setdefault(name, []).append(rows)

    def finish(
        self, number: int, header: Mapping[str, Any], expected: Sequence[tuple[str, int]]
    ) -> None:
        """Write the shard.

        Args:
            expected: the id and the sample of each line.

        Raises:
            RuntimeError: the lines are others: an error of the program.
        """
        if places(self.lines) != list(expected):
            raise RuntimeError(f"shard {number} has other lines than its edits")
        features = {name: np.concatenate(rows) for name, rows in self.features.items()}
        self.store.write(number, header, self.lines, self.pictures, features)
        self.clear()


def places(lines: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """The id and the sample of each line."""
    return [(line.get("id", ""), line.get("sample", 0)) for line in lines]


def joined(parts: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
    """The features of all shards, by name.

    Raises:
        ValueError: the shards have features of several sizes.
    """
    for name, rows in parts.items():
        if len(widths := {one.shape[1] for one in rows}) > 1:
            raise ValueError(
                f"workdir: the shards have {name} of several sizes, {sorted(widths)}; remove the"
                f" folder {FOLDER} and run again"
            )
    return {name: np.concatenate(rows) for name, rows in parts.items()}


def webp(picture: np.ndarray) -> bytes:
    """A picture uint8 [H, W, 1, 3 or 4] or [H, W] as lossless WebP."""
    pixels = picture if picture.ndim == 2 or picture.shape[-1] > 2 else picture[..., 0]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, exact=True, method=2, quality=40)
    return buffer.getvalue()


def pixels(data: bytes, channels: int = 3) -> np.ndarray:
    """The pixels of a recorded picture, uint8 [H, W, channels]; WebP drops an opaque alpha."""
    image = picture_file.load(data, "a picture of a shard", ("WEBP",))
    return np.asarray(image.convert("RGBA" if channels == 4 else "RGB"))


def recipe_of(header: Mapping[str, Any], line: Mapping[str, Any]) -> dict[str, Any]:
    """The whole recipe of an edit."""
    return {**header["recipe"], **line["recipe"]}


def _sha256(path: Path, most: int = door.ANY) -> str:
    with door.open_file(path, "workdir", most) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_records(path: Path, records: Sequence[bytes]) -> str:
    """Write an ArrayRecord file; its sha256."""
    from array_record.python.array_record_module import ArrayRecordWriter

    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        writer = ArrayRecordWriter(str(part), "group_size:1")
        for record in records:
            writer.write(record)
        writer.close()
        digest = _sha256(part)
        os.replace(part, path)
        return digest
    except (OSError, RuntimeError) as error:
        raise OSError(f"cannot write {path}: {error}") from None
    finally:
        part.unlink(missing_ok=True)
