"""LEDITS end to end: texts to concepts, the program with its records, and the Python API."""

import functools
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pure
import pytest
import text_prior
from PIL import Image
from program import (
    ROOT,
    compiled,
    config_of,
    exact_prior,
    home,
    levels,
    names,
    noted,
    picture,
    recipe,
    refused,
    run,
)
from recorded import arrays, close, settings
from test_edit_mode import shows
from test_replay import replayed, rewrite
from text_prior import SIDE

import sdedit_jax as sj
from sdedit_jax import devices, images
from sdedit_jax.edits import ledits
from sdedit_jax.edits.ledits import PRESETS
from sdedit_jax.guidance.sega import padded
from sdedit_jax.modes import kinds, prompt_files
from sdedit_jax.modes.ledits import FIELDS
from sdedit_jax.pipeline import executor, ledits_settings
from sdedit_jax.pipeline.ledits_settings import Prompts
from sdedit_jax.priors import conditioning
from sdedit_jax.priors.prior import IDENTITY
from sdedit_jax.text import concept_parser as concepts
from sdedit_jax.text.concept_parser import Concept, parse
from sdedit_jax.weights import load

KEY = jax.random.key(3)
ONCE = {"prepare": 1, "init": 3, "advance": 3, "finish": 1}
"""What one program of LEDITS has: its stages are invert, edit and reconstruct."""


# --- concepts, numbers, prompts -------------------------------------------------------------------


def test_concepts_are_read():
    assert parse("") == parse(" ") == parse([]) == ()
    assert parse("+green:7, -dark red") == (
        Concept("green", False, {"scale": 7.0}),
        Concept("dark red", True, {}),
    )
    full = {"scale": 7.0, "warmup": 1.0, "threshold": 0.9}
    assert parse("+a:7:1:.9") == parse("+a:scale=7:warmup=1:threshold=0.9")
    assert parse("+a:7:1:.9")[0].given == full
    assert parse("-a::3")[0].given == {"warmup": 3.0}
    assert parse("+a:kind=object:warmup=1")[0].given == {**full, "scale": 15.0, "threshold": 0.95}
    assert parse(["+smiling dog, grin:5"])[0].text == "smiling dog, grin"
    assert parse("+a:0")[0].given == {"scale": 0.0}
    asked = parse("+green:7:cooldown=20,-red:threshold=0.5")
    assert parse(",".join(map(concepts.as_text, asked))) == asked


def test_quoted_prompts_may_have_commas_and_colons():
    assert parse('+"red, ripe: sweet":7, -green:5') == (
        Concept("red, ripe: sweet", False, {"scale": 7.0}),
        Concept("green", True, {"scale": 5.0}),
    )
    assert parse('+ "a \\"b\\" c" ,-d')[0].text == 'a "b" c'
    assert parse(['-"16:9":scale=2'])[0] == Concept("16:9", True, {"scale": 2.0})
    assert parse('+5" pipe:7,-red') == (
        Concept('5" pipe', False, {"scale": 7.0}),
        Concept("red", True, {}),
    )


def test_the_text_of_a_concept_is_read_back_exactly(rng):
    letters = list("abü林 ,:\"'\\=+-\n\t#")
    for _ in range(300):
        made = []
        for _ in range(rng.integers(1, 4)):
            text = "".join(rng.choice(letters, rng.integers(1, 8)))
            names = rng.choice(concepts.NUMBERS, rng.integers(0, 4), replace=False)
            given = {str(name): float(rng.uniform(0, 1)) for name in names}
            made += [Concept(text, bool(rng.integers(2)), given)] if text.strip() else []
        texts = [concepts.as_text(concept) for concept in made]
        assert parse(",".join(texts)) == parse(texts) == tuple(made)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("green:7", r"'green:7' must begin with \+ \(add\) or - \(remove\)"),
        ("+green:7,red", "'red' must begin with"),
        ("+green,", "'' must begin with"),
        ("+:7", r"'\+:7' has no prompt after its sign"),
        ("+a:much", r"scale in '\+a:much' must be a finite number, got 'much'$"),
        ("+green:7:-red", "warmup in .* at least 0, got '-red'; a comma separates concepts"),
        ('+"red:7', "needs a closing quote, and a colon or comma after it"),
        ('+"red"dish:7', "needs a closing quote, and a colon or comma after it"),
        ('+" ":7', "has no prompt after its sign"),
        (r'+"\q":7', "has an invalid quoted prompt"),
        ("+a:inf", "must be a finite number, got inf"),
        ("+a:1:-2", "warmup in .* must be at least 0, got -2"),
        ("+a:1:2:3", r"threshold in .* must be in \[0, 1\], got 3"),
        ("+a:1:2:0.3:4", "has more numbers than"),
        ("+a:size=4", r"'size' in '\+a:size=4' must be one of \['scale',"),
        ("+a:kind=cat", "kind of .* must be one of"),
        ([3], "must be a string or a list of strings"),
        ({"+green": 7}, "must be a string or a list of strings"),
    ],
)
def test_bad_concepts_are_refused_in_one_line(text, told):
    with pytest.raises(ValueError, match=told):
        parse(text)


