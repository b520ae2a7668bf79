"""JSON files with damage: each field of another type or size, missing, or new; broken text."""

import json
from pathlib import Path

from fuzz.case import Case, kind, program
from fuzz.folders import RESULTS, argv_for, config_of, copied
from fuzz.mutate import changed, damaged, dumps, json_bytes
from fuzz.special import base_fields, with_prompts


def damage(rng, path, where=None):
    """Damage a JSON file; what was done."""
    value = json.loads(Path(path).read_text())
    data, words = json_bytes(rng, value, where)
    Path(path).write_bytes(data)
    return words


@kind
def prior_json(rng):
    """The metadata of a prior."""
    top = rng.choice(("exact", "exact", "tiny", "text", "grey"))
    copied(top)
    words = damage(rng, f"{top}/prior.json")
    argv = argv_for(rng, top)
    if top in ("exact", "tiny") and rng.chance(0.2):
        argv = program("calibrate", "strokes", "", prior=top, input="stock/photos/a", cache="")
    return Case(argv, (), f"{top}/prior.json: {words}")


@kind
def record_json(rng):
    """The record of a run, in a replay."""
    top = rng.choice(RESULTS)
    copied(top)
    words = damage(rng, f"{top}/record.json")
    return Case(argv_for(rng, top), (), f"{top}/record.json: {words}")


@kind
def run_json(rng):
    """What a training keeps in its workdir, which a later run of it reads."""
    copied("trained")
    Path("trained").rename("out")
    file = rng.choice(("run.json", "run.json", "metrics.jsonl", "checkpoint"))
    if file == "metrics.jsonl":
        data, words = damaged(rng, Path("out", file).read_bytes())
        Path("out", file).write_bytes(data)
    elif file == "checkpoint":
        one = rng.choice([p for p in Path("out/checkpoints").rglob("*") if p.is_file()])
        data, words = damaged(rng, one.read_bytes())
        if rng.chance(0.2):
            one.unlink()
            words = "removed"
        else:
            one.write_bytes(data)
        file = str(one)
    else:
        words = damage(rng, "out/run.json")
    more = rng.choice(({}, {"run__steps": 2}, {"export": True}))
    argv = program("train", "train", **(base_fields("train") | {"name": "tiny"} | more))
    writes = ("out/run.json", "out/metrics.jsonl", "out/events", "out/checkpoints", "out/prior")
    return Case(argv, (), f"{file}: {words}", writes)


@kind
def diffusers_json(rng):
    """The JSON files in a folder of diffusers."""
    top = rng.choice(("text_source", "text_source", "unet2d"))
    copied(top)
    files = [one for one in Path(top).rglob("*.json") if "modules" not in one.name]
    file = rng.choice(sorted(files))
    words = damage(rng, file)
    return Case(argv_for(rng, top), (), f"{file}: {words}")


@kind
def tokenizer_files(rng):
    """The vocabulary and the merges of a tokenizer."""
    top = rng.choice(("text", "text_source"))
    copied(top)
    folder = Path(top, "tokenizer")
    file = rng.choice(sorted(one.name for one in folder.iterdir()))
    if file.endswith(".json") and rng.chance(0.8):
        words = damage(rng, folder / file)
    elif file == "vocab.json" and rng.chance(0.5):
        vocab = json.loads((folder / file).read_text())
        ids = rng.choice(([-1], [10**9], [0, 0], [2**63], [1.5], [True]))
        vocab |= {f"odd{i}": id for i, id in enumerate(ids)}
        (folder / file).write_text(json.dumps(vocab))
        words = f"ids {ids}"
    elif file == "merges.txt" and rng.chance(0.7):
        lines = rng.choice(("a", "a b c", "a b\n" * 10**5, "\0 \0", "z zz", "x" * 10**6 + " y"))
        (folder / file).write_text("#version: 0.2\n" + lines + "\n")
        words = f"lines {lines[:20]!r}"
    else:
        data, words = damaged(rng, (folder / file).read_bytes())
        (folder / file).write_bytes(data)
    return Case(argv_for(rng, top), (), f"{top} {file}: {words}")


