"""Settings of an edit on the page, as a config of the program has them, and back from a result."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sdedit_jax import images
from sdedit_jax.pipeline import recipes
from sdedit_jax.pipeline.ledits_settings import OWN, SCALES
from sdedit_jax.pipeline.settings import Sampling, sampling, takes_share
from sdedit_jax.registry import included
from sdedit_jax.text import concept_parser
from sdedit_jax.text.spelling import one_of

LEDITS = "ledits"
TASKS = ("strokes", "scribble", "inpaint", "outpaint", "composite", "recolor", "img2img", LEDITS)
"""Names of included configs."""
AUTO = "auto"
"""t0: the strength is found, see pipeline.auto_strength."""
ID = "canvas"
"""Of an input of the page; the noise depends on it."""
SIDES = ("left", "right", "top", "bottom")
MOST_SAMPLES, MOST_STEPS, MOST_TEXT, MOST_MARGIN = 64, 1000, 2000, 1024
"""Of an edit: its samples, its steps times repeats times those of a corrector, the letters of its
texts, and the pixels by which a side grows."""


@dataclasses.dataclass(frozen=True)
class Concept:
    """A concept of LEDITS.

    Attributes:
        text: what is added or removed. remove: it is removed. scale: how strongly.
        masked: it acts inside the painted mask alone.
        more: further numbers by name, see text.concept_parser.NUMBERS.
    """

    text: str
    remove: bool = False
    scale: float = 7.0
    masked: bool = False
    more: tuple[tuple[str, float], ...] = ()

    @property
    def parsed(self) -> concept_parser.Concept:
        """The concept as the parser gives it."""
        return concept_parser.Concept(
            self.text, self.remove, {"scale": float(self.scale), **dict(self.more)}
        )


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that decides a result of the page, but for what is painted.

    Attributes:
        prior: a name of Editor.priors. task: one of TASKS.
        t0: in [0, 1]; AUTO: found from the guide; None: that of the task's config.
        seed, sample, samples: of the noise; `sample` is the number of the first result.
        preset: "", "live" or another preset with a t0; for LEDITS one of its own.
        sampler: fields of pipeline.settings.Sampling that are not the preset's.
        cond: a class of the prior, by name or number; "": none.
        prompt, negative_prompt, scale: target texts and their guidance scale.
        source_prompt, concepts: of LEDITS.
        margins: pixels of the picture by which outpainting grows it: left, right, top, bottom.
        palette: colours of recolouring, from dark to light.
        fill: content of a hole or border before the edit; "": the task's own.
        output: "prior" or "original", the size of results.
        id: of the noise, as a file's stem is.
    """

    prior: str = "fruits64"
    task: str = "strokes"
    t0: float | str | None = None
    seed: int = 0
    sample: int = 0
    samples: int = 1
    preset: str = ""
    sampler: tuple[tuple[str, Any], ...] = ()
    cond: str = ""
    prompt: str = ""
    negative_prompt: str = ""
    scale: float = 7.5
    source_prompt: str = ""
    concepts: tuple[Concept, ...] = ()
    margins: tuple[int, int, int, int] = (0, 0, 0, 0)
    palette: tuple[str, ...] = ()
    fill: str = ""
    output: str = "prior"
    id: str = ID

    @property
    def guided(self) -> bool:
        """Whether texts guide SDEdit."""
        return bool(self.prompt or self.negative_prompt)

    @property
    def texts(self) -> dict[str, Any]:
        """The texts of SDEdit and the scale of their guidance, which is 1 without texts."""
        scale = float(self.scale) if self.guided else 1.0
        return {"prompt": self.prompt, "negative_prompt": self.negative_prompt, "scale": scale}


def check_work(settings: Settings) -> None:
    """Check that one edit does not keep the program from all others.

    Raises:
        ValueError: too many samples, steps or pixels, or a text that is too long.
    """
    if settings.samples > MOST_SAMPLES:
        raise ValueError(f"samples must be at most {MOST_SAMPLES}, got {settings.samples}")
    if not all(0 <= margin <= MOST_MARGIN for margin in settings.margins):
        raise ValueError(f"margins must be in [0, {MOST_MARGIN}], got {settings.margins}")
    texts = [settings.prompt, settings.negative_prompt, settings.source_prompt]
    texts += [settings.cond, *(concept.text for concept in settings.concepts), *settings.palette]
    longest = max(map(len, texts))
    if longest > MOST_TEXT:
        raise ValueError(f"prompt: a text must have at most {MOST_TEXT} letters, got {longest}")
    if settings.task == LEDITS:
        return
    t0 = settings.t0 if isinstance(settings.t0, int | float) else 1.0
    made = sampling(dict(settings.sampler), settings.preset, t0, prefix="")
    steps = made.steps * made.repeats * max(getattr(made.corrector, "steps", 1), 1)
    if steps > MOST_STEPS:
        raise ValueError(f"steps: the page makes at most {MOST_STEPS} steps, got {steps}")


def quick(settings: Settings) -> Settings:
    """The settings while one paints or compares: the preset `live`, one sample."""
    if settings.task == LEDITS:
        return dataclasses.replace(settings, samples=1)
    return dataclasses.replace(settings, preset="live", sampler=(), samples=1)


# --- to a config ----------------------------------------------------------------------------------