def test_numbers_replace_those_of_a_preset():
    made = ledits_settings.recipe(
        "ledits-app", {"steps": 14, "skip": 5.0, "target_scale": 7.5, "t0": None}
    )
    assert (made.n, made.skip, made.target_scale, made.source_scale) == (14, 5, 7.5, 3.5)
    made = ledits_settings.recipe("ledits", {"t0": 0.3, "threshold": 0.5})
    assert made.t0 == 0.3 and made.concept["threshold"] == 0.5 and made.concept["scale"] == 7


@pytest.mark.parametrize(
    ("given", "scales"),
    [({}, [15, 7, 3]), ({"scale": 4.0}, [4, 4, 3]), ({"warmup": 2}, [15, 7, 3])],
)
def test_a_preset_may_remove_at_another_scale(given, scales):
    """Preset `cog-ledits`; what the user says goes before, for all concepts or for one."""
    made, prior = (
        ledits_settings.recipe("cog-ledits", given),
        load.load_prior(text_prior.text_prior()),
    )
    many = ledits_settings.rows(
        prior, made, parse("+a,-b,-c:3"), lambda text: np.zeros((8, 2)), None, (16, 16)
    )
    assert many.scale.tolist() == scales
    assert ledits_settings.summary(made).get("removal", {}) == (
        {} if "scale" in given else {"scale": 7}
    )


@pytest.mark.parametrize(
    ("preset", "numbers", "told"),
    [
        ("ledit", {}, "preset must be one of"),
        ("ledits", {"skip": 3}, r"skip: preset 'ledits' takes \['steps', 't0'\] instead, got 3"),
        ("ledits-app", {"t0": 0.3}, "t0: preset 'ledits-app' takes"),
        ("ledits-app", {"skip": 3.5}, "skip must be a whole number of at least 0, got 3.5"),
        ("leditspp-diffusers", {"skip": 2}, "skip must be a share of the steps"),
        ("ledits", {"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ("ledits", {"t0": 2}, "t0 must be in"),
        ("ledits", {"threshold": 1.5}, r"threshold must be in \[0, 1\], got 1.5"),
        ("ledits", {"intersect_to": 0.5}, "intersect_to: preset 'ledits' has no two masks"),
        ("leditspp", {"target_scale": 3.0}, "target_scale: preset 'leditspp' takes no target"),
        ("leditspp", {"beta": 0.5}, "beta: the concepts of preset 'leditspp' have none"),
        ("ddpm-inversion-paper", {"scale": 2.0}, "scale: the concepts of preset"),
    ],
)
def test_numbers_that_a_preset_does_not_take(preset, numbers, told):
    with pytest.raises(ValueError, match=told):
        ledits_settings.recipe(preset, numbers)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_summary_has_the_numbers_that_are_used(preset):
    made = ledits_settings.recipe(preset, {})
    told = ledits_settings.summary(made)
    assert ("t0" in told) == (preset in ("ledits", "leditspp", "ddim-inversion"))
    assert ("intersect_to" in told) == (made.guidance == "intersect")
    assert ("target_scale" in told) == (made.guidance not in ("intersect", "noise"))


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"concepts": 5}, "concepts of 'x' in .* must be texts, got 5"),
        ({"concepts": {"+a": 3}}, "concepts of 'x' in .* must be texts"),
        ({"prompt": 0}, "prompt of 'x' in .* must be a text, got 0"),
        ({"prompt": ["a"]}, "prompt of 'x' in .* must be a text"),
        ({"masks": ["a.png", 3]}, "masks of 'x' in .* must be texts"),
        ({"mask": "a.png"}, "must be an object of"),
    ],
)
def test_a_prompts_file_of_other_types(tmp_path, entry, told):
    file = tmp_path / "prompts.json"
    file.write_text(json.dumps({"x": {"prompt": None, "masks": [None, "b.png"]}}))
    assert prompt_files.read(str(file), FIELDS) == {"x": {"prompt": "", "masks": ["", "b.png"]}}
    file.write_text(json.dumps({"x": entry}))
    with pytest.raises(ValueError, match=told):
        prompt_files.read(str(file), FIELDS)


# --- the originals' runs with our networks --------------------------------------------------------


@functools.cache
def original(folder, attention=None):
    """The goldens' pipeline, converted once; it has no name outside of the tests."""
    return load.load_prior(converted(folder), attention=attention)


@functools.cache
def converted(folder):
    made = home() / Path(folder).name
    sj.convert(folder, made, check=False)
    return str(made)


