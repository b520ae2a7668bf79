"""The numbers of the edits of a batch: measures in pairs, by text, and features for sets."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sdedit_jax.evaluation import text_measures
from sdedit_jax.modes.evaluating.batches import TARGETS, Edited, Run
from sdedit_jax.modes.jobs import Done
from sdedit_jax.tasks.examples import fitted_photo


class Pictures(NamedTuple):
    """The finished edits of a batch, with what they are measured against.

    Attributes:
        edit, guide, photo: uint8 [n, h, w, 3]. mask: float32 [n, h, w].
        first: the places of the first sample of each row.
        prompts, source_prompts: of the edits and of the photos; "": none.
    """

    edit: np.ndarray
    guide: np.ndarray
    photo: np.ndarray
    mask: np.ndarray
    first: list[int]
    prompts: list[str]
    source_prompts: list[str]


def pictures_of(edited: Edited, done: Mapping[int, Done]) -> Pictures:
    """The pictures of finished edits, by their places in the batch."""
    edits, items = edited.loaded.batch.edits, [one.job.input.item for one in done.values()]
    given = [edited.loaded.inputs[edits[i].row] for i in done]
    prompts = [one.entry.get("prompts") or {} for one in done.values()]
    return Pictures(
        np.stack([one.made.output.fitted for one in done.values()]),
        np.stack([item.fitted for item in items]),
        np.stack([fitted_photo(item) for item in items]),
        np.stack([one.mask for one in given]),
        [n for n, i in enumerate(done) if edits[i].sample == 0],
        [text.get("prompt") or "" for text in prompts],
        [
            text.get("source_prompt") or one.source_prompt
            for text, one in zip(prompts, given, strict=True)
        ],
    )


def columns(run: Run, pictures: Pictures) -> dict[str, np.ndarray]:
    """The values [n] of each measure."""
    against = {name: getattr(pictures, name) for name in TARGETS}
    found = {
        f"{name}_{measure.name}": measure.of(pictures.edit, against[name], pictures.mask)
        for name in TARGETS
        for measure in run.named(name)
    }
    return found | by_text(run, pictures)


def by_text(run: Run, pictures: Pictures) -> dict[str, np.ndarray]:
    """CLIP scores of edits with a prompt, directional ones where the photo has one too."""
    clip, written = run.measures.clip, pictures.prompts
    if clip is None or not any(written):
        return {}
    after, texts = clip.images(pictures.edit), _embedded(clip, written)
    found = {"clip_score": _where(written, text_measures.clip_score(after, texts))}
    if any(pictures.source_prompts):
        before, sources = clip.images(pictures.photo), _embedded(clip, pictures.source_prompts)
        both = [a and b for a, b in zip(written, pictures.source_prompts, strict=True)]
        values = text_measures.directional(before, after, sources, texts)
        found["clip_directional"] = _where(both, values)
    return found


def _embedded(clip: Any, texts: Sequence[str]) -> np.ndarray:
    """The embeddings of texts, each different one computed once."""
    every = list(dict.fromkeys(texts))
    found = clip.texts(every)
    return np.stack([found[every.index(text)] for text in texts])


def _where(texts: Sequence[str], values: np.ndarray) -> np.ndarray:
    return np.where([bool(text) for text in texts], values, np.nan)


def features(run: Run, pictures: Pictures) -> dict[str, np.ndarray]:
    """Features by "extractor/edit"; those of guide and photo of the first samples alone."""
    first = {name: getattr(pictures, name)[pictures.first] for name in TARGETS if pictures.first}
    return {
        f"{one.name}/{name}": one.in_batch(rows, run.plan.batch)
        for one in run.measures.extractors
        for name, rows in {"edit": pictures.edit, **first}.items()
    }


def facts(run: Run) -> dict[str, dict[str, Any]]:
    """Unit and definition of each number."""
    found = {f"{name}_{one.name}": one.row for name in TARGETS for one in run.named(name)}
    if run.measures.clip is not None:
        own = {"better": "higher", **run.measures.clip.facts}
        found["clip_score"] = {"definition": text_measures.CLIP_SCORE, **own}
        found["clip_directional"] = {"definition": text_measures.DIRECTIONAL, **own}
    return found | PROPOSITION


PROPOSITION = {
    "proposition_1_distance": {
        "definition": "squared distance of the edit from the guide, values in [-1, 1]"
    },
    "proposition_1_bound": {"definition": "the paper's bound of it with probability 0.95"},
}


def bound(one: Done) -> dict[str, float]:
    """Proposition 1 of the paper and the distance that it bounds, where it is stated."""
    found = one.entry.get("proposition_1")
    if not isinstance(found, dict):
        return {}
    return {f"proposition_1_{name}": float(found[name]) for name in ("distance", "bound")}


def proposition(columns: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The share of the edits for which the bound holds, where it is stated."""
    if not set(PROPOSITION) <= set(columns):
        return {}
    distance, bound = (columns[name] for name in PROPOSITION)
    return {"proposition_1": float(np.mean(distance <= bound))}
