"""Learning a byte-pair vocabulary from captions, stored in the files of CLIP's tokenizer.

Words of the captions become single tokens. Any other text is split into bytes, which all have a
token.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from sdedit_jax.text.tokenizer import END, START, WORDS

SUFFIX = "</w>"
LARGEST = 1000
Pair = tuple[str, str]


def learn(texts: Sequence[str], size: int = LARGEST) -> tuple[dict[str, int], list[Pair]]:
    """Learn a vocabulary and its merges, in the order of application.

    The vocabulary has the 256 bytes, the 256 bytes as ends of words, the results of the merges,
    start and end. The end has the largest id.

    Args:
        texts: the captions.
        size: largest size of the vocabulary.

    Raises:
        ValueError: there is no text, or no room for a merge.
    """
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    single = [*letters, *(letter + SUFFIX for letter in letters)]
    room = size - len(single) - 2
    if not texts or room < 1:
        raise ValueError(
            f"vocabulary: texts and a size above {size - room} are required, got {len(texts)} texts"
            f" and {size}"
        )
    merges = _merges(texts, letters, room)
    joined = dict.fromkeys(left + right for left, right in merges)
    names = [*single, *(name for name in joined if name not in set(single)), START, END]
    return {name: i for i, name in enumerate(names)}, merges


def _merges(texts: Sequence[str], letters: list[str], count: int) -> list[Pair]:
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    bpe = tokenizers.Tokenizer(models.BPE(end_of_word_suffix=SUFFIX))
    split = pre_tokenizers.Split(tokenizers.Regex(WORDS), behavior="removed", invert=True)
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_])
    trainer = trainers.BpeTrainer(
        vocab_size=2 * len(letters) + count,
        initial_alphabet=letters,
        end_of_word_suffix=SUFFIX,
        show_progress=False,
    )
    bpe.train_from_iterator([text.lower() for text in texts], trainer)
    found = json.loads(bpe.to_str())["model"]["merges"]
    return [tuple(pair) for pair in found[:count]]


def write(folder: str | Path, texts: Sequence[str], length: int, size: int = LARGEST) -> int:
    """Learn a vocabulary and write CLIP's four files; returns the number of its entries.

    Args:
        folder: created if missing.
        texts: the captions.
        length: tokens of every text, including start and end.
        size: largest size of the vocabulary.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary, merges = learn(texts, size)
    _json(folder / "vocab.json", vocabulary)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    start, end = ({"content": name, **flags} for name in (START, END))
    marks = {"bos_token": start, "eos_token": end, "pad_token": END, "unk_token": end}
    _json(folder / "special_tokens_map.json", marks)
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": length, "do_lower_case": True}
    config |= {"add_prefix_space": False, "errors": "replace"}
    config |= {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    _json(folder / "tokenizer_config.json", config)
    return len(vocabulary)


def _json(file: Path, values: dict) -> None:
    file.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