def test_the_demo_end_to_end(golden):
    """Preset `ledits-app`: tokenizer, text encoder, VAE, U-Net, inversion from the recorded noises,
    concepts: the last latent of the original's run."""
    prior = original(str(golden("sd_tiny")))
    file, case = golden("io_ledits.npz"), "combined"
    setting, a, start = (
        settings(file, case),
        arrays(file, case + "__"),
        arrays(file, "inv_uncond__"),
    )
    p, n = setting["params"], len(start["zs"])
    made = ledits_settings.recipe("ledits-app", {"steps": n, "skip": setting["skip"]})
    made = made._replace(target_scale=float(setting["guidance_scale"]))
    asked = tuple(
        Concept(text, False, {"scale": s, "warmup": w, "threshold": q})
        for text, s, w, q in zip(
            setting["editing_prompt"], p["edit_guidance_scale"], p["edit_warmup_steps"],
            p["edit_threshold"], strict=True,
        )
    )  # fmt: skip
    with np.load(file) as stored:
        image = np.moveaxis(stored["image_uint8"][0], 0, -1).astype(np.float32) / 127.5 - 1
    x0 = jax.jit(prior.codec.encode)(prior.params, image)
    close(x0, arrays(file, "x0")[""], 2e-5)
    embed = functools.cache(lambda text: conditioning.embedding(prior, text))
    prompts = Prompts("", setting["prompt"], "", asked)
    request = ledits_settings.request(prior, made, prompts, x0, embed, guided=True)
    request = request._replace(noises=start["noise_t_ascending"][::-1])
    plan = ledits.plan(prior.replace(codec=IDENTITY), made)  # from latents to latents

    @jax.jit
    def states(params, request):
        found = pure.invert(plan)(params, request, KEY)
        return found, pure.replay(plan)(params, request, found)

    found, last = states(prior.params, request)
    close(found.zs, start["zs"][plan.skip :], 1e-4)
    close(last, a["latents"][-1], 1e-4)


@pytest.mark.parametrize(
    ("case", "start", "skip"),
    [("dpm_edit_default", "dpm_inv", 0.2), ("dpm_edit3_src", "dpm_inv_src", 0.15)],
)
def test_leditspp_of_diffusers_end_to_end(golden, case, start, skip):
    """Preset `leditspp-diffusers`: masks from the U-Net's own attention at a quarter of the
    latent's sides, maps of our inversion; one concept, then three after a source text."""
    prior = original(str(golden("sd_tiny")), attention=4)
    file = golden("io_leditspp.npz")
    source, first, a = settings(file, start), arrays(file, start + "__"), arrays(file, case + "__")
    told, p = settings(file, case), settings(file, case)["params"]
    texts = told["editing_prompt"]
    scales = np.broadcast_to(p["edit_guidance_scale"], len(texts))
    signs = np.broadcast_to(p.get("reverse_editing_direction", False), len(texts))
    asked = tuple(
        Concept(text, bool(sign), {"scale": float(scale)})
        for text, sign, scale in zip(texts, signs, scales, strict=True)
    )
    numbers = {"steps": 10, "skip": skip, "threshold": p["edit_threshold"]}
    made = ledits_settings.recipe("leditspp-diffusers", numbers)
    embed = functools.cache(lambda text: conditioning.embedding(prior, text))
    prompts = Prompts(source["source_prompt"], "", p.get("negative_prompt", ""), asked)
    request = ledits_settings.request(prior, made, prompts, first["x0"], embed, guided=True)
    plan = ledits.plan(prior.replace(codec=IDENTITY), made)
    noises = first["noise_t_ascending"][::-1]
    noises = np.concatenate([np.zeros((plan.skip, *noises.shape[1:]), np.float32), noises])
    run = jax.jit(pure.edit_inverted(plan))
    close(run(prior.params, request._replace(noises=noises), KEY), a["latents"][-1], 1e-4)


# --- the program ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name in ("one", "two", "three"):
        pixels = rng.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, : SIDE // 2] = 255
    Image.fromarray(mask).save(folder.parent / "half.png")
    return folder


def asked(photos, /, **changes):
    few = {"prior": text_prior.text_prior(), "batch": 2, "devices": 1, "steps": 2}
    return config_of("ledits", **{**few, "input": str(photos), "concepts": "+cat:7:0", **changes})


def twice(photos, /, **changes):
    """One photo twice, two concepts, one in a region: the tests that ask this share a program."""
    fields = {"samples": 2, "concepts": "+cat:7:0,-dog:3:0"}
    fields["masks"] = str(photos.parent / "half.png")
    return asked(photos / "one.png", **fields | changes)


