"""Where the tokenizer of a text prior comes from: its folder, beside its file, or as given."""

from collections.abc import Mapping
from pathlib import Path

from sdedit_jax.files.door import TEXT
from sdedit_jax.files.paths import user_path
from sdedit_jax.priors.prior import Text
from sdedit_jax.weights.readers.home import file_in

FILES = (
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
)
PADDING, WORDS = 0, 49408
"""Stable Diffusion 2 pads with token 0, "!", where Stable Diffusion 1 repeats the end of a text."""


def folder_for(path: Path, given: str | Path = "") -> Path:
    """The folder of the tokenizer of a source.

    Args:
        path: the source, a folder or a file.
        given: a tokenizer's folder, or a Stable Diffusion folder with one; "": in the source's
            folder.

    Raises:
        ValueError: there is no such folder, or a file has none beside it.
    """
    if given:
        home = user_path(given)
        home = home / "tokenizer" if (home / "tokenizer").is_dir() else home
        if not home.is_dir():
            raise ValueError(f"tokenizer: {home} is not a folder")
        return home
    home = (path if path.is_dir() else path.parent) / "tokenizer"
    if path.is_file() and not home.is_dir():
        raise ValueError(
            f"tokenizer: the single file {path} has none; give --config.tokenizer=DIR, the folder"
            " tokenizer/ (vocab.json, merges.txt) of a Stable Diffusion folder of its generation"
        )
    return home


def files_of(home: Path) -> Mapping[str, Path]:
    """Path within the prior's folder -> file to copy.

    Raises:
        ValueError: see readers/home.py.
    """
    found = (home / name for name in FILES if (home / name).exists())
    return {f"tokenizer/{file.name}": file_in(file, home, "tokenizer", TEXT) for file in found}


def check_padding(text: Text, words: int, generation: str, home: Path) -> None:
    """Check that the tokenizer pads as that of the file's generation does.

    Args:
        words: size of the text encoder's vocabulary; others than the published one pass.

    Raises:
        ValueError: it is the tokenizer of the other generation.
    """
    if words != WORDS:
        return
    padding = int(text.tokenize("").ids[-1])
    if (padding == PADDING) != (generation == "2"):
        raise ValueError(
            f"tokenizer: {home} pads texts with token {padding}, as Stable Diffusion"
            f" {'1' if generation == '2' else '2'} does; the source is Stable Diffusion"
            f" {generation}, give the tokenizer of that"
        )
