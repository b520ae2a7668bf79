"""--mode=measure on folders and zips of pictures with known differences."""

import hashlib
import json
import sys
import types
import zipfile

import numpy as np
import pytest
from PIL import Image
from program import config_of, names, refused, run, tiny_prior

from sdedit_jax.evaluation import extractors, features, frechet, kid
from sdedit_jax.evaluation.extractors import Extractor
from sdedit_jax.evaluation.opening import open_measures
from sdedit_jax.evaluation.paired import PAIRED
from sdedit_jax.modes import check


def save(folder, pictures):
    folder.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        Image.fromarray(picture).save(folder / name)
    return str(folder)


def pictures(rng, count=6, side=32):
    return {
        f"p{i}.png": rng.integers(0, 200, (side, side, 3)).astype(np.uint8) for i in range(count)
    }


@pytest.fixture
def two(rng, tmp_path):
    """A folder of pictures b, and in a the same ones brighter by 51 levels: an RMS of 0.2."""
    b = pictures(rng)
    a = {name: picture + np.uint8(51) for name, picture in b.items()}
    return save(tmp_path / "a", a), save(tmp_path / "b", b)


def config(one, other, **changes):
    fields = {"a": str(one), "b": str(other), "features__prior": "", **changes}
    return config_of("measure", **fields)


def results(given, out):
    assert run(given, out, "measure") == 0
    return json.loads((out / "results.json").read_text())


def test_pictures_in_pairs_and_as_sets(two, tmp_path, capsys):
    a, b = two
    found = results(config(a, b, batch=4), tmp_path / "out")
    assert names(tmp_path / "out") == ["results.json"]
    assert found["pairs"] == {"count": 6, "partners": 6} and found["size"] == "32x32"
    rms = found["paired"]["rms"]
    assert rms["value"] == pytest.approx(0.2) and rms["error"] < 1e-15 and rms["pairs"] == 6
    assert rms["definition"] == PAIRED["rms"].definition and rms["better"] == "lower"
    assert found["paired"]["l2"]["value"] == pytest.approx(0.2 * np.sqrt(3 * 32**2))
    assert set(found["paired"]) == {"l2", "l2_squared", "rms", "psnr", "ssim"}
    x, y = (read(folder) for folder in two)
    x, y = (extractors.hand().apply(v) for v in (x, y))
    x, y = (features.standardised(v, y) for v in (x, y))
    hand = found["sets"]["hand"]
    assert hand["kid"]["value"] == pytest.approx(kid.mmd2(x, y), rel=1e-9)
    assert hand["kid"]["error"] == pytest.approx(kid.standard_error(x, y), rel=1e-9)
    assert hand["fid"]["value"] == pytest.approx(frechet.frechet(x, y), rel=1e-9)
    assert hand["kid"]["subset_size"] == 6 and "biased" in hand["fid"]["caution"]
    assert found["left_out"] == {} and found["config"]["a"] == a
    out = capsys.readouterr().out
    assert "6 of 6 pictures of a have a partner in b" in out
    assert "note      hand: FID of 6 pictures on" in out and "rms" in out


def read(folder):
    return np.stack([np.asarray(Image.open(f"{folder}/p{i}.png")) for i in range(6)])


@pytest.mark.parametrize("named", [("l2", "ssim"), ("l2,ssim",), ("l2, ssim",)])
def test_the_measures_of_the_config_alone_are_taken(named, two, tmp_path):
    """A comma reaches a tuple of the config inside of one string."""
    given = config(*two, measures__paired=named, features__hand=False)
    assert list(results(given, tmp_path / "out")["paired"]) == ["l2", "ssim"]


def test_nothing_is_written_without_a_workdir(two, tmp_path, capsys):
    before = names(tmp_path)
    assert run(config(*two), None, "measure") == 0
    assert names(tmp_path) == before and "results.json" not in capsys.readouterr().out


