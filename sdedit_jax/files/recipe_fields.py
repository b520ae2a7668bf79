"""The fields of recipes and of the records that hold them."""

from collections.abc import Mapping, Sequence
from typing import Any

from sdedit_jax.files.schema import Each, Fields, Many, Named, Plain, check_object, check_some
from sdedit_jax.files.values import (
    NAME,
    SHA256,
    WEIGHT,
    Choice,
    Flag,
    Kind,
    Maybe,
    Real,
    Text,
    Whole,
    error,
    joined,
)
from sdedit_jax.files.wording import brief

LONGEST = 2**22
"""Characters of a recipe."""
MOST_PICTURES = 100_000
"""Of a record."""
STEPS, ROWS = Whole(1, 100_000), Whole(1, 65_536)
PROSE = Text(100_000, lines=True)
TASK = Text(64, form="[a-z0-9_]+", words="the name of a task")
ID = Text(
    4096,
    lines=True,
    form=r"(?!/)(?!.*(^|[/\\])\.\.([/\\]|$)).+",
    words="a name that leads to no other folder",
)
CUT = Text(255, lines=True, form=r"[^/\\]*", words="the end of a file's name")
FILE = Text(
    255, lines=True, form=r"(?!\.{1,2}$)[^/\\]+", words="the name of a file without a folder"
)
DIGEST = Fields({"sha256": SHA256})

ENVIRONMENT = Fields(
    {
        "versions": Named(NAME, 100),
        "device": NAME,
        "platform": NAME,
        "devices": Whole(1, 65_536),
        "compute": NAME,
    }
)
STRENGTH = Fields(
    {"t0": Real(0, 1), "sigma": Maybe(Real(0)), "snr_db": Maybe(Real()), "step": Maybe(Real())}
)
COMMON: Mapping[str, Kind] = {
    "format": Whole(1, 10**6),
    "config": Named(Plain(10_000), 1000),
    "task": TASK,
    "id": ID,
    "seed": Whole(0, 2**64 - 1),
    "sample": Whole(0, 10**6),
    "value": Maybe(WEIGHT),
    "cut": CUT,
    "strength": STRENGTH,
    "size": Each((Whole(1, 2**16), Whole(1, 2**16), Choice((1, 3)))),
    "prior": Fields({"name": Text(4096), "sha256": SHA256}),
    "guide": DIGEST,
    "original": DIGEST,
    "picture": DIGEST,
    "environment": ENVIRONMENT,
}
"""Of all recipes."""


def place_with(shapes: Kind) -> Fields:
    """The place of a result in its batch, and the shapes of the run."""
    rows = {"rows": ROWS, "row": Whole(0, 65_535), "devices": Whole(1, 65_536)}
    return Fields({**rows, "shapes": shapes})


SAMPLER = {name: Text(1000) for name in ("rule", "grid", "corrector", "hold", "final", "noise_by")}
SDEDIT = Fields(
    {
        **COMMON,
        "value": Maybe(Real(0, 1)),
        "mask": DIGEST,
        "sampler": Fields({**SAMPLER, "steps": STEPS, "repeats": STEPS}),
        "class": Maybe(
            Fields({"label": Whole(0)}, {"against": Whole(0), "scale": WEIGHT}),
        ),
        "prompts": Maybe(
            Fields({"prompt": PROSE, "negative_prompt": PROSE, "scale": WEIGHT, "guided": Flag()})
        ),
        "place": place_with(Fields()),
    },
    {
        "strength_map": Maybe(SHA256),
        "target": Maybe(
            Fields({"field": NAME, "value": Real(0), "measure": NAME, "sha256": Text(1024)})
        ),
    },
)
"""A recipe of SDEdit; older ones lack some fields."""

LEDITS = Fields(
    {
        **COMMON,
        "mask": Fields({"sha256": Many(SHA256, 1000)}),
        "prompts": Fields(
            {
                **dict.fromkeys(("source_prompt", "prompt", "negative_prompt"), PROSE),
                "concepts": Many(PROSE, 1000),
                "masks": Many(Text(), 1000),
            }
        ),
        "numbers": Named(Plain(), 100),
        "sampler": Fields({"rule": NAME, "steps": STEPS, "grid": Text(0), "repeats": Whole(1, 1)}),
        "place": place_with(Fields({"slots": Whole(0, 1000), "masks": Flag(), "guided": Flag()})),
    },
    {"defaults": Named(WEIGHT, 100)},
)
"""A recipe of LEDITS."""


