"""What LEDITS runs on: the prior with a preset, the photos with their words and masks."""

import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import build, editor, images, load, parallel, prompts, words
from sdedit_jax.concepts import NUMBERS, parse, shown
from sdedit_jax.edits import inversion
from sdedit_jax.edits.inversion import Inversion
from sdedit_jax.edits.ledits import Recipe
from sdedit_jax.prior import Prior
from sdedit_jax.run.session import described, use_cache
from sdedit_jax.tasks import TaskInput, common
from sdedit_jax.words import SCALES, Words

FIELDS = ("source_prompt", "prompt", "negative_prompt", "concepts", "masks")


class Photo(NamedTuple):
    """An input with its output name, its words, and the masks of its concepts [H, W, 1]."""

    item: TaskInput
    name: str
    words: Words
    masks: tuple[Any, ...]
    files: tuple[str, ...]


class Opened(NamedTuple):
    """A prior ready to edit."""

    config: ConfigDict
    prior: Prior
    params: Any
    made: Recipe
    plan: Inversion
    devices: int
    embed: Callable[[str], Any]


def open_prior(config: ConfigDict) -> Opened:
    """Load the prior and settle preset and numbers."""
    made = words.recipe(config.preset, numbers_of(config))
    for name, least in {"batch": 1, "sheet_scale": 0}.items():
        if config[name] < least:
            raise ValueError(f"{name} must be at least {least}, got {config[name]}")
    build.pick(dict.fromkeys(images.FITS), config.fit, "fit")
    build.pick(dict.fromkeys(inversion.KEEPS), config.maps, "maps")
    editor.image_key(config.seed, "")
    use_cache(config.cache)
    devices = parallel.count(config.devices)
    devices = 1 if config.maps == "host" else devices
    prior = load.load_prior(config.prior, config.compute, config.attention)
    words.check_prior(prior)
    plan = words.latent_plan(prior, made, config.maps)
    inversion.check(plan)
    embed = functools.cache(lambda text: prompts.embedding(prior, text))
    params = parallel.replicate(prior.params, devices)
    return Opened(config, prior, params, made, plan, devices, embed)


def numbers_of(config: ConfigDict) -> dict[str, float | None]:
    """The fields of a config that are numbers of the preset."""
    return {name: config[name] for name in ("steps", "skip", "t0", *SCALES, *NUMBERS)}


def introduce(opened: Opened, photos: Sequence[Photo]) -> None:
    """Print device, prior, preset, numbers and memory, before anything runs."""
    config, made, plan = opened.config, opened.made, opened.plan
    device = jax.local_devices()[0]
    kind = f"{device.device_kind} ({device.platform}), {config.compute}"
    print(f"device    {opened.devices} x {kind}")
    print(f"prior     {config.prior}, sha256 {opened.prior.card.get('sha256', '')[:16]}")
    numbers = words.told(made)
    concept, removal = (numbers.pop(name, {}) for name in ("concept", "removal"))
    numbers.pop("guidance")
    told = ", ".join(f"{name} {value}" for name, value in numbers.items())
    print(f"preset    {config.preset}: {told}")
    removed = f", removed: {removal}" if removal else ""
    print(f"guidance  {made.guidance}, of concepts: {concept}{removed}")
    print(f"strength  {described(opened.prior.process, start(opened))}")
    rows, slots = rows_of(opened, photos), slots_of(photos)
    shape = words.state_shape(opened.prior)
    size = inversion.map_bytes(plan, shape, rows)
    print(
        f"maps      {plan.steps} of {shape} for {rows} photo(s), kept by {config.maps}:"
        f" {size.device / 1e6:.2f} MB on the device, {size.host / 1e6:.2f} MB on the host"
    )
    print(
        f"steps     {plan.steps} each way, {evaluations(opened, slots)} evaluations of the network"
    )
    for photo in photos[:8]:
        print(f"{photo.name:<10}{said(photo.words)}")


def said(one: Words) -> str:
    """The words of a photo in one line."""
    asked = ",".join(map(shown, one.concepts)) or "no concepts"
    to = f" to {one.prompt!r}" if one.prompt else ""
    return f"{one.source_prompt!r}{to}, {asked}"


def start(opened: Opened) -> float:
    """The time of the first step that is run."""
    grid = opened.plan.grid(opened.prior.process, jnp.float32(opened.made.t0), opened.made.n)
    return float(grid.t[opened.plan.skip]) if opened.made.t0 else 0.0


def evaluations(opened: Opened, slots: int) -> int:
    """Evaluations of the network for one photo: there, the edit, and the way back."""
    there = 2 * (1 if opened.plan.keep == "device" else 2)  # else each replay inverts anew
    texts = 1 if opened.made.guidance in words.MASKS else 2
    return opened.plan.steps * (there + texts + slots + 2)