def test_results_that_exist_stop_a_run(two, tmp_path):
    results(config(*two), tmp_path / "out")
    assert "results.json exists" in refused(config(*two), tmp_path / "out", "measure")
    assert run(config(*two), tmp_path / "out", "measure", overwrite=True) == 0
    assert run(config(*two), tmp_path / "out", "measure", keep=True) == 0
    assert names(tmp_path / "out") == ["results.json", "run-2"]


def test_the_digest_of_a_folder(two, tmp_path):
    """The sha256 of the lines SHA256 NAME, sorted; the path of the folder does not matter."""
    found = results(config(*two), tmp_path / "out")
    files = [(tmp_path / "a" / f"p{i}.png") for i in range(6)]
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()} {file.name}\n" for file in files]
    assert found["a"]["sha256"] == hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
    assert found["a"]["sha256"] != found["b"]["sha256"]


def test_a_zip_is_measured_as_its_folder(two, tmp_path):
    a, b = two
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for i in range(6):
            file.write(f"{a}/p{i}.png", f"inside/p{i}.png")
        file.writestr("__MACOSX/inside/._p0.png", b"no picture")
        file.writestr("readme.txt", b"none")
    one = results(config(a, b), tmp_path / "one")
    other = results(config(tmp_path / "a.zip", b), tmp_path / "other")
    assert one["a"]["sha256"] == other["a"]["sha256"]
    for part in ("paired", "sets", "pairs"):
        assert one[part] == other[part]


def test_several_results_of_one_input(rng, tmp_path):
    """Samples p0_0, p0_1 .. of p0 count as one input in the error; one that has no input counts
    in the sets alone."""
    b = pictures(rng, 3)
    steps = {"p0": 10, "p1": 20, "p2": 30}
    a = {f"{p}_{i}.png": b[f"{p}.png"] + np.uint8(d) for p, d in steps.items() for i in (0, 1)}
    a["other.png"] = b["p0.png"]
    found = results(config(save(tmp_path / "a", a), save(tmp_path / "b", b)), tmp_path / "out")
    assert found["pairs"] == {"count": 6, "partners": 3} and found["a"]["pictures"] == 7
    rms = found["paired"]["rms"]
    assert rms["value"] == pytest.approx(20 / 255)
    assert rms["error"] == pytest.approx(10 / 255 / np.sqrt(3))


def test_masks_divide_the_pictures(two, rng, tmp_path):
    """Black pixels are kept; only they differ by 51 levels."""
    a, b = two
    white = {f"p{i}_mask.png": np.zeros((32, 32), np.uint8) for i in range(6)}
    for i in range(6):
        white[f"p{i}_mask.png"][:, 8 + i :] = 255
        mixed = np.array(Image.open(f"{b}/p{i}.png"))
        mixed[:, : 8 + i] += 51
        Image.fromarray(mixed).save(f"{a}/p{i}.png")
    masks = save(tmp_path / "masks", white)
    found = results(config(a, b, masks=masks), tmp_path / "out")["paired"]
    assert found["rms_kept"]["value"] == pytest.approx(0.2)
    assert found["rms_edited"]["value"] == 0 and set(found) == set(PAIRED)
    (tmp_path / "masks/p3_mask.png").unlink()
    text = refused(config(a, b, masks=masks), None, "measure")
    assert "masks: the folder" in text and "no picture for the input 'p3'" in text


def test_pictures_of_several_sizes_are_fitted(rng, tmp_path):
    """Blocks of 2 x 2 equal pixels shrink to the pixels that they were made of."""
    b = pictures(rng, 3, 16)
    large = {name: np.kron(p, np.ones((2, 2, 1), np.uint8)) for name, p in b.items()}
    a, b = save(tmp_path / "a", large), save(tmp_path / "b", b)
    text = refused(config(a, b), None, "measure")
    assert text.startswith("pictures of several sizes, 32x32 (") and "--config.resize=32x32" in text
    found = results(config(a, b, resize="16x16", features__hand=False), tmp_path / "out")
    assert found["size"] == "16x16" and found["paired"]["rms"]["value"] < 0.12