PARTS = ("../stock/photo.png", "/etc/passwd", "", ".", "part1.safetensors/", "a\nb", "a\0b", 1)


@kind
def shard_index(rng):
    """The index of weights in several files."""
    copied("unet2d")
    weights = next(Path("unet2d").glob("*.safetensors"))
    for one in Path("unet2d").glob("*.safetensors"):
        if one != weights:
            one.unlink()
    weights.rename("unet2d/part1.safetensors")
    from safetensors import safe_open

    with safe_open("unet2d/part1.safetensors", "np") as file:
        names = list(file.keys())
    index = {"metadata": {"total_size": 1}}
    index["weight_map"] = dict.fromkeys(names, "part1.safetensors")
    how = rng.choice(("json", "json", "name", "more", "fewer"))
    data, words = b"", how
    if how == "name":
        index["weight_map"][rng.choice(names)] = words = rng.choice(PARTS)
    elif how == "more":
        index["weight_map"] |= {rng.choice(("x", "conv_in.weightx", "")): "part1.safetensors"}
    elif how == "fewer":
        index["weight_map"] = dict(list(index["weight_map"].items())[:1])
    else:
        data, words = json_bytes(rng, index)
    stem = "unet2d/diffusion_pytorch_model.safetensors.index.json"
    Path(stem).write_bytes(data or json.dumps(index).encode())
    return Case(argv_for(rng, "unet2d"), (), f"index: {words}")


@kind
def architecture(rng):
    """The file of config.architecture."""
    copied("arch.json")
    words = damage(rng, "arch.json")
    fields = {"source": "stock/tiny.msgpack", "architecture": "arch.json", "check": False}
    return Case(program("convert", "convert", "./out/prior", **fields, cache=""), (), words)


@kind
def prompts_json(rng):
    """The file of config.prompts."""
    value = {"photo": {"prompt": "a red apple", "negative_prompt": "", "scale": 3.0}}
    name = rng.choice(("img2img", "ledits"))
    if name == "ledits":
        value = {"photo": {"prompt": "a", "source_prompt": "b", "concepts": ["+red:5", "-b"]}}
        value["photo"]["masks"] = ["stock/mask.png", ""]
    data, words = json_bytes(rng, value)
    Path("prompts.json").write_bytes(data)
    return with_prompts(name, "prompts.json", words)


@kind
def recipes(rng):
    """A recipe inside a PNG, each field replaced, or in a record."""
    from PIL import Image, PngImagePlugin

    top = rng.choice(RESULTS)
    copied(top)
    file = next(one for one in sorted(Path(top).glob("*.png")) if "sdedit_jax" in text_of(one))
    recipe = json.loads(text_of(file)["sdedit_jax"])
    data, words = recipe_bytes(rng, recipe)
    chunks = PngImagePlugin.PngInfo()
    if rng.chance(0.1):
        chunks.add_text("sdedit_jax", rng.choice(("", "{}", "[]", "null", "{", "x" * 10**6)))
        words = "another text"
    else:
        chunks.add_text("sdedit_jax", data.decode("utf-8", "replace"))
    with Image.open(file) as image:
        image.load()
        image.save(file, pnginfo=chunks)
    argv = program("replay", config_of(top), input=str(file), trust=rng.chance(0.6))
    return Case(argv, (), f"{top}: {words}")


def text_of(file):
    from PIL import Image

    with Image.open(file) as image:
        return dict(image.text)