def test_a_run_edits_every_photo_in_one_program(photos, tmp_path, capsys):
    """Three photos in batches of two, each with prompts of its own; the way back is exact."""
    file = tmp_path / "prompts.json"
    half = str(photos.parent / "half.png#ffffff")  # a region of a map
    own = {"two": {"concepts": "+dog:3:1:0.5,-cat", "masks": half, "source_prompt": "a cat"}}
    file.write_text(json.dumps(own))
    out = tmp_path / "out"
    with compiled() as parts:
        assert run(asked(photos, prompts=str(file), prompt="a cat"), out) == 0
    # for all batches and prompts
    assert {part: parts.count(part) for part in parts} == ONCE
    ends = ("edit", "photo", "reconstruction")
    wanted = [f"{name}_{end}.png" for name in ("one", "two", "three") for end in ends]
    assert names(out) == sorted([*wanted, "two_mask_1.png", "record.json", "sheet.png"])
    body = noted(out)
    assert body["preset"] == "ledits" and body["numbers"]["steps"] == 2
    for entry in body["pictures"]:
        back = entry["reconstruction"]
        assert back["latent_error"] <= 1e-5 * max(back["latent_largest"], 1)
        assert abs(back["rms"] - back["rms_of_the_autoencoder_alone"]) < 1e-3
    told = {entry["id"]: entry["prompts"] for entry in body["pictures"]}
    assert told["two"]["concepts"] == ["+dog:scale=3:warmup=1:threshold=0.5", "-cat"]
    assert told["one"]["concepts"] == ["+cat:scale=7:warmup=0"]
    assert recipe(out / "two_edit.png")["prompts"]["masks"] == [half]
    again = config_of("base", input=str(out / "two_edit.png"), trust=True, devices=1)
    file.unlink()
    assert run(again, tmp_path / "again", "replay") == 0
    (photos.parent / "half.png").rename(tmp_path / "moved.png")
    assert run(again, tmp_path / "beside", "replay") == 0  # from two_photo.png and two_mask_1.png
    (out / "two_mask_1.png").unlink()
    assert "half.png: no such file" in refused(again, tmp_path / "gone", "replay")
    (tmp_path / "moved.png").rename(photos.parent / "half.png")
    shown = capsys.readouterr().out
    assert "verdict   bit-equal" in shown
    assert "maps      2 of 8x8x4 for 2 photos, kept by device: 0.00 MB on the device" in shown
    assert "'a cat' to 'a cat', +dog:scale=3:warmup=1:threshold=0.5,-cat" in shown


@pytest.fixture
def own_numbers(tmp_path):
    """A function that puts numbers for LEDITS into the metadata of one folder of a prior."""
    folder = tmp_path / "own"
    shutil.copytree(text_prior.text_prior(), folder)
    plain = json.loads((folder / "prior.json").read_text())

    def put(numbers):
        own = {} if numbers is None else {"ledits": numbers}
        (folder / "prior.json").write_text(json.dumps({**plain, **own}))
        return str(folder)

    return put


def test_a_prior_has_defaults_of_its_own(own_numbers, photos, tmp_path, capsys):
    """They act as if they were given; what is given, for all concepts or one, goes before them."""
    prior = own_numbers({"ledits": {"threshold": 0.5}, "leditspp": {"threshold": 0.25}})

    def made(name, **changes):
        assert run(twice(photos, **{"prior": prior, **changes}), tmp_path / name) == 0
        numbers = noted(tmp_path / name)["numbers"]["concept"]
        return picture(tmp_path / name / "one_edit_0.png"), numbers["threshold"]

    own, threshold = made("own")
    assert threshold == 0.5
    assert "defaults  threshold 0.5, as stored with the prior" in capsys.readouterr().out
    assert np.array_equal(own, made("given", prior=text_prior.text_prior(), threshold=0.5)[0])
    other, threshold = made("other", threshold=0.75)
    assert threshold == 0.75 and levels(own, other) > 0
    assert "defaults  " not in capsys.readouterr().out
    loaded = load.load_prior(prior)
    for preset, wanted in (("leditspp", 0.25), ("ledits-app", 0.95)):  # the last has no numbers
        resolved = ledits_settings.resolve(loaded, preset, {})
        assert resolved.recipe.concept["threshold"] == wanted


def test_a_replay_has_the_defaults_of_its_recipe(own_numbers, photos, tmp_path, capsys):
    """Whatever the prior stores now; recipes that are older than such defaults know none."""
    config = twice(photos, prior=own_numbers({"ledits": {"threshold": 0.5}}))
    assert run(config, tmp_path / "new") == 0
    own_numbers(None)
    assert run(config, tmp_path / "old") == 0
    own_numbers({"ledits": {"threshold": 0.1}})
    old = tmp_path / "old" / "one_edit_0.png"
    rewrite(old, recipe=lambda found: {k: v for k, v in found.items() if k != "defaults"})
    for folder in ("new", "old"):
        code, told = replayed(tmp_path / folder / "one_edit_0.png", capsys)
        assert code == 0 and "bit-equal" in told


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ({"ledits": {"treshold": 0.5}}, r"prior: ledits must be .*number: value.*, got"),
        ({"ledits": {"threshold": "0.5"}}, "ledits.threshold must be a number, got '0.5'"),
        ({"ledits": {"threshold": 5}}, r"prior: ledits: threshold must be in \[0, 1\], got 5"),
        ([1], r"ledits must be an object, got"),
    ],
)
def test_bad_defaults_of_a_prior(numbers, told, own_numbers):
    with pytest.raises(ValueError, match=told):
        ledits_settings.resolve(load.load_prior(own_numbers(numbers)), "ledits", {})


def test_the_included_text_prior_has_defaults():
    """They are read from the folder of diffusers, and are those that its config trains."""
    prior = load.load_prior(ROOT / "checkpoints" / "fruits64-text")
    wanted = {"ledits": {"threshold": 0.8}, "leditspp": {"threshold": 0.5}}
    assert prior.metadata["ledits"] == wanted
    assert config_of("train_text").ledits.to_dict() == wanted