def test_a_measure_that_cannot_be_taken_is_left_out(rng, tmp_path):
    """Pictures of 10 pixels are too small for SSIM, and not multiples of 8."""
    a, b = (save(tmp_path / name, pictures(rng, 2, 10)) for name in "ab")
    found = results(config(a, b), tmp_path / "out")
    assert set(found["left_out"]) == {"ssim", "hand"} and "rms" in found["paired"]
    assert "multiples of 8" in found["left_out"]["hand"]
    one = save(tmp_path / "one", pictures(rng, 1))
    found = results(config(one, one), tmp_path / "out1")
    assert found["left_out"] == {"hand": "distances of sets need two pictures of each set at least"}
    assert found["paired"]["rms"]["value"] == 0 and found["paired"]["rms"]["error"] is None


def test_sets_without_pairs_are_compared(rng, tmp_path):
    a = save(tmp_path / "a", {f"x{k}": v for k, v in pictures(rng).items()})
    b = save(tmp_path / "b", pictures(rng))
    found = results(config(a, b), tmp_path / "out")
    assert found["paired"] == {} and "hand" in found["sets"]
    reason = "no picture of a has the stem of one of b, such as 'p0'"
    assert found["left_out"] == {"measures in pairs": reason}
    text = refused(config(a, b, features__hand=False), None, "measure")
    assert text == f"nothing can be measured: measures in pairs: {reason}"
    (tmp_path / "b/p0.png").rename(tmp_path / "b/p1.jpg")
    found = results(config(a, b), tmp_path / "out2")
    assert "b has 2 pictures of the stem 'p1'" in found["left_out"]["measures in pairs"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"a": ""}, "a: give a folder, a glob or a zip of pictures"),
        ({"b": "nowhere"}, "b: no PNG, JPEG or WebP picture matches 'nowhere'"),
        ({"b": "nowhere.zip"}, "b: cannot read nowhere.zip"),
        ({"resize": "64"}, "resize must be HxW, such as \"64x96\", got '64'"),
        ({"resize": "0x8"}, "resize must"),
        ({"resize": "8x8", "fit": "best"}, "fit must be one of"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"measures__subsets": 0}, "measures.subsets must be at least 1, got 0"),
        ({"measures__subset_size": 1}, "measures.subset_size must be at least 2, got 1"),
        ({"measures__paired": ("rmse",)}, "did you mean 'rms'?"),
        ({"measures__paired": ("rms_kept",)}, "measures.paired: rms_kept needs masks; give"),
        (
            {"measures__paired": ("lpips_vgg",)},
            "lpips_vgg needs its weights; give features.lpips_vgg",
        ),
        ({"features__lpips_vgg": "x"}, "features.lpips_vgg needs features.lpips_heads"),
        ({"features__prior": "none"}, "none"),
    ],
)
def test_settings_that_stop_a_run(changes, told, two, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told in refused(config(*two, **changes), None, "measure")


def test_an_empty_folder_and_a_broken_picture(two, tmp_path):
    a, b = two
    (tmp_path / "empty").mkdir()
    assert "b: no PNG, JPEG or WebP picture in the folder" in refused(
        config(a, tmp_path / "empty"), None, "measure"
    )
    (tmp_path / "b/p2.png").write_bytes(b"\x89PNG\r\n")
    assert "b/p2.png" in refused(config(a, b), None, "measure")


def test_the_config_and_fields_of_another_mode():
    assert "needs --config=measure" in refused(config_of("base"), None, "measure")
    given = config_of("measure", fit="pad")
    with pytest.raises(ValueError, match="fit: it has no effect without resize, got 'pad'"):
        check.check("measure", given, {"fit": "pad"})
    given.resize = "8x8"
    check.check("measure", given, {"fit": "pad", "a": "x"})
    given.fit = "mask"
    told = "fit must be one of ['crop', 'pad', 'stretch'], got 'mask'"
    assert told in refused(given, None, "measure")


# --- opening --------------------------------------------------------------------------------------


def test_the_features_of_a_prior(rng, tmp_path):
    """Those of the loaded prior, in units of b's spread; pictures of another size are fitted."""
    a, b = (save(tmp_path / name, pictures(rng, 4, 16)) for name in "ab")
    given = config(a, b, features__prior=tiny_prior(), features__hand=False, batch=4)
    found = results(given, tmp_path / "out")["sets"]
    assert list(found) == ["tiny"] and found["tiny"]["sha256"]
    one = open_measures(given.features.to_dict()).extractors[0]
    x, y = (
        one.apply(np.stack([np.asarray(Image.open(f"{d}/p{i}.png")) for i in range(4)]))
        for d in (a, b)
    )
    x, y = (features.standardised(v, y) for v in (x, y))
    assert found["tiny"]["kid"]["value"] == pytest.approx(kid.mmd2(x, y), rel=1e-4)


class Distance:
    """In the place of LPIPS: the mean of b - a over the mask, which must not be empty."""

    facts = {"sha256": "abc"}

    def __call__(self, a, b, mask=None):
        weights = np.ones(a.shape[:3]) if mask is None else mask
        assert weights.sum((1, 2)).min() > 0
        return ((b - a.astype(float)).mean(-1) * weights).sum((1, 2)) / weights.sum((1, 2))


@pytest.fixture
def recognition(monkeypatch):
    """A module in the place of evaluation/recognition.py; the calls that it got."""
    from sdedit_jax import evaluation

    calls = []

    def noting(name, made):
        return lambda *args: calls.append((name, *args)) or made

    fake = types.ModuleType("sdedit_jax.evaluation.recognition")
    fake.inception = noting("inception", Extractor("inception-clean", len))
    fake.clip = noting("clip", types.SimpleNamespace(images=len, facts={"network": "ViT"}))
    fake.lpips = noting("lpips", Distance())
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    monkeypatch.setattr(evaluation, "recognition", fake, raising=False)
    return calls


def test_networks_for_recognition_are_opened_by_their_paths(recognition):
    fields = {"hand": False, "inception": "i.pth", "clip": "c", "resize": "clean"}
    fields |= {"lpips_alex": "a.pth", "lpips_heads": "h", "lpips_vgg": ""}
    found = open_measures(fields)
    assert [one.name for one in found.extractors] == ["clip", "inception-clean"]
    assert found.extractors[0].facts == {"network": "ViT"} and found.clip.images is len
    assert set(found.paired) - set(PAIRED) == {f"lpips_alex{r}" for r in ("", "_kept", "_edited")}
    wanted = [("clip", "c"), ("inception", "i.pth", "clean"), ("lpips", "alex", "a.pth", "h")]
    assert recognition == wanted
    (one,) = found.named(["lpips_alex_kept"])
    assert one.region == "kept" and one.row["sha256"] == "abc" and "AlexNet" in one.definition
    with pytest.raises(ValueError, match="lpips_vgg_kept needs its weights; give features.lpips"):
        found.named(["lpips_vgg_kept"])


def test_a_distance_by_a_network_over_the_regions_of_a_mask(recognition, rng):
    """b is brighter by 10 where the first mask is white; the second one is white everywhere."""
    a = rng.integers(0, 200, (2, 16, 16, 3)).astype(np.uint8)
    mask = np.ones((2, 16, 16), np.float32)
    mask[0, :4] = 0
    mask[0, 4:] = 0.5
    b = a + (10 * (mask > 0)[..., None]).astype(np.uint8)
    measures = open_measures({"hand": False, "lpips_vgg": "v.pth", "lpips_heads": "h"})
    whole, kept, edited = (
        measures.paired[f"lpips_vgg{region}"].of(a, b, mask) for region in ("", "_kept", "_edited")
    )
    np.testing.assert_allclose(whole, [7.5, 10])
    np.testing.assert_allclose(kept, [0, np.nan])
    np.testing.assert_allclose(edited, [10, 10])
