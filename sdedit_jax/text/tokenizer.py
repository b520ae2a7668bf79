"""CLIP's tokenizer: byte-pair encoding of texts, by `tokenizers`.

A folder has vocab.json and merges.txt (or tokenizer.json), special_tokens_map.json and
tokenizer_config.json. Ids equal those of transformers' CLIPTokenizer. OpenAI's implementation
repairs broken Unicode and HTML first; this one does not.

If the padding token is "!" (Stable Diffusion 2), every "!" of a text is padding, like in
transformers.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from sdedit_jax.files import json_file

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77
ANY = 10_000
"""A model_max_length from here on is a placeholder."""
SMALL = 10_000
"""A vocabulary of at most this size has the words of its captions as single tokens, no others."""
WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
"""Pre-tokenization: contractions, words, digits, punctuation."""


class Tokens(NamedTuple):
    """A tokenized text.

    Attributes:
        ids: [length] int32: start, the text, end, padding.
        count: number of the text's own tokens, at positions 1 .. count.
        cut: the truncated end of the text; "" if all of it fits.
        unseen: words that a small vocabulary has only in pieces.
    """

    ids: np.ndarray
    count: int
    cut: str
    unseen: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """A vocabulary with its special tokens.

    Attributes:
        bpe: byte-pair encoding without special tokens.
        start, end, pad: ids of the special tokens.
        length: number of ids of each text.
    """

    bpe: tokenizers.Tokenizer
    start: int
    end: int
    pad: int
    length: int = LENGTH

    def encode(self, text: str) -> Tokens:
        """The ids of a text, truncated to `length` with start and end."""
        found = self.bpe.encode(text, add_special_tokens=False)
        room = self.length - 2
        cut = text[found.offsets[room][0] :] if len(found.ids) > room else ""
        own = found.ids[:room]
        ids = [self.start, *own, self.end]
        ids += [self.pad] * (self.length - len(ids))
        return Tokens(np.asarray(ids, np.int32), len(own), cut, self._unseen(text, found))

    def _unseen(self, text: str, found: tokenizers.Encoding) -> tuple[str, ...]:
        """The words of several tokens, if the vocabulary is a small one, learned from captions."""
        if self.bpe.get_vocab_size() > SMALL:
            return ()
        words: dict[int, list[tuple[int, int]]] = {}
        for word, place in zip(found.word_ids, found.offsets, strict=True):
            words.setdefault(word, []).append(place)
        pieces = [places for places in words.values() if len(places) > 1]
        return tuple(dict.fromkeys(text[places[0][0] : places[-1][1]] for places in pieces))


def read(folder: str | Path) -> Tokenizer:
    """Read the tokenizer of a folder.

    Raises:
        ValueError: a file is missing or damaged, or the vocabulary lacks a special token.
    """
    folder = Path(folder)
    config = _optional(folder / "tokenizer_config.json")
    # transformers prefers this file where both define a special token
    marks = {**config, **_optional(folder / "special_tokens_map.json")}
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
            json_file.read_object(vocabulary, "tokenizer"),
            pairs,
            unk_token=unknown,
            end_of_word_suffix="</w>",
            fuse_unk=False,
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


def _optional(file: Path) -> dict[str, Any]:
    return json_file.read_object(file, "tokenizer") if file.is_file() else {}


def _mark(value: Any, absent: str) -> str:
    """A special token, given as a string or as an object with the string in `content`."""
    value = value.get("content") if isinstance(value, Mapping) else value
    return value if isinstance(value, str) else absent