ODD_FIELDS = {
    "config": (None, {}, [], "strokes"),
    "id": ({}, None, 5, "../../x", "a/b", "x" * 10**5),
    "seed": (-1, 2**64, 1.5, "0", None, True),
    "sample": (-1, 10**20, "0", None, 2**31),
    "place.rows": (10**9, 0, -1, None, "1", 2.5, 10**20, 2**16),
    "place.row": (-1, 5, None, "0", 10**9, True),
    "place.shapes": ({}, [], None, [10**9], {"slots": 10**9}),
    "place.devices": (0, -1, 10**9, None, "all"),
    "config.sampler.repeats": (10**9, -1, 0, 10**20, None),
    "config.sampler.steps": (10**9, 10**20, 0, -1, "1"),
    "config.steps": (10**9, 10**20, 0, -1, "1"),
    "config.feather": (1e9, 10**9, -1, float("nan"), "1"),
    "config.input": ("/**/*", "/dev/zero", "/dev/stdin", "", 5, "/", "**"),
    "config.prior": ("/etc", "/dev/zero", "", None, "hf:a/b", "/proc/self/fd/0"),
    "config.options.mask": ("/dev/zero", "/", None, 5, "/proc/self/fd/0"),
    "config.size": ("100000x100000", "0x0", "-1x1", None, "64", "9" * 5000),
    "config.samples": (10**9, 0, -1, None),
    "config.batch": (10**9, 0, -1, None),
    "config.sampler.rule": ("adaptive", "ancestral(eta=1e999)", None, "(" * 10**4),
    "config.cache": ("/dev/zero", 5, None),
    "environment": (None, [], "x", {"jax": {"a": [1]}}, 5),
    "value": (None, {}, "x", float("nan"), -1, 2, 10**20, 0.3),
    "cut": (None, 5, "../x", "/etc/x", "", "_t0.3_s0"),
    "config.sweep.t0": ([], None, 5, [10**9], ["x"], [0.1] * 10**4),
    "config.sweep.seeds": ([], None, -1, [2**64], [[]], [0, 0]),
    "config.sweep.scale": ([], None, [1e9], {}),
    "config.concepts": ("", None, "+", "+a:1e999", "+a:nan", "-" * 10**4, "+a," * 2000),
    "numbers.skip": (None, -1, 10**9, 0.5, "0"),
    "picture.sha256": (None, 5, "", "0"),
    "guide.sha256": (None, 5, "", "0"),
    "mask": (None, 5, "", [], {}, {"sha256": 5}),
    "prior.sha256": (None, 5, "", {}),
    "prompts": (None, 5, [], {"guided": {}}),
}
"""Fields of a recipe, with values that a record of ours never has."""


def recipe_bytes(rng, recipe):
    """The recipe with a wrong value: (JSON, words)."""
    if rng.chance(0.5):
        new, words = changed(rng, recipe)
        return dumps(new).encode("utf-8", "surrogatepass"), words
    field = rng.choice(ODD_FIELDS)
    value = rng.choice(ODD_FIELDS[field])
    *parts, last = field.split(".")
    inner = recipe
    for part in parts:
        inner = inner.setdefault(part, {})
        if not isinstance(inner, dict):
            return dumps(recipe).encode(), "nothing"
    inner[last] = value
    return dumps(recipe).encode(), f"{field} = {value!r:.60}"


@kind
def clip_json(rng):
    """The folder of CLIP, and other files of features, of an evaluation and a measurement."""
    Path("clip").mkdir()
    value = {"model_type": "clip", "projection_dim": 8, "text_config": {"hidden_size": 8}}
    value["vision_config"] = {"image_size": 16, "patch_size": 8, "hidden_size": 8}
    data, words = json_bytes(rng, value)
    Path("clip/config.json").write_bytes(data)
    if rng.chance(0.5):
        Path("clip/model.safetensors").write_bytes(Path("stock/lpips/alex.pth").read_bytes())
    Path("clip/preprocessor_config.json").write_bytes(json_bytes(rng, {"crop_size": 224})[0])
    mode = rng.choice(("measure", "evaluate"))
    name = "measure" if mode == "measure" else "evaluate_strokes"
    fields = base_fields(name) | {"features__clip": "clip"}
    return Case(program(mode, name, **fields), (), words)
