"""CLIP's tokenizer: byte-pair encoding of texts, by `tokenizers`.

A folder has vocab.json and merges.txt (or tokenizer.json), special_tokens_map.json and
tokenizer_config.json. Ids equal those of transformers' CLIPTokenizer. OpenAI's implementation
repairs broken Unicode and HTML first; this one does not.

If the padding token is "!" (Stable Diffusion 2), every "!" of a text is padding, like in
transformers.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sdedit_jax.files import json_file
from sdedit_jax.files.wording import brief, first_line

if TYPE_CHECKING:
    import tokenizers

LARGEST = 2**22
"""Entries of a vocabulary."""
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

    bpe: "tokenizers.Tokenizer"
    start: int
    end: int
    pad: int
    length: int = LENGTH

    def encode(self, text: str) -> Tokens:
        """The ids of a text, truncated to `length` with start and end."""
        with _in_one_line(f"cannot encode {brief(text)}"):
            found = self.bpe.encode(text, add_special_tokens=False)
        room = self.length - 2
        cut = text[found.offsets[room][0] :] if len(found.ids) > room else ""
        own = found.ids[:room]
        ids = [self.start, *own, self.end]
        ids += [self.pad] * (self.length - len(ids))
        return Tokens(np.asarray(ids, np.int32), len(own), cut, self._unseen(text, found))

    def _unseen(self, text: str, found: "tokenizers.Encoding") -> tuple[str, ...]:
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
    with _in_one_line(f"cannot read {folder}"):
        bpe.add_special_tokens(sorted(set(names.values())))
    length = _length(config.get("model_max_length", LENGTH), folder)
    return Tokenizer(bpe, ids["start"], ids["end"], ids["pad"], length)


def _bpe(folder: Path, unknown: str) -> "tokenizers.Tokenizer":
    vocabulary, merges, whole = (
        folder / name for name in ("vocab.json", "merges.txt", "tokenizer.json")
    )
    if not (vocabulary.is_file() and merges.is_file()):
        if not whole.is_file():
            raise ValueError(
                f"tokenizer: {folder} holds neither vocab.json and merges.txt nor tokenizer.json"
            )
        return _made(*_parts(whole), unknown, whole)
    text = json_file.decode(json_file.contents(merges, "tokenizer"), merges, "tokenizer")
    lines = (line for line in text.splitlines() if line.strip() and not _is_version(line))
    pairs = [tuple(line.split()) for line in lines]
    words = json_file.read_object(vocabulary, "tokenizer")
    return _made(words, pairs, unknown, vocabulary)


def _made(
    words: Mapping[str, Any], pairs: list[tuple[str, ...]], unknown: str, file: Path
) -> "tokenizers.Tokenizer":
    """CLIP's byte-pair encoding with this vocabulary and these merges.

    Args:
        file: that gives the vocabulary, for messages.
    """
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers

    where = f"cannot read {file}"
    _check_model(words, pairs, where)
    with _in_one_line(where):
        model = models.BPE(
            words,
            pairs,
            unk_token=unknown,
            end_of_word_suffix="</w>",
            fuse_unk=False,
        )
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


def _check_model(names: Any, pairs: Sequence[Any], where: str) -> None:
    """Check a vocabulary and its merges; `tokenizers` ends the process for some that are wrong.

    Raises:
        ValueError: an id that is out of range or given twice, or a merge of unknown entries.
    """
    if not isinstance(names, dict) or not 0 < len(names) <= LARGEST:
        raise ValueError(f"tokenizer: {where}: the vocabulary must have 1 to {LARGEST} entries")
    seen: set[int] = set()
    for name, id in names.items():
        if type(id) is not int or not 0 <= id < LARGEST or id in seen:
            raise ValueError(
                f"tokenizer: {where}: the id of {brief(name)} must be its own whole number in [0,"
                f" {LARGEST}), got {brief(id)}"
            )
        seen.add(id)
    for pair in pairs:
        right = isinstance(pair, tuple) and len(pair) == 2
        right = right and all(isinstance(one, str) and one in names for one in pair)
        if not right or "".join(pair) not in names:
            raise ValueError(
                f"tokenizer: {where}: a merge must be of two entries to a third, got {brief(pair)}"
            )


@contextlib.contextmanager
def _in_one_line(where: str) -> Iterator[None]:
    """While active, what `tokenizers` raises is a ValueError; its panics are no Exceptions."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise ValueError(f"tokenizer: {where}: {first_line(error)}") from None


def _length(value: Any, folder: Path) -> int:
    """Ids of each text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(
            f"tokenizer: model_max_length in {folder} must be a number, got {brief(value)}"
        )
    return int(value) if 2 < value < ANY else LENGTH


def _parts(file: Path) -> tuple[dict[str, Any], list[tuple[str, ...]]]:
    """The vocabulary and the merges in a tokenizer.json; its patterns, which may hang, are not run.

    Raises:
        ValueError: the file cannot be read, or holds no byte-pair encoding.
    """
    found = json_file.read_object(file, "tokenizer")
    model, more = found.get("model"), found.get("added_tokens") or []
    model = model if isinstance(model, dict) else {}
    words, merges = model.get("vocab"), model.get("merges")
    if not isinstance(words, dict) or not isinstance(merges, list) or not isinstance(more, list):
        raise ValueError(f"tokenizer: cannot read {file}: its model has no vocab and merges")
    more = [token for token in more if isinstance(token, dict)]
    own = {t["content"]: t.get("id") for t in more if isinstance(t.get("content"), str)}
    pairs = [_pair(each) for each in merges]
    return {**own, **words}, pairs


def _pair(merge: Any) -> tuple[Any, ...]:
    """A merge of a tokenizer.json: "a b" or ["a", "b"]."""
    if isinstance(merge, list):
        return tuple(merge)
    return tuple(merge.split()) if isinstance(merge, str) else (merge,)


def _is_version(line: str) -> bool:
    return line.startswith("#version")


def _optional(file: Path) -> dict[str, Any]:
    return json_file.read_object(file, "tokenizer") if file.is_file() else {}


def _mark(value: Any, absent: str) -> str:
    """A special token, given as a string or as an object with the string in `content`."""
    value = value.get("content") if isinstance(value, Mapping) else value
    return value if isinstance(value, str) else absent
