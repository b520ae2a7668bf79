"""--mode=replay: the picture again from its recipe, and what is said when something differs."""

import json
import shutil
import sys

import jax
import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from program import (
    ROOT,
    config_of,
    known,
    names,
    noted,
    picture,
    recipe,
    refused,
    run,
    small,
    tiny_card,
    tiny_params,
    tiny_prior,
)

from sdedit_jax import images
from sdedit_jax.modes import check, kinds, sdedit
from sdedit_jax.pipeline import recipes
from sdedit_jax.pipeline.executor import PROGRAMS
from sdedit_jax.weights import store


def inpainting(folder, **changes):
    """A config that edits the photos of a folder by the masks of the example."""
    mask = str(ROOT / "examples/inpaint/masks")
    return small("inpaint", input=str(folder), **{"options__mask": mask, **changes})


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A folder with results of an edit whose input is in another folder."""
    monkeypatch.chdir(ROOT)
    (tmp_path / "in").mkdir()
    shutil.copy("examples/inpaint/apple.webp", tmp_path / "in")
    assert run(inpainting(tmp_path / "in"), tmp_path / "out") == 0
    return tmp_path / "out"


def replayed(file, capsys, workdir=None, **changes):
    """(exit code, what was printed) of a replay."""
    capsys.readouterr()
    config = config_of("base", **{"input": str(file), "trust": True, **changes})
    code = run(config, workdir, "replay")
    return code, capsys.readouterr().out


def rewrite(file, pixels=None, recipe=None):
    """Put other pixels or another recipe into a result."""
    image = Image.open(file)
    text = PngInfo()
    for key, value in image.text.items():
        new = json.dumps(recipe(json.loads(value))) if recipe and key == "sdedit_jax" else value
        text.add_text(key, new)
    Image.fromarray(np.asarray(image) if pixels is None else pixels).save(file, pnginfo=text)


def test_a_result_comes_out_bit_equal(made, capsys):
    PROGRAMS.clear()  # compiled anew, as another run of the program does
    code, told = replayed(made / "apple_1.png", capsys)
    assert code == 0 and "bit-equal" in told
    assert "differs" not in told and "note" not in told


def test_the_replayed_picture_is_written_where_asked(made, capsys, tmp_path):
    code, _ = replayed(made / "apple_0.png", capsys, tmp_path / "again")
    assert code == 0
    assert names(tmp_path / "again") == ["apple_0.png"]
    again = picture(tmp_path / "again" / "apple_0.png")
    np.testing.assert_array_equal(again, picture(made / "apple_0.png"))
    # a replay of the replay, which has no guide beside it, finds the input
    assert replayed(tmp_path / "again" / "apple_0.png", capsys)[0] == 0
    config = config_of("base", trust=True, input=str(made / "apple_0.png"))
    assert "exists" in refused(config, tmp_path / "again", "replay")


def test_without_the_input_the_guide_beside_the_result_is_used(made, capsys):
    shutil.rmtree(made.parent / "in")
    code, told = replayed(made / "apple_0.png", capsys)
    assert code == 0 and "bit-equal" in told
    (made / "apple_guide.png").unlink()
    config = config_of("base", trust=True, input=str(made / "apple_0.png"))
    told = refused(config, made.parent / "again", "replay")
    assert "the input of apple_0.png was not found" in told and "apple_guide.png" in told


@pytest.mark.parametrize("name", ["n" * 300, "a\tb", "~nobody/x", "photos/*.png", "file:///x", "."])
def test_an_input_that_no_file_can_be_is_only_not_found(name, made, capsys):
    """The pictures beside the result serve."""

    def moved(recipe):
        recipe["config"]["input"] = name
        return recipe

    rewrite(made / "apple_0.png", recipe=moved)
    code, told = replayed(made / "apple_0.png", capsys)
    assert code == 0 and "bit-equal" in told


def test_a_strength_map_is_kept_beside_the_result(made, capsys, tmp_path):
    """With the inputs, from the pictures beside the result, and not with another map."""
    levels = np.tile(np.linspace(0, 255, 100).astype(np.uint8), (100, 1))
    Image.fromarray(levels).save(made.parent / "in" / "ramp.png")
    file = str(made.parent / "in" / "ramp.png")
    config = inpainting(made.parent / "in" / "apple.webp", options__strength_map=file)
    assert run(config, tmp_path / "map") == 0
    out = tmp_path / "map"
    assert "apple_strength.png" in names(out)
    assert (picture(out / "apple_0.png") != picture(made / "apple_0.png")).any()
    assert "bit-equal" in replayed(out / "apple_0.png", capsys)[1]
    shutil.rmtree(made.parent / "in")
    assert "bit-equal" in replayed(out / "apple_1.png", capsys)[1]
    white = np.where(picture(out / "apple_strength.png") > 0, 255, 0).astype(np.uint8)
    Image.fromarray(white).save(out / "apple_strength.png")
    config = config_of("base", trust=True, input=str(out / "apple_0.png"))
    assert "strength map found is not the recipe's" in refused(config, tmp_path / "new", "replay")


def test_a_replay_does_not_replace_its_own_input(made):
    config = config_of("base", trust=True, input=str(made / "apple_0.png"))
    before = (made / "apple_0.png").read_bytes()
    assert "would replace an input" in refused(config, made, "replay", True)
    assert (made / "apple_0.png").read_bytes() == before


def test_an_input_that_was_changed_is_not_taken_for_the_old_one(made, capsys):
    Image.fromarray(np.zeros((256, 256, 3), np.uint8)).save(made.parent / "in" / "apple.webp")
    code, told = replayed(made / "apple_0.png", capsys)
    assert code == 0 and "bit-equal" in told  # by the guide beside it
    Image.fromarray(known()).save(made / "apple_guide.png")
    config = config_of("base", trust=True, input=str(made / "apple_0.png"))
    assert "sha256" in refused(config, made.parent / "again", "replay")


@pytest.mark.parametrize("output", ["prior", "original"])
def test_other_ways_to_say_the_edit_are_replayed(output, made, capsys, tmp_path):
    config = inpainting(made.parent / "in", output=output, sigma=1.0)
    assert run(config, tmp_path / "other") == 0
    code, told = replayed(tmp_path / "other" / "apple_0.png", capsys)
    assert code == 0 and "bit-equal" in told
    if output == "original":  # the guide alone is not enough
        shutil.rmtree(made.parent / "in")
        config = config_of("base", trust=True, input=str(tmp_path / "other" / "apple_0.png"))
        assert "needs the input itself" in refused(config, tmp_path, "replay", True)


def test_a_cell_of_a_sweep_is_replayed(made, capsys, tmp_path):
    config = inpainting(made.parent / "in")
    config.sweep.t0, config.sweep.seeds = (0.2, 0.35), (3,)
    assert run(config, tmp_path / "sweep", "sweep") == 0
    shutil.rmtree(made.parent / "in")
    code, told = replayed(tmp_path / "sweep" / "apple_t0.35_s3.png", capsys)
    assert code == 0 and "bit-equal" in told


def test_a_strength_that_the_kind_found_is_recorded_and_replayed(
    made, capsys, tmp_path, monkeypatch
):
    """Every job has its own; a replay takes that of the recipe, and finds none."""

    def found(kind, jobs, cancel=None):
        return [job._replace(value=0.3 + 0.1 * job.sample) for job in jobs]

    out = tmp_path / "found"
    with monkeypatch.context() as patch:
        patch.setattr(sdedit.SDEditKind, "with_strengths", found)
        assert run(inpainting(tmp_path / "in"), out) == 0
    for k, t0 in enumerate((0.3, 0.4)):
        assert noted(out)["pictures"][k]["strength"]["t0"] == pytest.approx(t0)
        code, printed = replayed(out / f"apple_{k}.png", capsys)
        assert code == 0 and "bit-equal" in printed


def test_an_edited_picture_is_noticed(made, capsys):
    file = made / "apple_0.png"
    pixels = picture(file).copy()
    pixels[3, 4, 0] ^= 1
    rewrite(file, pixels)
    code, told = replayed(file, capsys)
    assert code == 0 and "equal within 1 of 255" in told and "was changed" in told
    pixels[3, 4, 0] = (int(pixels[3, 4, 0]) + 100) % 256
    rewrite(file, pixels)
    worst = np.abs(pixels.astype(int) - picture(made / "apple_0.png")).max()
    assert worst == 0  # the file holds them
    code, told = replayed(file, capsys)
    assert code == 1 and "differs by up to" in told and "was changed" in told


def test_differences_of_the_environment_are_printed(made, capsys):
    def older(recipe):
        recipe["environment"]["versions"]["jax"] = "0.0.1"
        return recipe

    rewrite(made / "apple_0.png", recipe=older)
    code, told = replayed(made / "apple_0.png", capsys)
    assert code == 0 and f"versions.jax: 0.0.1 then, {jax.__version__} now" in told


def test_other_weights_are_refused_with_both_sha256(made, tmp_path):
    other = jax.tree.map(lambda a: a + np.float32(0.01), tiny_params())
    prior = tmp_path / "prior"
    store.save(prior, other, tiny_card())

    def moved(recipe):
        recipe["config"]["prior"] = str(prior)
        return recipe

    rewrite(made / "apple_0.png", recipe=moved)
    config = config_of("base", trust=True, input=str(made / "apple_0.png"), prior="no/such/folder")
    told = refused(config, made.parent / "again", "replay")
    assert store.digest(other)[:16] in told and store.digest(tiny_params())[:16] in told
    assert "no/such/folder" in told and "--config.prior" in told
    config.prior = tiny_prior()  # the recipe's folder holds other weights by now; this one has them
    assert run(config, None, "replay") == 0


def test_the_prior_of_the_config_serves_where_the_recipe_s_is_gone(made, capsys):
    def moved(recipe):
        recipe["config"]["prior"] = "no/such/folder"
        return recipe

    rewrite(made / "apple_0.png", recipe=moved)
    code, _ = replayed(made / "apple_0.png", capsys, prior=tiny_prior())
    assert code == 0


def test_pictures_without_a_recipe_are_refused(made, tmp_path):
    Image.fromarray(known()).save(tmp_path / "plain.png")
    Image.fromarray(known()).save(tmp_path / "plain.jpg")
    rewrite(made / "apple_0.png", recipe=lambda recipe: {"format": 3})
    rewrite(made / "apple_1.png", recipe=lambda recipe: recipe | {"format": 1})
    for file, told in [
        (tmp_path / "plain.png", "plain.png carries no recipe"),
        (tmp_path / "plain.jpg", "not a PNG"),
        (made / "apple_0.png", "recipe in apple_0.png is damaged"),
        (made / "apple_1.png", "has format 1, this version reads 3: make the picture again"),
        (tmp_path / "none.png", "no such file"),
    ]:
        assert told in refused(
            config_of("base", trust=True, input=str(file)), tmp_path / "again", "replay"
        )


def rgba_photo(folder):
    """A photo with a soft transparent corner and a profile, and beside it a soft mask of half size.

    The mask is a black brush on transparency.
    """
    folder.mkdir()
    y, x = np.mgrid[:48, :64]
    rgb = np.stack([4 * x, 5 * y, 255 - 4 * x], -1).astype(np.uint8)
    alpha = np.clip(6 * (x + y) - 40, 0, 255).astype(np.uint8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = Image.fromarray(np.dstack([rgb, alpha]))
    photo.save(folder / "apple.png", icc_profile=profile, dpi=(150, 150))
    away = np.hypot(y[:24, :32] - 12, x[:24, :32] - 10)
    brush = np.clip(300 - 30 * away, 0, 255).astype(np.uint8)
    Image.fromarray(np.dstack([0 * brush] * 3 + [brush])).save(folder / "apple_mask.png")
    return np.asarray(photo), profile


def test_what_belongs_to_a_picture_comes_back_in_a_result(tmp_path, capsys):
    """Alpha, profile and resolution; kept pixels are the file's; and a replay is bit-equal."""
    before, profile = rgba_photo(tmp_path / "in")
    options = {"options__mask": "", "output": "original", "samples": 1}
    config = inpainting(tmp_path / "in", **options)
    assert run(config, tmp_path / "out") == 0
    printed = capsys.readouterr()
    for part in ("in the alpha channel alone", "it is resized"):
        assert part in printed.err
    assert "masks     1 of 1 input has a mask beside it" in printed.out
    assert "of other inputs" not in printed.err
    result = Image.open(tmp_path / "out" / "apple_0.png")
    after = np.asarray(result)
    assert after.shape == before.shape and result.info["icc_profile"] == profile
    assert round(result.info["dpi"][0]) == 150
    with pytest.warns(UserWarning):
        mask = images.read_mask(tmp_path / "in" / "apple_mask.png", before.shape[:2])
    assert np.array_equal(after[..., 3], before[..., 3])
    assert np.array_equal(after[mask == 0], before[mask == 0])
    assert (after != before).any()
    (entry,) = json.loads((tmp_path / "out" / "record.json").read_text())["pictures"]
    assert entry["max_change_outside_mask"] == 0 and entry["not_kept"] == []
    code, printed = replayed(tmp_path / "out" / "apple_0.png", capsys)
    assert code == 0 and "bit-equal" in printed