def test_samples_and_the_size_of_the_input(photos, tmp_path):
    """Two samples of a photo of another size, each with an inversion of its own, pasted into it."""
    wide = np.random.default_rng(1).integers(0, 255, (SIDE, 2 * SIDE, 3)).astype(np.uint8)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    half = np.zeros(wide.shape[:2], np.uint8)
    half[:, :SIDE] = 255
    Image.fromarray(half).save(tmp_path / "half.png")
    own = {"input": str(tmp_path / "wide.png"), "masks": str(tmp_path / "half.png")}
    config = twice(photos, output="original", **own)
    assert run(config, tmp_path / "out") == 0
    made = [picture(tmp_path / "out" / f"wide_edit_{k}.png") for k in (0, 1)]
    assert names(tmp_path / "out") == [
        "record.json", "sheet.png", "wide_edit_0.png", "wide_edit_1.png", "wide_mask_1.png",
        "wide_photo.png", "wide_reconstruction.png",
    ]  # fmt: skip
    assert levels(*made) > 0
    for k, edited in enumerate(made):
        assert edited.shape == wide.shape
        outside = [slice(SIDE // 2), slice(-SIDE // 2, None)]  # what the fit crops away
        for part in outside:
            np.testing.assert_array_equal(edited[:, part], wide[:, part])
        assert recipe(tmp_path / "out" / f"wide_edit_{k}.png")["sample"] == k
    again = config_of(
        "base", input=str(tmp_path / "out" / "wide_edit_1.png"), trust=True, devices=1
    )
    assert run(again, tmp_path / "again", "replay") == 0


def test_a_sweep_of_the_scale_is_one_program(photos, tmp_path, capsys):
    config = twice(photos, sheet_scale=1)
    config.sweep.scale, config.sweep.seeds = (3.0, 9.0), (0, 4)
    with compiled() as parts:
        assert run(config, tmp_path / "sweep", "sweep") == 0
    assert max(map(parts.count, parts), default=0) <= 3
    cells = [f"one_scale{scale}_s{seed}.png" for scale in (3, 9) for seed in (0, 4)]
    beside = [f"one_{end}.png" for end in ("mask_1", "photo", "reconstruction", "sweep")]
    assert names(tmp_path / "sweep") == sorted([*cells, *beside, "record.json"])
    sheet = picture(tmp_path / "sweep" / "one_sweep.png")
    for name in [*cells, "one_photo.png", "one_reconstruction.png"]:
        assert shows(sheet, picture(tmp_path / "sweep" / name))
    mask = picture(tmp_path / "sweep" / "one_mask_1.png")
    assert shows(sheet, np.repeat(mask[..., None], 3, axis=-1))
    assert [entry["scale"] for entry in noted(tmp_path / "sweep")["pictures"]] == [3, 3, 9, 9]
    one = twice(photos, concepts="+cat:9:0,-dog:9:0", seed=4)
    assert run(one, tmp_path / "one") == 0
    cell = picture(tmp_path / "sweep" / "one_scale9_s4.png")
    assert levels(picture(tmp_path / "one" / "one_edit_0.png"), cell) <= 1
    capsys.readouterr()
    file = tmp_path / "sweep" / "one_scale9_s4.png"
    again = config_of("base", input=str(file), trust=True, devices=1)
    assert run(again, tmp_path / "again", "replay") == 0
    assert "bit-equal" in capsys.readouterr().out
    config.sweep.scale = (3.0, 3.0)
    assert "sweep.scale must be distinct" in refused(config, tmp_path / "no", "sweep")
    config.sweep.scale = (float("nan"),)
    assert "must be a finite number" in refused(config, tmp_path / "no", "sweep")
    config.sweep.scale = ("big",)
    told = refused(config, tmp_path / "no", "sweep")
    assert told == "sweep.scale[0] must be a number, got 'big'"


def test_where_the_maps_are_kept_changes_nothing(photos, tmp_path):
    """`test_executor.py` compares all places; here the program hands the place on."""
    for where in ("device", "keys"):
        assert run(twice(photos, maps=where), tmp_path / where) == 0
    for cut in ("_edit_0", "_edit_1"):
        made = [picture(tmp_path / where / f"one{cut}.png") for where in ("device", "keys")]
        assert levels(*made) <= 1
    for entry in noted(tmp_path / "keys")["pictures"]:
        assert entry["reconstruction"]["latent_error"] < 1e-5
    assert kinds.open_kind(twice(photos, maps="host")).resolved.plan.keep == "host"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"prior": None}, "prior: the prior does not read texts (exact)"),
        ({"concepts": "green"}, "concepts: 'green' must begin with"),
        ({"preset": "leditspp", "prompt": "a"}, "prompt: LEDITS++ takes concepts alone"),
        ({"preset": "ddpm-inversion-paper", "skip": 0.0}, "concepts: this preset takes none"),
        ({"concepts": ""}, "prompt, concepts: nothing would change; give a prompt or concepts"),
        ({"concepts": "", "preset": "leditspp"}, "nothing would change; give concepts such as"),
        (
            {"concepts": "", "preset": "ddpm-inversion-paper", "skip": 0.0},
            "nothing would change; give a prompt",
        ),
        ({"preset": "ledits-app", "skip": 2.0}, "skip must be in [0, 1] of 2 steps, got 2"),
        ({"maps": "disk"}, "maps must be one of ['device', 'host', 'keys'], got 'disk'"),
        ({"masks": "a.png,b.png"}, "masks: one for each of 1 concept at most"),
        ({"prompts": "nowhere.json"}, "prompts: cannot read nowhere.json"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"sheet_scale": -1}, "sheet_scale must be at least 0, got -1"),
        ({"devices": 99, "maps": "host"}, "devices must be"),
        ({"masks": "black.png"}, "black.png is black everywhere; white marks what may change"),
    ],
)
def test_bad_fields_are_refused_in_one_line(changes, told, photos, tmp_path):
    if "masks" in changes and "black" in changes["masks"]:
        file = photos.parent / "black.png"
        Image.fromarray(np.zeros((SIDE, SIDE), np.uint8)).save(file)
        changes = {"masks": str(file)}
    if changes.get("prior", "") is None:
        changes = {**changes, "prior": exact_prior()}
    assert told in refused(asked(photos, **changes), tmp_path / "out")


