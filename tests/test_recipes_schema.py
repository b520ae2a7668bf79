"""Recipes and records from others: every field that is wrong is refused by its name, at once."""

import copy
import json
import shutil

import numpy as np
import pytest
from nested import places, put
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from program import ROOT, config_of, recipe, refused, run, small

from sdedit_jax import provenance
from sdedit_jax.modes import check
from sdedit_jax.pipeline import recipes
from sdedit_jax.weights import load

WRONG = [None, True, -1, 0.5, 10**12, 1e300, "x\0y", "y" * 200_000, [], [[]], {}, {"a": 1}]
"""Values of all JSON types and of absurd sizes."""
DEEP = "[" * 100_000 + "]" * 100_000
SHA = "0" * 64


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a result of SDEdit, a cell of a sweep, and their records."""
    out = tmp_path_factory.mktemp("made")
    file, mask = ROOT / "examples/inpaint/apple.webp", ROOT / "examples/inpaint/masks"
    config = small("inpaint", input=str(file), options__mask=str(mask), samples=1, batch=1)
    config.sweep.t0, config.sweep.seeds = (0.2,), (3,)
    assert run(config, out / "edit") == 0
    assert run(config, out / "sweep", "sweep") == 0
    return out


def of_ledits(sdedit):
    """A recipe of LEDITS with the fields that `recipes.ledits` writes."""
    own = json.loads(json.dumps(sdedit))
    for field in ("class", "strength_map", "target"):
        del own[field]
    config = config_of("ledits").to_dict()
    del config["example"]
    texts = {"source_prompt": "", "prompt": "a", "negative_prompt": ""}
    return json.loads(
        json.dumps(
            own
            | {"config": config, "task": "ledits", "mask": {"sha256": [SHA]}}
            | {"prompts": {**texts, "concepts": ["+a:7"], "masks": ["m.png"]}}
            | {"numbers": {"steps": 4, "concept": {"scale": 7.0}}, "defaults": {"t0": 0.6}}
            | {"sampler": {"rule": "ledits", "steps": 4, "grid": "", "repeats": 1}}
            | {"place": own["place"] | {"shapes": {"slots": 1, "masks": True, "guided": False}}}
        )
    )


def kinds_of(made):
    sdedit = recipe(made / "edit" / "apple_0.png")
    named = sdedit | {
        "class": {"label": 1, "against": 2, "scale": 2.0},
        "prompts": {"prompt": "a", "negative_prompt": "", "scale": 2.0, "guided": True},
        "target": {"field": "target_l2", "value": 0.1, "measure": "L2", "sha256": ""},
        "strength_map": SHA,
    }
    return [sdedit, named, of_ledits(sdedit), recipe(made / "sweep" / "apple_t0.2_s3.png")]


def read(values):
    return recipes.read({"sdedit_jax": json.dumps(values)}, "a.png")


FREE = ("example", "numbers", "versions")
"""Parts whose values are of no fixed type."""


def test_a_wrong_value_in_any_field_is_refused_by_the_field(made):
    """Or accepted where the value is allowed, and then it is the recipe's; nothing else happens."""
    tried = 0
    for values in kinds_of(made):
        assert read(values) == values
        for path in places(values):
            refused_here = 0
            for wrong in WRONG:
                changed = put(values, path, wrong)
                tried += 1
                try:
                    assert read(changed) == changed
                except ValueError as error:
                    text = str(error)
                    refused_here += 1
                    assert "\n" not in text and len(text) < 700, path
                    told = text.replace("[", ".").replace("]", "")
                    name = next(p for p in reversed(path) if isinstance(p, str))
                    fields = {name, path[0], "format", "class" if path == ("task",) else name}
                    assert any(field in told for field in fields), (path, text)
            assert refused_here >= 5 or path[1:2] == ("sweep",) or set(path) & {*FREE}, path
    assert tried > 3000


def test_missing_and_unknown_fields_are_named(made):
    for values in kinds_of(made):
        for path in [p for p in places(values) if p[0] != "config" and isinstance(p[-1], str)]:
            lacking, more = copy.deepcopy(values), put(values, (*path[:-1], "strange"), 1)
            inner = lacking
            for name in path[:-1]:
                inner = inner[name]
            del inner[path[-1]]
            if not set(path[:-1]) & {"numbers", "defaults", "versions"}:
                with pytest.raises(ValueError, match=r"recipe\.([\w.]+\.)?strange is no field"):
                    read(more)
                if path[-1] in ("strength_map", "target", "defaults"):  # older recipes lack them
                    continue
                ends = path in (("class", "against"), ("class", "scale"))
                alone = "must have both" if ends else "is missing"
                with pytest.raises(ValueError, match=alone) as caught:
                    read(lacking)
                assert "class" in str(caught.value) or path[-1] in str(caught.value)