def rows_of(opened: Opened, photos: Sequence[Photo]) -> int:
    return min(opened.config.batch, len(photos))


def slots_of(photos: Sequence[Photo]) -> int:
    """Rows of the concepts, the same for all photos of a run."""
    return max((len(photo.words.concepts) for photo in photos), default=0)


def read_inputs(opened: Opened) -> tuple[list[Photo], list[str]]:
    """The inputs, and one line for each that could not be read.

    Raises:
        ValueError: words with a mistake, no input, or none that can be read for one reason.
    """
    config = opened.config
    paths = images.find_inputs(config.input)
    own = read_words(config.prompts)
    if strange := sorted(set(own) - {path.stem for path in paths}):
        raise ValueError(f"prompts: {config.prompts} names {strange[:3]}, no input is called so")
    photos, bad, reasons = [], [], set()
    for path, name in zip(paths, images.output_names(paths), strict=True):
        fields = {field: config[field] for field in FIELDS} | own.get(path.stem, {})
        try:
            words_of(opened, fields)  # mistakes in words stop the run
        except ValueError as error:
            if path.stem not in own:
                raise
            raise ValueError(f"prompts: {path.stem!r} in {config.prompts}: {error}") from None
        try:
            photos.append(read_photo(opened, path, name, fields))
        except (ValueError, OSError) as error:
            bad.append(f"{path}: {error}")
            reasons.add(str(error))
    if not photos and len(reasons) == 1:
        raise ValueError(reasons.pop())
    return photos, bad


def read_photo(opened: Opened, path: Path, name: str, fields: dict[str, Any]) -> Photo:
    """One input with its FIELDS."""
    item = build.task("photo")(str(path), {}, opened.prior.shape[0], opened.config.fit)
    files = tuple(files_of(fields["masks"]))
    masks = tuple(read_mask(file, item, path) for file in files)
    return Photo(item, name, words_of(opened, fields), masks, files)


def read_words(file: str) -> dict[str, dict[str, Any]]:
    """A JSON file {input's name without suffix: {some of FIELDS}}.

    Raises:
        ValueError: no such file, or another content.
    """
    if not file:
        return {}
    try:
        found = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"prompts: cannot read {file}: {error}") from None
    for name, entry in found.items() if isinstance(found, dict) else [(file, None)]:
        if not isinstance(entry, dict) or not set(entry) <= set(FIELDS):
            raise ValueError(
                f"prompts: {name!r} in {file} must be an object of {list(FIELDS)}, got {entry!r}"
            )
        for field, value in entry.items():
            entry[field] = _worded(field, value, f"prompts: {field} of {name!r} in {file}")
    return found


def _worded(field: str, value: Any, told: str) -> Any:
    """A field of a prompts file; null says nothing."""
    many = field in ("concepts", "masks") and isinstance(value, list)
    texts = ["" if text is None else text for text in (value if many else [value])]
    if not all(isinstance(text, str) for text in texts):
        kind = "texts" if field in ("concepts", "masks") else "a text"
        raise ValueError(f"{told} must be {kind}, got {value!r}")
    return texts if many else texts[0]


def words_of(opened: Opened, fields: dict[str, Any]) -> Words:
    """The words of an input.

    Raises:
        ValueError: words with a mistake, or such as the preset does not take.
    """
    asked = parse(fields["concepts"])
    made = Words(*(fields[name] for name in FIELDS[:3]), asked)
    words.check_words(opened.made, made)
    if len(files_of(fields["masks"])) > len(asked):
        raise ValueError(f"masks: one for each of {len(asked)} concepts at most")
    return made


def warn(opened: Opened, photos: Sequence[Photo]) -> None:
    """Say on stderr what of each text is not read."""
    texts = [t for p in photos for t in (*p.words[:3], *(c.text for c in p.words.concepts))]
    for text in dict.fromkeys(texts):
        if told := prompts.cut(opened.prior, text):
            print(f"warning: {told}", file=sys.stderr)


def files_of(masks: str | Sequence[str]) -> list[str]:
    """Mask files, one for each concept; "" for one that acts everywhere."""
    every = masks.split(",") if isinstance(masks, str) else list(masks)
    return [file.strip() for file in every] if any(every) else []


def read_mask(file: str, item: TaskInput, path: Path) -> np.ndarray | None:
    """A mask [H, W, 1] at the prior's size, 1 where a concept acts."""
    if not file:
        return None
    mask = common.read_mask_beside(file, path, item.original.shape[:2], False)
    return words.fitted_mask(mask, item.placement, f"masks: {file}")