def test_numbers_have_an_effect_on_one_photo_of_a_file_of_prompts(photos, tmp_path):
    file = tmp_path / "prompts.json"
    changes = {"prompts": str(file), "source_scale": 2.0}
    file.write_text(json.dumps({"one": {"concepts": "+a cat"}}))
    told = "source_scale: it has no effect without source_prompt"
    assert told in refused(asked(photos, **changes), tmp_path / "out")
    file.write_text(json.dumps({"one": {"source_prompt": "a", "concepts": "green"}}))
    told = f"prompts: 'one' in {file}: concepts: 'green' must begin with"
    assert told in refused(asked(photos, **changes), tmp_path / "out")
    file.write_text(json.dumps({"one": {"source_prompt": "a", "concepts": "+a cat"}}))
    assert kinds.open_kind(asked(photos, **changes), [photos / "one.png"]).own


# --- the Python API -------------------------------------------------------------------------------

FEW = {"steps": 2, "size": (10, 14)}
EDIT = {**FEW, "slots": 2, "details": True}
"""Settings of the edits below, which share a program; latents of 5 x 7."""


def test_prompts_and_numbers_compile_nothing(photos):
    before = picture(photos / "one.png")
    prior = load.load_prior(text_prior.text_prior())
    mask = np.zeros((SIDE, SIDE), bool)
    mask[:4] = True

    def edit(*prompts, **changes):
        return sj.ledits(prior, before, *prompts, **EDIT, **changes).image

    first = edit("+cat:7:0")
    edit("+cat:7:0", "", "a dog")  # with a source prompt the inversion is another program
    with compiled() as parts:
        others = [
            edit("+dog:7:0"),
            edit("+cat:9:0:0.2", "a dog", "a cat", t0=0.4),
            edit("+cat:7:0,-dog:4:0", source_scale=2.0, source_prompt="a"),
            edit("+cat:7:0", mask=mask),
            edit("", "a dog", seed=4, target_scale=3.0),
        ]
        for same in (mask[..., None], jnp.asarray(mask), [mask]):
            assert np.array_equal(edit("+cat:7:0", mask=same), others[3])
    assert not parts
    assert all(levels(other, first) > 0 for other in others)
    inverted = sj.invert(prior, before, **FEW)
    assert inverted.zs.shape == (2, 5, 7, 4)
    again = sj.ledits(prior, before, "+cat:7:0", slots=2, inverted=inverted, **FEW)
    assert levels(again, first) <= 1
    for image, changes, told in (
        (before, {"steps": 3}, r"made with steps 2 \(here 3\)"),
        (before, {"t0": 0.4}, "made with t0 0.64"),
        (before, {"preset": "leditspp"}, "made with preset ledits"),
        (255 - before, {}, "made with photo"),
    ):
        with pytest.raises(ValueError, match=told):
            sj.ledits(prior, image, "+cat", inverted=inverted, **FEW | changes)
    with pytest.raises(ValueError, match="mask is black everywhere"):
        sj.ledits(prior, before, "+cat", steps=2, mask=np.zeros((SIDE, SIDE), bool))
    for given, told in (
        ({"concepts": "+cat", "source_scale": 2.0}, "source_scale: .* without source_prompt"),
        ({"concepts": "+cat", "target_scale": 2.0}, "target_scale: .* without prompt or negative"),
        ({"prompt": "cat", "warmup": 2}, "warmup: it has no effect without concepts"),
        ({"prompt": "cat", "target_scale": 0.0}, "prompt: 'cat' has no effect at target_scale 0"),
        (
            {"prompt": "a", "negative_prompt": "b", "target_scale": 1.0},
            "negative_prompt: 'b' has no effect at target_scale 1 without concepts",
        ),
    ):
        with pytest.raises(ValueError, match=told):
            sj.ledits(prior, before, steps=2, **given)
    with pytest.raises(ValueError, match="source_scale: it has no effect without source_prompt"):
        sj.invert(prior, before, steps=2, source_scale=2.0)
    with pytest.raises(ValueError, match="size must be .*multiples of 2, got 3"):
        sj.ledits(prior, before, "+cat", size=3)
    with pytest.raises(TypeError, match="unexpected argument 'treshold'; did you mean 'threshold'"):
        sj.ledits(prior, before, "+cat", treshold=0.5)