TAMPERED = {
    "recipe.config must be": {"config": None},
    "recipe.id must be a name that leads": {"id": "../../x"},
    "recipe.id must be a name": {"id": "/etc/passwd"},
    "recipe.sample must be": {"sample": -1},
    "recipe.seed must be": {"seed": 2**64},
    "recipe.size[0] must be": {"size": [10**9, 16, 3]},
    "recipe.size[2] must be one of [1, 3]": {"size": [16, 16, 4]},
    "recipe.picture.sha256 must be a sha256": {"picture": {"sha256": "g" * 64}},
    "recipe.cut must be": {"cut": "../x"},
    "recipe.config.task must be strokes, got 'inpaint'": {"task": "strokes"},
    "has format 10": {"format": 10**9},
    "recipe.format must be": {"format": "3"},
}
DEEPER = {
    "recipe.place.rows must be": ("place", "rows", 10**9),
    "recipe.place.row must be": ("place", "row", -1),
    "recipe.place.row must be at most 0": ("place", "row", 1),
    "recipe.place.shapes.slots is no field": ("place", "shapes", {"slots": 1}),
    "recipe.sampler.steps must be at most 100000, got 1000000000": (*("sampler", "steps", 10**9),),
    "recipe.sampler.rule": ("sampler", "rule", "__import__('os').system('id')"),
    "recipe.sampler.grid": ("sampler", "grid", "karras(rho=2)(1)"),
    "recipe.config.feather": ("config", "feather", 1e9),
    "recipe.config.t0": ("config", "t0", "0.5"),
    "recipe.config.method must be sdedit": ("config", "method", ["ledits"]),
    "recipe.config.strange": ("config", "strange", 1),
}


def test_tampered_recipes_are_refused_by_the_field(made):
    values = recipe(made / "edit" / "apple_0.png")
    changed = {told: values | change for told, change in TAMPERED.items()}
    changed |= {told: put(values, path[:-1], path[-1]) for told, path in DEEPER.items()}
    work = put(put(values, ("sampler", "steps"), 100_000), ("sampler", "repeats"), 100_000)
    changed["recipe.sampler.steps, recipe.sampler.repeats"] = work
    changed["recipe.place.rows, recipe.size"] = put(
        values | {"size": [4096, 4096, 3]}, ("place", "rows"), 60_000
    )
    for told, one in changed.items():
        with pytest.raises(ValueError, match="a.png") as caught:
            read(one)
        assert told in str(caught.value)


def test_texts_that_are_no_recipe_are_refused_at_once():
    for text in (DEEP, '{"a": ' * 50_000, "NaN", '{"format": 1e999}', '{"a": 1, "a": 2}', "\ufeff"):
        with pytest.raises(ValueError, match="the recipe in a.png is damaged") as caught:
            recipes.read({"sdedit_jax": text}, "a.png")
        assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="more than 4194304 characters"):
        recipes.read({"sdedit_jax": " " * 10**7}, "a.png")


def test_a_writer_of_an_invalid_recipe_fails(made):
    values = recipe(made / "edit" / "apple_0.png")
    assert json.loads(provenance.chunks(values)["sdedit_jax"]) == values
    with pytest.raises(ValueError, match=r"recipe\.sampler\.steps must be"):
        provenance.chunks(put(values, ("sampler", "steps"), 0))


# --- records --------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["../x.png", "/etc/x.png", "a/b.png", "..", "", "a\0b", 3, None])
def test_a_record_names_files_beside_it(made, file):
    record = json.loads((made / "edit" / "record.json").read_text())
    record["pictures"][0]["file"] = file
    with pytest.raises(ValueError, match=r"record is damaged: pictures\[0\]\.file"):
        recipes.of_record(record, "record")


def test_tampered_records_are_refused(made):
    record = json.loads((made / "edit" / "record.json").read_text())
    one = record["pictures"][0]
    for told, change in {
        r"pictures must be a list of 1 to 100000": {"pictures": [one] * 10**6},
        r"pictures\[1\].file: 'apple_0.png' occurs twice": {"pictures": [one, one]},
        r"pictures\[0\] must be an object": {"pictures": [1]},
        r"pictures\[0\].recipe is missing": {"pictures": [{"file": "a.png"}]},
        r"pictures must be a list": {"pictures": {"a": 1}},
        r"no record.json with recipes": {"recipe": []},
        r"recipe.config must be an object": {"config": [[]]},
        r"recipe.environment.devices must be": {
            "environment": record["environment"] | {"devices": 0}
        },
        r"recipe.place.rows must be": {
            "recipe": record["recipe"] | {"place": {**record["recipe"]["place"], "rows": 0}}
        },
    }.items():
        with pytest.raises(ValueError, match=told):
            recipes.of_record({**record, **change}, "record")


# --- what a replay opens --------------------------------------------------------------------------


