"""--mode=replay: make a result again from the recipe inside its PNG, and say how equal it is."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import build, editor, images, record
from sdedit_jax.run.jobs import Done, Job, finished, requests
from sdedit_jax.run.session import (
    UNITS,
    Session,
    open_session,
    prior_of,
    refuse_existing,
)
from sdedit_jax.tasks import Guide, TaskInput

TOLERANCE = 1
"""Grey levels of 255 by which a replay may differ on another machine and still count as equal."""


LATER = {"strength": None, "prompt": "", "negative_prompt": "", "prompts": ""}
"""Fields that recipes of earlier versions do not have."""


def replay(config: ConfigDict, workdir: Path | None, overwrite: bool) -> int:
    """Run the recipe of `config.input` again; 0 if the picture comes out equal, else 1.

    The prior is the recipe's folder or `config.prior`, whichever has the recipe's sha256. With a
    workdir the replayed picture is written there.
    """
    if "input" not in config:
        raise ValueError("config: --mode=replay needs one of those that edit pictures, or none")
    path = Path(config.input)
    target = workdir / path.name if workdir else None
    refuse_existing([target] if target else [], overwrite)
    before = images.read(path).rgb
    recipe = record.read_recipe(images.read_text(path), path.name)
    if record.digest(before) != recipe["picture"]["sha256"]:
        print(f"note      {path.name} was changed after it was made")
    if recipe["config"].get("method") == "ledits":
        from sdedit_jax.run import ledits_replay

        opened, done = ledits_replay.again(config, recipe, path)
        if target:
            images.write_png(target, done.edited, record.chunks(done.recipe), overwrite)
            print(f"replayed  {target}")
        return verdict(before, done.edited, recipe, opened)
    guided = bool((recipe.get("text") or {}).get("guided"))
    session = open_session(recipe_config(config, recipe, path), guided)
    item = find_input(session, recipe, path)
    done = again(session, recipe, item)
    if target:
        images.write_png(target, done.picture, record.chunks(done.recipe), overwrite)
        print(f"replayed  {target}")
    return verdict(before, done.picture, recipe, session)


def recipe_config(config: ConfigDict, recipe: dict[str, Any], path: Path) -> ConfigDict:
    """The recipe's config, with the machine of the present one."""
    then = ConfigDict(recipe["config"])
    if "guidance" not in then:  # a recipe of a version without
        then.guidance = ConfigDict({"name": "cfg", "against": "", "scale": 1.0})
    for name, absent in LATER.items():
        if name not in then:
            then[name] = absent
    if words := recipe.get("text"):
        then.prompt, then.negative_prompt = words["prompt"], words["negative_prompt"]
        then.guidance.scale, then.prompts = words["scale"], ""
    then.cache = config.cache
    used = recipe["place"]["devices"]
    then.devices = config.devices or (used if used <= jax.local_device_count() else 0)
    then.prior = prior_of(config, recipe, path)
    then.sampler.steps = recipe["sampler"]["steps"]
    for unit in UNITS:
        then[unit] = None
    then.t0 = recipe["strength"]["t0"]
    return then


def find_input(session: Session, recipe: dict[str, Any], path: Path) -> TaskInput:
    """The input of the recipe: its own file if it is still there, else the guide beside `path`."""
    reasons = []
    for source in (from_input, from_guide):
        try:
            item = source(session, recipe, path)
            check_input(item, recipe)
            return item
        except (ValueError, OSError) as error:
            reasons.append(str(error))
    raise ValueError(f"input: the guide of {path.name} is not to be found: {'; '.join(reasons)}")


def from_input(session: Session, recipe: dict[str, Any], path: Path) -> TaskInput:
    """The input that the recipe's config names."""
    config, make = session.config, build.task(session.config.task)
    for file in images.find_inputs(config.input):
        if file.stem == recipe["id"]:
            item = make(str(file), config.options.to_dict(), session.size, config.fit)
            if record.digest(item.fitted) == recipe["guide"]["sha256"]:
                return item
    raise ValueError(f"{config.input} holds no {recipe['id']} with the recipe's content")


def from_guide(session: Session, recipe: dict[str, Any], path: Path) -> TaskInput:
    """The guide and mask that were written beside the result."""
    if session.config.output == "original":
        raise ValueError("a result at the input's size needs the input itself")
    cut = recipe["cut"]
    stem = path.stem[: len(path.stem) - len(cut)] if path.stem.endswith(cut) else path.stem
    fitted = images.read(path.with_name(f"{stem}_guide.png")).rgb
    mask = images.read_mask(path.with_name(f"{stem}_mask.png"), fitted.shape[:2])
    guide = Guide(images.to_unit(fitted), mask[..., None])
    placement = images.place(fitted.shape[:2], session.size, "stretch")
    return TaskInput(recipe["id"], guide, fitted, mask, fitted, placement, mask)


def check_input(item: TaskInput, recipe: dict[str, Any]) -> None:
    """Raise ValueError unless guide and mask are the recipe's."""
    found = {
        "guide": record.digest(item.fitted),
        "mask": record.digest(np.round(item.mask * 255).astype(np.uint8)),
    }
    for name, sha256 in found.items():
        if sha256 != recipe[name]["sha256"]:
            raise ValueError(f"the {name} found is not the recipe's: its sha256 differs")


def again(session: Session, recipe: dict[str, Any], item: TaskInput) -> Done:
    """The same job, in the same place of a batch of the same size."""
    place = recipe["place"]
    t0 = recipe["strength"]["t0"]
    job = Job(item, item.id, t0, recipe["seed"], recipe["sample"], recipe["cut"])
    request, keys = requests(session, [job] * place["rows"])
    compiled = editor.compile_editor(
        session.plan, session.params, request, keys, session.config.devices
    )
    edited = editor.run(compiled, session.params, request, keys)
    row = place["row"]
    return finished(session, job, edited.image[row], float(edited.score_sq[row]), place, 0.0)


def verdict(before: np.ndarray, after: np.ndarray, recipe: dict[str, Any], session: Any) -> int:
    """Say how equal two pictures are, and what differs in the environment; the exit code."""
    now = record.environment(session.config.compute)
    lines = record.differences(recipe["environment"], now)
    if before.shape != after.shape:
        raise ValueError(f"input: the picture has size {before.shape}, the replay {after.shape}")
    worst = int(np.abs(before.astype(int) - after).max())
    if worst == 0:
        print("verdict   bit-equal")
    elif worst <= TOLERANCE:
        print(f"verdict   equal within {worst} of 255 levels")
    else:
        print(f"verdict   differs by up to {worst} of 255 levels")
    for line in lines:
        print(f"environment differs: {line}")
    return 0 if worst <= TOLERANCE else 1