def test_a_name_with_dots_is_selected(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(ROOT / "examples/inpaint/apple.webp", folder / "pear.2.webp")
    config = small("strokes", input=str(folder), samples=2)
    assert run(config, tmp_path / "out") == 0
    code, told = replayed(tmp_path / "out" / "record.json", capsys, only="pear.2_1, ")
    assert code == 0 and told.count("bit-equal") == 1


def test_a_grey_mask_is_replayed_from_the_pictures_beside_a_result(made, capsys):
    """Without the input: guide, mask and the photo that the grey parts blend with."""
    assert (made / "apple_photo.png").is_file()
    shutil.rmtree(made.parent / "in")
    code, told = replayed(made / "apple_0.png", capsys)
    assert code == 0 and "bit-equal" in told


@pytest.mark.parametrize("seed", [-1, 2**64 - 1])
def test_drawn_and_large_seeds_are_recorded_and_replayed(seed, made, capsys, tmp_path):
    config = inpainting(made.parent / "in", seed=seed, samples=1)
    assert run(config, tmp_path / "drawn") == 0
    then = recipe(tmp_path / "drawn" / "apple_0.png")
    assert then["seed"] == then["config"]["seed"] == noted(tmp_path / "drawn")["config"]["seed"]
    line = f"seed      {then['seed']}, drawn"
    assert (line in capsys.readouterr().out) == (seed == -1) == (then["seed"] != seed)
    assert config.seed == seed
    code, told = replayed(tmp_path / "drawn" / "apple_0.png", capsys)
    assert code == 0 and "bit-equal" in told


# --- record.json ----------------------------------------------------------------------------------


def test_a_record_says_the_same_as_the_recipes(made):
    record = noted(made)
    found = recipes.of_record(record, "record.json")
    assert found == {f"apple_{k}.png": recipe(made / f"apple_{k}.png") for k in (0, 1)}


def test_a_record_replays_all_of_its_results_or_some(made, capsys, tmp_path, monkeypatch):
    opened, real = [], kinds.open_kind
    monkeypatch.setattr(kinds, "open_kind", lambda *a, **k: opened.append(a) or real(*a, **k))
    batches, module = [], sys.modules["sdedit_jax.modes.replay"]
    ran = module.run_batch
    monkeypatch.setattr(module, "run_batch", lambda *a: batches.append(a) or ran(*a))
    code, told = replayed(made / "record.json", capsys, tmp_path / "again")
    assert code == 0 and told.count("verdict   bit-equal") == 2
    assert len(opened) == len(batches) == 1  # both results have the same settings
    assert "2 of 2 pictures equal" in told
    assert names(tmp_path / "again") == ["apple_0.png", "apple_1.png"]
    code, told = replayed(made / "record.json", capsys, only="apple_1")
    assert code == 0 and told.count("verdict") == 1
    config = config_of("base", trust=True, input=str(made / "record.json"), only="aple_1.png")
    assert "got 'aple_1'; did you mean 'apple_1'?" in refused(config, None, "replay")
    config = config_of("base", trust=True, input=str(made / "apple_0.png"), only="apple_1")
    assert "only: it selects results of a record.json" in refused(config, None, "replay")


def test_a_record_replays_results_whose_files_are_gone_or_changed(made, capsys):
    (made / "apple_0.png").unlink()
    Image.fromarray(255 - picture(made / "apple_1.png")).save(made / "apple_1.png")
    code, told = replayed(made / "record.json", capsys)
    assert code == 1
    assert "bit-equal, by the sha256 of the picture, whose file is gone" in told
    assert "note      apple_1.png was changed" in told and "1 of 2 pictures equal" in told


def test_a_replay_into_the_folder_of_a_lost_result_is_judged_by_the_sha256(made, capsys):
    """Not by the file that it writes itself."""
    sha256 = recipe(made / "apple_0.png")["picture"]["sha256"]
    (made / "apple_0.png").unlink()
    record = made / "record.json"
    record.write_text(record.read_text().replace(sha256, "0" * 64))
    code, told = replayed(record, capsys, made, only="apple_0")
    assert code == 1 and "bit-equal" not in told
    assert (made / "apple_0.png").is_file()


@pytest.mark.parametrize("mode", ["edit", "sweep"])
def test_the_results_of_a_record_are_chosen_in_a_replay_alone(mode):
    config = config_of("base")
    check.check("replay", config, {"only": "a"})
    with pytest.raises(ValueError, match="only: is for --mode=replay, got 'a'"):
        check.check(mode, config, {"only": "a"})


def test_a_bad_result_of_a_record_does_not_end_the_others(made, capsys):
    (made / "apple_0.png").write_bytes(b"hello")
    code = run(config_of("base", trust=True, input=str(made / "record.json")), None, "replay")
    out, wrong = capsys.readouterr()
    assert code == 1 and "1 of 2 pictures equal" in out
    assert "error: 1 picture could not be made" in wrong and "apple_0.png" in wrong


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{}", "no record.json with recipes"),
        ("[]", "must hold a JSON object"),
        ('{"recipe": {}, "pictures": [{"file": "a.png"}]}', "record.json is damaged"),
        ('{"recipe": {"format": 1}, "pictures": [{"file": "a.png", "recipe": {}}]}', "format 1"),
    ],
)
def test_a_damaged_record_is_refused(content, told, tmp_path):
    (tmp_path / "record.json").write_text(content)
    config = config_of("base", trust=True, input=str(tmp_path / "record.json"))
    assert told in refused(config, None, "replay")


def test_a_result_that_was_moved_with_its_input_is_replayed(tmp_path, capsys):
    """At the input's size, which the guide beside a result does not have."""
    (tmp_path / "in").mkdir()
    shutil.copy(ROOT / "examples/inpaint/apple.webp", tmp_path / "in")
    config = inpainting(tmp_path / "in", output="original", samples=1)
    assert run(config, tmp_path / "out") == 0
    (tmp_path / "in" / "apple.webp").rename(tmp_path / "out" / "apple.webp")
    code, told = replayed(tmp_path / "out" / "apple_0.png", capsys)
    assert code == 0 and "bit-equal" in told
    (tmp_path / "out" / "apple.webp").unlink()
    config = config_of("base", trust=True, input=str(tmp_path / "out" / "apple_0.png"))
    assert "needs the input itself" in refused(config, None, "replay")


def test_a_replay_of_a_folder_says_what_to_give(tmp_path):
    told = refused(config_of("base", trust=True, input=str(tmp_path)), None, "replay")
    assert "needs a result or a record.json" in told and "--config.input=RESULT.png" in told
