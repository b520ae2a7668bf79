"""The texts of a run: one prompt for all inputs, or a file with a prompt for each."""

import functools
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jax import Array
from ml_collections import ConfigDict

from sdedit_jax import prompts
from sdedit_jax.prior import Prior
from sdedit_jax.prompts import Words

FIELDS = ("prompt", "negative_prompt", "prompts")


class Texts(NamedTuple):
    """What the inputs of a run shall show.

    Attributes:
        default: of inputs that have no words of their own. own: input's id -> its words.
        guided: whether the predictor is guided; in a run all inputs are, or none.
        embed: text -> its embedding [M, K], each computed once.
    """

    default: Words
    own: Mapping[str, Words]
    guided: bool
    embed: Callable[[str], Array]

    def of(self, id: str) -> Words:
        """The words of an input."""
        return self.own.get(id, self.default)

    def cond(self, id: str) -> Any:
        """What the predictor gets for an input."""
        words = self.of(id)
        label = self.embed(words.prompt)
        if not self.guided:
            return label
        return prompts.guided(label, self.embed(words.negative_prompt), words.scale)

    def told(self, id: str) -> dict[str, Any]:
        """What a record says of an input's words."""
        return {**self.of(id)._asdict(), "guided": self.guided}


def texts_of(config: ConfigDict, prior: Prior, guided: bool = False) -> Texts | None:
    """The texts of a config; None for a prior that reads none.

    Args:
        guided: guide even where all scales are 1, as a replay of a guided run does.

    Raises:
        ValueError: texts for a prior that reads none, labels for one that reads texts, a damaged
            file of prompts, or a scale that goes with no text.
    """
    if prior.text is None:
        for field in FIELDS:
            if config[field]:
                prompts.check_reads(prior, field)
        return None
    if config.cond is not None or config.guidance.against:
        raise ValueError(
            "cond, guidance.against: the prior reads texts; give prompt and negative_prompt"
        )
    default = Words(config.prompt, config.negative_prompt, config.guidance.scale)
    own = read_prompts(config.prompts, default) if config.prompts else {}
    every = [default, *own.values()]
    for words in every:
        check(words)
    embed = functools.cache(lambda text: prompts.embedding(prior, text))
    warn(prior, (text for words in every for text in words[:2]))
    return Texts(default, own, guided or any(words.scale != 1 for words in every), embed)


def check(words: Words) -> None:
    """See that the words have a meaning together.

    Raises:
        ValueError: a scale that is no number, or a negative prompt at scale 1.
    """
    prompts.check_scale(words.scale)
    if words.negative_prompt and words.scale == 1:
        raise ValueError(
            f"negative_prompt: {words.negative_prompt!r} has no effect at guidance.scale 1; give"
            " another scale"
        )


def read_prompts(file: str | Path, default: Words) -> dict[str, Words]:
    """A JSON file {input's name without suffix: prompt, or {prompt, negative_prompt, scale}}.

    What an entry leaves out is the default's.

    Raises:
        ValueError: no such file, or another content.
    """
    try:
        entries = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"prompts: cannot read {file}: {error}") from None
    if not isinstance(entries, dict):
        raise ValueError(f"prompts: {file} must hold a JSON object of names and prompts")
    return {name: _words(file, name, entry, default) for name, entry in entries.items()}


def _words(file: str | Path, name: str, entry: Any, default: Words) -> Words:
    given = {"prompt": entry} if isinstance(entry, str) else entry
    if not isinstance(given, dict) or not set(given) <= set(Words._fields):
        raise ValueError(
            f"prompts: {name!r} in {file} must be a text or an object of {list(Words._fields)},"
            f" got {entry!r}"
        )
    for field in ("prompt", "negative_prompt"):
        if not isinstance(given.get(field, ""), str):
            raise ValueError(f"prompts: {field} of {name!r} in {file} must be a text")
    return default._replace(**given)


def check_inputs(texts: Texts | None, ids: Iterable[str], file: str) -> None:
    """See that the file of prompts names inputs only.

    Raises:
        ValueError: it names something else.
    """
    strange = sorted(set(texts.own) - set(ids)) if texts else []
    if strange:
        raise ValueError(f"prompts: {file} names {strange[:3]}, which no input is called")


def warn(prior: Prior, texts: Iterable[str]) -> None:
    """Say on stderr what of each text is not read."""
    for text in dict.fromkeys(texts):
        if told := prompts.cut(prior, text):
            print(f"warning: {told}", file=sys.stderr)