def test_details_samples_and_a_batch(photos):
    before = np.stack([picture(photos / f"{name}.png") for name in ("one", "two")])
    prior = load.load_prior(text_prior.text_prior())
    one = sj.ledits(prior, before[0], "+cat:7:0", **EDIT)
    assert isinstance(one, sj.api.Ledits)
    assert one.image.shape == one.reconstruction.shape == (10, 14, 3)
    assert one.masks.shape == (2, 10, 14) and 0 <= one.masks.min() <= one.masks.max() <= 1
    alone = sj.ledits(prior, before[1], "+cat:7:0", seed=5, **EDIT)
    own = {**FEW, "slots": 2, "devices": 1}
    many = sj.ledits(prior, before, "+cat:7:0", samples=1, seed=[0, 5], **own)
    assert many.shape == (2, 1, 10, 14, 3)
    assert levels(many[0, 0], one.image) <= 1
    assert levels(many[1, 0], alone.image) <= 1
    found = sj.invert(prior, before, **FEW, batch=1)
    assert found.zs.shape == (2, 2, 5, 7, 4) and len(found.of) == 2
    again = sj.ledits(prior, before, "+cat:7:0", inverted=found, batch=1, **own)
    assert levels(again[0], one.image) <= 1


def test_prompts_as_embeddings(photos):
    """They act as their texts do."""
    prior, before = load.load_prior(text_prior.text_prior()), picture(photos / "one.png")
    texts = ("a cat", "a dog", "b")
    embedded = (np.asarray(conditioning.embedding(prior, text)) for text in texts)
    got, wanted = (
        sj.ledits(prior, before, "+a:7:0", *given, **EDIT).image for given in (embedded, texts)
    )
    np.testing.assert_array_equal(got, wanted)


def test_warnings_of_texts_point_to_the_caller(photos):
    before, prior = picture(photos / "one.png"), load.load_prior(text_prior.text_prior())
    calls = [
        lambda: sj.ledits(prior, before, "+cat:7:0", **EDIT),
        lambda: sj.text_edit(prior, before, "a cat", steps=2),
        lambda: next(sj.stream(sj.ledits, prior, before, "+cat:7:0", **EDIT)),
    ]
    for call in calls:
        with pytest.warns(UserWarning, match="has never seen 'cat'") as caught:
            call()
        assert [warning.filename for warning in caught] == [__file__]


def test_a_stream_has_the_three_stages(photos):
    before = picture(photos / "one.png")
    prior = load.load_prior(text_prior.text_prior())
    events = list(sj.stream(sj.ledits, prior, before, "+cat:7:0", preview_every=2, **EDIT))
    *events, done = events
    assert [(e.stage, e.step, e.steps) for e in events] == [
        (stage, step, 2) for stage in ("invert", "edit", "reconstruct") for step in (1, 2)
    ]
    # the edit asks four times a step: prompt, negative prompt and two rows of concepts
    assert [event.evaluations for event in events] == [1, 2, 6, 10, 11, 12]
    assert {event.total for event in events} == {12}
    assert [event.preview is not None for event in events] == [False, True] * 3
    assert all(event.preview.shape == (1, 10, 14, 3) for event in events[1::2])
    np.testing.assert_array_equal(
        done.result.image, sj.ledits(prior, before, "+cat:7:0", **EDIT).image
    )


@pytest.mark.parametrize(
    ("given", "inversion"),
    [({}, 1), ({"source_prompt": "a", "source_scale": 1.0}, 1), ({"source_prompt": "a"}, 2)],
)
def test_the_network_is_evaluated_no_more_often_than_needed(photos, given, inversion):
    """Without guidance once a step of the inversion and of the reconstruction."""
    prior, calls = load.load_prior(text_prior.text_prior()), []

    def predict(params, x, t, cond=None, key=None):
        jax.debug.callback(lambda _: calls.append(1), jnp.sum(cond))  # for each text of a batch
        return prior.predict(params, x, t, cond, key)

    counted = prior.replace(predict=predict)
    before = picture(photos / "one.png")
    events = sj.stream(sj.ledits, counted, before, "+cat:7:0", **EDIT, **given)
    totals = [event.total for event in events if isinstance(event, sj.Event)]
    jax.effects_barrier()
    assert len(calls) == totals[0] == EDIT["steps"] * (inversion + 4 + inversion)


