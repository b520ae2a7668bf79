"""Texts to the numbers that CLIP's text encoder reads: byte-pair encoding by `tokenizers`.

A folder holds vocab.json and merges.txt (or tokenizer.json), special_tokens_map.json and
tokenizer_config.json. Ids are those of transformers' CLIPTokenizer: OpenAI's own program mends
broken Unicode and HTML in the text first, this one does not.

Where the padding is "!" (Stable Diffusion 2), every "!" of a text counts as padding, as in
transformers.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77
ANY = 10_000
"""From here on a model_max_length says nothing."""
WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
"""What a text falls into before pairs are joined: ends of words, words, digits, marks."""


class Tokens(NamedTuple):
    """A text as numbers.

    Attributes:
        ids: [length] int32: start, the text, end, padding.
        count: tokens of the text itself; they stand at 1 .. count.
        cut: the end of the text that found no room, "" where all did.
    """

    ids: np.ndarray
    count: int
    cut: str


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """A vocabulary with its marks.

    Attributes:
        bpe: splits and joins; adds nothing.
        start, end, pad: ids of the marks. length: ids of each text.
    """

    bpe: tokenizers.Tokenizer
    start: int
    end: int
    pad: int
    length: int = LENGTH

    def encode(self, text: str) -> Tokens:
        """The ids of a text; what is longer than `length` with both marks is cut."""
        found = self.bpe.encode(text, add_special_tokens=False)
        room = self.length - 2
        cut = text[found.offsets[room][0] :] if len(found.ids) > room else ""
        own = found.ids[:room]
        ids = [self.start, *own, self.end]
        ids += [self.pad] * (self.length - len(ids))
        return Tokens(np.asarray(ids, np.int32), len(own), cut)


def read(folder: str | Path) -> Tokenizer:
    """The tokenizer in a folder.

    Raises:
        ValueError: a file is missing or damaged, or the vocabulary lacks a mark.
    """
    folder = Path(folder)
    config = _json(folder / "tokenizer_config.json", {})
    # where both name a mark, this file is what transformers goes by
    marks = {**config, **_json(folder / "special_tokens_map.json", {})}
    names = {
        "start": _mark(marks.get("bos_token"), START),
        "end": _mark(marks.get("eos_token"), END),
        "unknown": _mark(marks.get("unk_token"), END),
    }
    names["pad"] = _mark(marks.get("pad_token"), names["end"])
    bpe = _bpe(folder, names["unknown"])
    ids = {kind: bpe.token_to_id(name) for kind, name in names.items()}
    for kind, found in ids.items():
        if found is None:
            raise ValueError(f"tokenizer: {folder} has no token {names[kind]!r} for its {kind}")
    bpe.add_special_tokens(sorted(set(names.values())))
    length = int(config.get("model_max_length", LENGTH))
    return Tokenizer(
        bpe, ids["start"], ids["end"], ids["pad"], length if 2 < length < ANY else LENGTH
    )


def _bpe(folder: Path, unknown: str) -> tokenizers.Tokenizer:
    vocabulary, merges, whole = (
        folder / name for name in ("vocab.json", "merges.txt", "tokenizer.json")
    )
    if not (vocabulary.is_file() and merges.is_file()):
        if not whole.is_file():
            raise ValueError(
                f"tokenizer: {folder} holds neither vocab.json and merges.txt nor tokenizer.json"
            )
        return _whole(whole)
    lines = merges.read_text(encoding="utf-8").splitlines()
    pairs = [tuple(line.split()) for line in lines if line.strip() and not _is_version(line)]
    try:
        model = models.BPE(
            _json(vocabulary), pairs, unk_token=unknown, end_of_word_suffix="</w>", fuse_unk=False
        )
    except Exception as error:  # tokenizers raises plain Exceptions
        raise ValueError(f"tokenizer: {vocabulary} and {merges} do not fit: {error}") from None
    bpe = tokenizers.Tokenizer(model)
    bpe.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Replace(tokenizers.Regex(r"\s+"), " "),
            normalizers.Lowercase(),
        ]
    )
    split = pre_tokenizers.Split(tokenizers.Regex(WORDS), behavior="removed", invert=True)
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return bpe


def _whole(file: Path) -> tokenizers.Tokenizer:
    try:
        bpe = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises plain Exceptions
        raise ValueError(f"tokenizer: cannot read {file}: {error}") from None
    bpe.no_padding()
    bpe.no_truncation()
    return bpe


def _is_version(line: str) -> bool:
    return line.startswith("#version")


def _json(file: Path, absent: Mapping[str, Any] | None = None) -> dict[str, Any]:
    if absent is not None and not file.is_file():
        return dict(absent)
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"tokenizer: cannot read {file}: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"tokenizer: {file} must hold a JSON object")
    return value


def _mark(value: Any, absent: str) -> str:
    """A mark, written as a text or as an object with the text in `content`."""
    value = value.get("content") if isinstance(value, Mapping) else value
    return value if isinstance(value, str) else absent
