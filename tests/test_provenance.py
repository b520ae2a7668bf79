"""The recipe in a PNG, its `parameters` line as the web UIs parse it, digests, differences."""

import hashlib
import json
import re
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from program import (
    ROOT,
    picture,
    run,
    small,
    tiny_params,
)

from sdedit_jax import provenance
from sdedit_jax.pipeline.recipes import FORMAT
from sdedit_jax.weights import store

# as AUTOMATIC1111's web UI reads the last line (its regular expression)
MASKS = "examples/inpaint/masks"
FIELD = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with one result of the inpainting example."""
    out = tmp_path_factory.mktemp("made")
    shutil.copy(ROOT / "examples/inpaint/apple.webp", out)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        config = small("inpaint", options__mask=MASKS, seed=7, input=str(out / "apple.webp"))
        assert run(config, out / "out") == 0
    return out / "out"


def sha256_of(pixels):
    head = f"{pixels.dtype}{tuple(pixels.shape)}".encode()
    return hashlib.sha256(head + pixels.tobytes()).hexdigest()


def test_the_recipe_is_complete(made):
    recipe = json.loads(Image.open(made / "apple_1.png").text["sdedit_jax"])
    assert recipe["config"]["task"] == "inpaint" and recipe["config"]["t0"] == 0.6
    assert recipe["config"]["options"]["fill"] == "smooth"
    assert (recipe["id"], recipe["seed"], recipe["sample"]) == ("apple", 7, 1)
    assert recipe["prior"] == {"name": "tiny", "sha256": store.digest(tiny_params())}
    assert recipe["guide"]["sha256"] == sha256_of(picture(made / "apple_guide.png"))
    assert recipe["mask"]["sha256"] == sha256_of(picture(made / "apple_mask.png"))
    assert recipe["picture"]["sha256"] == sha256_of(picture(made / "apple_1.png"))
    assert recipe["sampler"]["steps"] == 4 and recipe["sampler"]["hold"] == "level"
    environment = recipe["environment"]
    assert environment["compute"] == "float32" and environment["platform"] == "cpu"
    assert environment["device"] and environment["versions"]["jax"] == jax.__version__
    assert {"python", "sdedit_jax", "flax", "numpy", "pillow"} <= set(environment["versions"])


def test_the_parameters_are_read_by_the_web_uis_rule(made):
    text = Image.open(made / "apple_1.png").text["parameters"]
    *prompt, last = text.strip().split("\n")
    fields = dict(FIELD.findall(last))
    assert len(fields) >= 3 and prompt == ["SDEdit inpaint: apple"]
    assert last.startswith("Steps: 4, Sampler: dpmpp_2m_sde, ")
    assert fields["Seed"] == "7" and fields["Size"] == "16x16"
    assert fields["Denoising strength"] == "0.6" and fields["Model"] == "tiny"
    assert fields["Model hash"] == store.digest(tiny_params())[:10]


def test_values_with_commas_are_quoted(made):
    recipe = json.loads(Image.open(made / "apple_1.png").text["sdedit_jax"])
    recipe["prior"]["name"] = 'fruits, "ripe": 64'
    fields = dict(FIELD.findall(provenance.parameters(recipe).split("\n")[-1]))
    assert json.loads(fields["Model"]) == 'fruits, "ripe": 64'
    assert fields["Seed"] == "7" and fields["Sample"] == "1"


def test_a_recipe_survives_the_file(made):
    recipe = json.loads(Image.open(made / "apple_1.png").text["sdedit_jax"])
    again = provenance.read_recipe(provenance.chunks(recipe), "x.png", FORMAT)
    assert again == recipe
    for text, told in [
        ({}, "x.png carries no recipe"),
        ({"sdedit_jax": "{"}, "is damaged"),
        ({"sdedit_jax": "[]"}, "is damaged"),
        ({"sdedit_jax": f'{{"format": {FORMAT}}}'}, "is damaged"),
        ({"sdedit_jax": '{"format": 1}'}, "has format 1, this version reads 3"),
    ]:
        with pytest.raises(ValueError, match=told):
            provenance.read_recipe(text, "x.png", FORMAT)


def test_json_has_no_infinity():
    text = provenance.dumps({"snr": float("inf"), "deep": [1.5, (float("nan"), "x", True)]})
    wanted = {"snr": None, "deep": [1.5, [None, "x", True]]}
    assert json.loads(text, parse_constant=pytest.fail) == wanted


def test_the_digest_tells_dtype_shape_and_bytes_apart():
    a = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert provenance.digest(a) == sha256_of(a)
    assert provenance.digest(np.asfortranarray(a)) == provenance.digest(a)
    others = [a.reshape(4, 3), a.astype(np.int16), a + 1]
    assert len({provenance.digest(x) for x in [a, *others]}) == 4


def test_differences_name_the_path_and_both_values():
    then = {"versions": {"jax": "1", "flax": "2"}, "device": "a", "gone": 1}
    now = {"versions": {"jax": "1", "flax": "3"}, "device": "a", "new": 2}
    assert provenance.differences(then, now) == [
        "gone: 1 then, None now",
        "new: None then, 2 now",
        "versions.flax: 2 then, 3 now",
    ]
    assert provenance.differences(then, then) == []