SHARD: Mapping[str, Kind] = {
    "shard": Whole(),
    "run": NAME,
    "recipe": Named(Plain(10_000)),
    "files": Fields({"array_record": SHA256, "npz": SHA256}),
}
"""The first line of a shard of an evaluation."""
SHARD_LINE: Mapping[str, Kind] = {
    "id": Text(100_000, lines=True),
    "sample": Whole(),
    "picture": Whole(),
    "channels": Choice((1, 3, 4)),
    "numbers": Named(Maybe(Real())),
    "recipe": Named(Plain(10_000)),
    "sha256": SHA256,
    "failed": Text(100_000, lines=True),
}
"""Each other line, as far as it is read."""
EDITED = {"picture", "channels", "numbers", "recipe", "sha256"}
"""Fields of the line of an edit that was made."""


def check_shard(rows: Sequence[Any]) -> None:
    """Check the lines of a shard of an evaluation, its header first.

    Raises:
        ValueError: a wrong or missing field.
    """
    if not rows:
        raise ValueError("it is empty")
    header, *lines = rows
    _check_line(SHARD, header, {"run", "files"}, 1)
    made = 0
    for number, line in enumerate(lines, 2):
        check_object(line, f"line {number}")
        if not EDITED & line.keys():
            _check_line(SHARD_LINE, line, {"id"}, number)
            continue
        _check_line(SHARD_LINE, line, {"id", "sample", *EDITED}, number)
        if line["picture"] != made or "failed" in line:
            raise ValueError(f"line {number}.picture must be {made}, of an edit that did not fail")
        made += 1
    if made and header.get("recipe") is None:
        raise ValueError("line 1.recipe is missing")


def _check_line(kinds: Mapping[str, Kind], line: Any, needed: set[str], number: int) -> None:
    check_some(kinds, line, f"line {number}")
    if missing := sorted(name for name in needed if line.get(name) is None):
        raise ValueError(f"line {number}.{missing[0]} is missing")


def check(recipe: Any) -> None:
    """Check all fields of a recipe.

    Raises:
        ValueError: a wrong, missing or unknown field, or fields that contradict each other.
    """
    check_object(recipe, "recipe")
    method = "ledits" if recipe.get("task") == "ledits" else "sdedit"
    (LEDITS if method == "ledits" else SDEDIT).check(recipe, "recipe")
    config = recipe["config"]
    Choice((method,)).check(config.get("method", "sdedit"), "recipe.config.method")
    if method == "sdedit":
        Choice((recipe["task"],)).check(config.get("task"), "recipe.config.task")
    place = recipe["place"]
    Whole(0, place["rows"] - 1).check(place["row"], "recipe.place.row")
    if method == "ledits":
        Whole(len(recipe["prompts"]["concepts"]), 1000).check(
            place["shapes"]["slots"], "recipe.place.shapes.slots"
        )
    elif (label := recipe["class"]) and ("against" in label) != ("scale" in label):
        raise ValueError("recipe.class must have both of against and scale, or none")


def check_pictures(record: Mapping[str, Any]) -> None:
    """Check the list of pictures of a record.json, each with its file and recipe.

    Raises:
        ValueError: no list, too many pictures, a file that is no name, or one that occurs twice.
    """
    pictures = record.get("pictures")
    if not isinstance(pictures, list) or not 1 <= len(pictures) <= MOST_PICTURES:
        raise error("pictures", f"a list of 1 to {MOST_PICTURES} pictures", pictures)
    seen = set()
    for i, entry in enumerate(pictures):
        place = f"pictures[{i}]"
        check_object(entry, place)
        for name, kind in {"file": FILE, "recipe": Named(Plain(10_000), 1000)}.items():
            if name not in entry:
                raise ValueError(f"{joined(place, name)} is missing")
            kind.check(entry[name], joined(place, name))
        if entry["file"] in seen:
            raise ValueError(f"{place}.file: {brief(entry['file'], 60)} occurs twice")
        seen.add(entry["file"])
