"""Checkpoint files: the format by the first bytes, and its reader."""

import json
import struct
from pathlib import Path

from sdedit_jax.files import door, zip_file
from sdedit_jax.files.wording import brief
from sdedit_jax.weights.readers import tensors
from sdedit_jax.weights.source import Source

TORCH_MAGIC = b"\x8a\x0a" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little") + b"."
"""Pickled after two bytes of protocol: the first object of files before torch 1.6."""

STRANGERS = {
    b"version https://git-lfs": "a git-lfs pointer: the weights were not fetched (git lfs pull)",
    b"\x1f\x8b": "gzip data: unpack it first",
    b"\xfd7zXZ": "xz data: unpack it first",
    b"(\xb5/\xfd": "zstandard data: unpack it first",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"Rar!": "a rar archive: unpack it first",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a numpy array",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GGUF": "a GGUF file",
    b"%PDF": "a PDF document",
}


def read_file(path: str | Path) -> Source:
    """The tensors of a checkpoint file, memory-mapped where the format allows.

    Raises:
        ValueError: there is no such file, it has none of the formats, it is damaged, it contains
            code, or it contains no weights. The message names what it looks like.
    """
    path = door.check(path, "source")
    found = _read(path, detect(path))
    tensors.check(found.tensors, path, path.stat().st_size)
    return found


def _read(path: Path, kind: str) -> Source:
    if kind == "torch":
        from sdedit_jax.weights.readers import torch_file

        return torch_file.read(path)
    if kind == "pickle":
        from sdedit_jax.weights.readers import edm_pickle

        return edm_pickle.read_edm(path)
    if kind == "safetensors":
        from sdedit_jax.weights.readers import safetensors_file

        return safetensors_file.read(path)
    from sdedit_jax.weights.readers import msgpack_file

    return msgpack_file.read(path)


def detect(path: Path) -> str:
    """The format of a file by its first bytes: torch, pickle, safetensors or msgpack.

    Raises:
        ValueError: the file cannot be read, or it has none of them.
    """
    head = door.read_head(path, 512, "source")
    if head.startswith(b"PK\x03\x04"):
        return _zip(path)
    # before pickle: the eight bytes of the length may look like the start of a pickle
    if len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < 2**40:
        return "safetensors"
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return "torch" if head[2:].startswith(TORCH_MAGIC) else "pickle"
    if _is_text_map(head):
        return "msgpack"
    raise ValueError(f"source: {path} is not a checkpoint file: it looks like {_looks(head)}")


def _zip(path: Path) -> str:
    """torch, if torch.save wrote the archive."""
    try:
        with zip_file.open_zip(path, "source") as archive:
            names = archive.namelist()
    except ValueError as error:
        raise ValueError(
            f"source: {path} is a zip file (as written by torch.save) that is cut off or damaged: "
            f"{str(error).rpartition(': ')[2]}"
        ) from None
    if any(name.endswith(".npy") for name in names):
        raise ValueError(f"source: {path} is not a checkpoint file: it is a numpy .npz archive")
    if any(name.endswith("/constants.pkl") for name in names) and any(
        "/code/" in name for name in names
    ):
        raise ValueError(f"source: {path} is a TorchScript program; give its checkpoint instead")
    if not any(name.split("/")[1:] == ["data.pkl"] for name in names):
        raise ValueError(
            f"source: {path} is not a checkpoint file: it is a zip archive of {brief(names[:3])}; "
            "unpack it and give the file or folder in it"
        )
    return "torch"


def _is_text_map(head: bytes) -> bool:
    """Whether a msgpack map with texts as keys starts here."""
    skip = {0xDE: 3, 0xDF: 5}.get(head[0], 1 if 0x81 <= head[0] <= 0x8F else 0) if head else 0
    key = head[skip : skip + 1]
    return bool(skip and key and (0xA0 <= key[0] <= 0xBF or key[0] in (0xD9, 0xDA)))


def _looks(head: bytes) -> str:
    """A description of a file that starts with `head`."""
    if not head.strip(b"\0"):
        return "an empty file" if not head else "a file of zeros (an incomplete download?)"
    for magic, what in STRANGERS.items():
        if head.startswith(magic):
            return what
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<error")):
        return "a web page, the result of a failed download"
    if text.startswith((b"{", b"[")):
        return "JSON text" + _message(head)
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it first"
    if head.isascii():
        return f"text: {head[:60].decode()!r}"
    return f"something unknown that starts with {head[:8].hex(' ')}"


def _message(head: bytes) -> str:
    try:
        return f": {json.dumps(json.loads(head))[:100]}"
    except ValueError:
        return ""