def test_an_inversion_without_guidance_is_one_whose_guidance_does_nothing(photos):
    """eps + s (eps - eps) = eps: both plans give the maps and the edit up to rounding."""
    prior = load.load_prior(text_prior.text_prior())
    resolved = ledits_settings.resolve(prior, "ledits", {"steps": 3})
    photo = images.to_unit(picture(photos / "one.png"))
    given = (prior, resolved.recipe, Prompts(prompt="a dog"), photo, resolved.embed)
    made = []
    for guided in (True, False):
        request = ledits_settings.request(*given, guided=guided)
        rows = devices.stack([request._replace(t0=np.float32(0.5))])
        pipeline = resolved.pipeline(0, guided)
        run = executor.run(pipeline, prior.params, rows, jax.random.key(0)[None], keep_maps=True)
        made.append(executor.finish(run))
    for name in ("image", "reconstruction"):
        pair = (getattr(done.result, name) for done in made)
        np.testing.assert_allclose(*pair, rtol=0, atol=1e-4)
    np.testing.assert_allclose(*(done.maps["invert"] for done in made), rtol=0, atol=1e-3)


@pytest.mark.parametrize("preset", ["ledits", "leditspp"])
def test_latents_of_odd_sides(photos, preset):
    """Latents of 5 x 7: the reconstruction is the photo through the autoencoder, and the concept
    acts somewhere, not everywhere."""
    prior, photo = load.load_prior(text_prior.text_prior()), str(photos / "one.png")
    made = sj.ledits(prior, photo, "+a:9:0", preset=preset, threshold=0.5, **EDIT)
    assert made.image.shape == (10, 14, 3) and made.masks.shape == (2, 10, 14)
    assert levels(made.image, made.reconstruction) > 0 and 0 < made.masks[0].mean() < 1
    fitted = images.fit(picture(photos / "one.png"), (10, 14))[0]
    latent = prior.codec.encode(prior.params, images.to_unit(fitted))
    assert latent.shape == (5, 7, 4)
    back = images.from_unit(np.asarray(prior.codec.decode(prior.params, latent)))
    assert levels(made.reconstruction, back) <= 1


def test_maps_and_masks_that_do_not_fit_are_refused(photos):
    """Each before anything runs, in a line that names the argument."""
    prior, one = sj.load_prior(text_prior.text_prior()), picture(photos / "one.png")
    zeros = np.zeros((2, 5, 7, 4), np.float32)
    maps = sj.invert(prior, one, **FEW)
    other = maps._replace(of={**maps.of, "prior": "another"})
    half = np.zeros(one.shape[:2], bool)
    half[:8] = True
    cases = [
        ({"inverted": maps, "maps": "keys"}, ValueError, "inverted: "),
        ({"inverted": maps, "samples": 2}, ValueError, "inverted: "),
        ({"inverted": (zeros[0], zeros)}, TypeError, "inverted must be the Maps"),
        ({"inverted": other}, ValueError, "inverted: .*prior another"),
        ({"inverted": maps._replace(x=zeros[0, 1:])}, ValueError, "inverted: "),
        ({"inverted": maps._replace(of=[maps.of] * 2)}, ValueError, "inverted: .* 2 photo"),
        ({"maps": "disk"}, ValueError, "maps must be one of"),
        ({"mask": half, "concepts": ""}, ValueError, "mask: there are no concepts"),
        ({"concepts": ""}, ValueError, "prompt, concepts: nothing would change; give a prompt or"),
        ({"mask": [[half], [half]]}, ValueError, "mask: one list for each of 1"),
    ]
    for changes, error, told in cases:
        with pytest.raises(error, match=f"^{told}"):
            sj.ledits(prior, one, **{"concepts": "+cat", **FEW, **changes})


def test_a_sweep_without_concepts_is_refused(photos, tmp_path):
    told = refused(asked(photos, concepts=""), tmp_path / "out", "sweep")
    assert told.startswith("concepts: a sweep varies their scale")


def test_padded_rows_hold_what_was_asked():
    prior = load.load_prior(text_prior.text_prior())
    made = ledits_settings.recipe("leditspp", {})
    embed = functools.cache(lambda text: conditioning.embedding(prior, text))
    prompts = Prompts(concepts=parse("+a cat:7,-dog:threshold=0.5"))
    wide = ledits_settings.request(
        prior, made, prompts, jnp.zeros((8, 8, 4)), embed, guided=False, slots=4
    )
    many = wide.target.concepts
    np.testing.assert_array_equal(many.active, [1, 1, 0, 0])
    np.testing.assert_array_equal(many.scale[:2], [7, 5])
    np.testing.assert_allclose(many.threshold[:2], [0.9, 0.5])
    np.testing.assert_array_equal(many.reverse[:2], [0, 1])
    np.testing.assert_array_equal(many.tokens.sum(1)[:2], [4, 3])  # a letter is a token here
    assert not many.tokens[:, 0].any()
    narrow = ledits_settings.request(
        prior, made, prompts, jnp.zeros((8, 8, 4)), embed, guided=False
    )
    assert text_prior.leaves_equal(padded(narrow.target.concepts, 4), many)


def test_an_inpainting_network_is_refused():
    prior = load.load_prior(text_prior.text_prior())
    nine = prior.replace(prepare_cond=lambda *given: None)
    with pytest.raises(ValueError, match="prior: .* is an inpainting network"):
        sj.ledits(nine, np.zeros((SIDE, SIDE, 3), np.uint8), "+cat:7")