@pytest.fixture
def sent(made, tmp_path, monkeypatch):
    """A result with its guide and mask in a folder of its own, and the folder of its prior."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "sent"
    folder.mkdir()
    for file in (made / "edit").glob("apple_*.png"):
        shutil.copy(file, folder)
    values = recipe(folder / "apple_0.png")
    shutil.copytree(values["config"]["prior"], folder / "prior")
    rewrite(folder / "apple_0.png", put(values, ("config", "prior"), str(folder / "prior")))
    return folder / "apple_0.png"


def rewrite(file, values):
    with Image.open(file) as image:
        pixels = np.asarray(image)
    text = PngInfo()
    text.add_text("sdedit_jax", json.dumps(values))
    Image.fromarray(pixels).save(file, pnginfo=text)


def replay(file, capsys, **changes):
    """(exit code, the files that were printed before they were read) of a replay."""
    capsys.readouterr()
    code = run(config_of("base", input=str(file), **changes), None, "replay")
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert code == 0, out
    return code, [line.split(maxsplit=1)[1] for line in lines if line.startswith("reads ")]


def test_a_replay_opens_files_near_the_picture_and_prints_them(sent, capsys):
    code, opened = replay(sent, capsys)
    assert code == 0
    near = [str(sent.with_name(name)) for name in ("apple_0.png", "prior")]
    assert set(near) <= set(opened)
    inside = (str(sent.parent), str(ROOT / "examples"))
    assert all(file.startswith(inside) for file in opened)


def test_a_prior_elsewhere_is_opened_if_it_is_given(sent, capsys, tmp_path):
    elsewhere = tmp_path / "other" / "prior"
    shutil.copytree(sent.with_name("prior"), elsewhere)
    shutil.rmtree(sent.with_name("prior"))
    rewrite(sent, put(recipe(sent), ("config", "prior"), str(elsewhere)))
    told = refused(config_of("base", input=str(sent)), None, "replay")
    assert f"{elsewhere} is outside" in told
    assert "--config.prior=" in told and "--config.trust=True" in told
    assert replay(sent, capsys, prior=str(elsewhere))[0] == 0
    assert replay(sent, capsys, trust=True)[0] == 0
    sent.with_name("prior").symlink_to(elsewhere)  # a link that leads out of the folder
    rewrite(sent, put(recipe(sent), ("config", "prior"), str(sent.with_name("prior"))))
    assert "is outside" in refused(config_of("base", input=str(sent)), None, "replay")


@pytest.mark.parametrize("where", ["/**/*", "/etc", "/dev/zero", "~/*", "../*", "/proc/self/mem"])
def test_an_input_elsewhere_is_not_opened(sent, capsys, monkeypatch, where):
    rewrite(sent, put(recipe(sent), ("config", "input"), where))
    code, opened = replay(sent, capsys)
    assert code == 0 and all(file.startswith(str(sent.parent)) for file in opened)
    sent.with_name("apple_guide.png").unlink()
    told = refused(config_of("base", input=str(sent)), None, "replay")
    assert "the input of apple_0.png was not found" in told and "outside" in told


@pytest.mark.parametrize("option", ["mask", "strength_map"])
def test_an_option_does_not_lead_elsewhere(sent, capsys, option, tmp_path):
    secret = tmp_path / "secret.png"
    Image.new("L", (100, 100)).save(secret)
    shutil.copy(ROOT / "examples/inpaint/apple.webp", sent.parent)
    values = put(recipe(sent), ("config", "input"), str(sent.with_name("apple.webp")))
    rewrite(sent, put(values, ("config", "options", option), str(secret)))
    code, opened = replay(sent, capsys)
    assert code == 0 and str(secret) not in opened


def test_a_link_beside_the_picture_does_not_lead_out(sent, tmp_path):
    outside = tmp_path / "outside.png"
    shutil.move(sent.with_name("apple_guide.png"), outside)
    sent.with_name("apple_guide.png").symlink_to(outside)
    rewrite(sent, put(recipe(sent), ("config", "input"), "none"))
    told = refused(config_of("base", input=str(sent)), None, "replay")
    assert "apple_guide.png is outside" in told


def test_trust_is_for_a_replay():
    config = config_of("base")
    check.check("replay", config, {"trust": True})
    for mode in ("edit", "sweep", "web", "calibrate", "evaluate", "search"):
        with pytest.raises(ValueError, match="trust: "):
            check.check(mode, config, {"trust": True})


def test_a_recipe_cannot_trust_itself(sent, tmp_path):
    shutil.move(sent.with_name("prior"), tmp_path / "elsewhere")
    values = put(recipe(sent), ("config", "trust"), True)
    rewrite(sent, put(values, ("config", "prior"), str(tmp_path / "elsewhere")))
    assert "is outside" in refused(config_of("base", input=str(sent)), None, "replay")


def test_the_prior_of_a_recipe_is_loaded_once_it_is_allowed(sent, monkeypatch):
    seen = []
    monkeypatch.setattr(load, "sha256_of", lambda folder: seen.append(str(folder)) or SHA)
    rewrite(sent, put(recipe(sent), ("config", "prior"), "/etc"))
    assert "/etc is outside" in refused(config_of("base", input=str(sent)), None, "replay")
    assert seen == [str(ROOT / "checkpoints" / "fruits64")]