def config_of(settings: Settings, compute: str = "float32") -> dict[str, Any]:
    """The config of the program that makes the same edit from files, as plain values.

    Raises:
        ValueError: an unknown task.
    """
    names = ("prior", "output", "prompt", "negative_prompt", "seed", "samples")
    made = included.values(one_of("task", settings.task, TASKS))
    made |= {name: getattr(settings, name) for name in names} | {"compute": compute}
    made |= {"preset": settings.preset or made["preset"]}
    del made["example"]
    if settings.task == LEDITS:
        concepts = [concept_parser.as_text(concept.parsed) for concept in settings.concepts]
        words = {"source_prompt": settings.source_prompt, "concepts": ",".join(concepts)}
        return made | words | {"t0": settings.t0}
    if settings.t0 == AUTO:
        made["auto_t0"] = "guide"
    elif settings.t0 is not None:
        made["t0"] = float(settings.t0)
    return made | {
        "sampler": made["sampler"] | dict(settings.sampler),
        "cond": settings.cond,
        "guidance": made["guidance"] | {"scale": settings.texts["scale"]},
        "options": made["options"] | _options(settings),
    }


def _options(settings: Settings) -> dict[str, Any]:
    """The options of the task that the settings give."""
    found: dict[str, Any] = {}
    if settings.task == "outpaint":
        found |= dict(zip(SIDES, settings.margins, strict=True))
    if settings.task == "recolor":
        found |= {"palette": ",".join(settings.palette)}
    if settings.fill and settings.task in ("inpaint", "outpaint"):
        found["fill"] = settings.fill
    return found


# --- from a result --------------------------------------------------------------------------------


def restored(data: bytes, priors: Mapping[str, str]) -> Settings:
    """The settings of a result, out of the recipe in its PNG.

    Args:
        data: the bytes of the file. priors: sha256 -> name of the priors of the page.

    Raises:
        ValueError: no PNG with a recipe, or one of an edit that the page does not make.
    """
    name = "the picture"
    recipe = recipes.read(images.decode_text(data, name), name)
    try:
        made = _restored(recipe, priors)
    except (KeyError, TypeError, AttributeError, OverflowError):
        raise ValueError(f"input: the recipe in {name} is damaged") from None
    check_work(made)
    return made


def _restored(recipe: Mapping[str, Any], priors: Mapping[str, str]) -> Settings:
    config, prior = recipe["config"], recipe["prior"]
    if prior["sha256"] not in priors:
        raise ValueError(
            f"prior: the picture was made with {prior['name']}, which this page does not have"
        )
    task = "img2img" if recipe["task"] == "photo" else recipe["task"]
    if task not in TASKS:
        raise ValueError(f"task: the picture was made by {task!r}, which this page does not have")
    made = Settings(
        prior=priors[prior["sha256"]],
        task=task,
        t0=float(recipe["strength"]["t0"]),
        seed=int(recipe["seed"]),
        sample=int(recipe["sample"]),
        output=str(config["output"]),
        id=str(recipe["id"]),
    )
    texts = recipe["prompts"] or {}
    names = ("prompt", "negative_prompt", "source_prompt")
    made = dataclasses.replace(made, **{name: str(texts[name]) for name in names if name in texts})
    if task == LEDITS:
        return _with_words(made, config, texts)
    made = _with_options(made, config)
    return _with_sampler(made, config["preset"], config["sampler"], recipe["sampler"]["steps"])


def _with_words(made: Settings, config: Mapping[str, Any], texts: Mapping[str, Any]) -> Settings:
    """The settings with preset and concepts.

    Raises:
        ValueError: a number that the page does not have.
    """
    for name in (*OWN, *SCALES, *concept_parser.NUMBERS):
        if name != "t0" and config[name] is not None:
            raise ValueError(
                f"{name}: the picture was made with {config[name]}, which this page does not have"
            )
    t0 = None if config["t0"] is None else float(config["t0"])
    preset, concepts = str(config["preset"]), _concepts(texts)
    return dataclasses.replace(made, t0=t0, preset=preset, concepts=concepts)


def _concepts(texts: Mapping[str, Any]) -> tuple[Concept, ...]:
    found, masks = concept_parser.parse(texts["concepts"]), list(texts["masks"])
    masks += [""] * (len(found) - len(masks))
    return tuple(
        Concept(one.text, one.reverse, **_numbers(one.given), masked=bool(mask))
        for one, mask in zip(found, masks, strict=True)
    )


def _numbers(given: Mapping[str, float]) -> dict[str, Any]:
    more = {name: value for name, value in given.items() if name != "scale"}
    return {"more": tuple(more.items())} | ({"scale": given["scale"]} if "scale" in given else {})


def _with_options(made: Settings, config: Mapping[str, Any]) -> Settings:
    options, colors = config["options"], config["options"].get("palette", "")
    listed = colors.split(",") if isinstance(colors, str) else list(colors)
    return dataclasses.replace(
        made,
        cond=str(config["cond"]),
        scale=float(config["guidance"]["scale"]) if made.guided else Settings.scale,
        margins=tuple(int(options.get(side, 0)) for side in SIDES),
        palette=tuple(str(color).strip() for color in listed if color),
        fill=str(options.get("fill", "")),
    )


def _with_sampler(made: Settings, preset: str, given: Mapping[str, Any], steps: int) -> Settings:
    """The settings with preset and sampler.

    Args:
        given: the fields of the config. steps: their number.

    Raises:
        ValueError: an unknown preset, or one without t0.
    """
    if takes_share(preset):
        raise ValueError(f"preset: {preset!r} has no t0, and the page has no other strength")
    usual = dataclasses.asdict(sampling({}, preset, made.t0))
    names = () if preset else set(usual) - {"steps"}
    own = {name: given[name] for name in sorted(names) if given[name] != getattr(Sampling, name)}
    own |= {"steps": int(steps)} if steps != usual["steps"] else {}
    return dataclasses.replace(made, preset=preset, sampler=tuple(own.items()))
