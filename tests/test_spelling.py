"""Unknown names: the hint at a known one, and where it is given."""

import numpy as np
import pytest
from program import refused, small, tiny_prior

import sdedit_jax as sj
from sdedit_jax.priors.conditioning import Classes, class_cond
from sdedit_jax.registry import process
from sdedit_jax.text import spelling

KNOWN = ["karras", "log_snr", "diffusers_ddim", "diffusers_ddpm", None]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("karas", "karras"),
        ("Karras", "karras"),
        ("ddpm", "diffusers_ddpm"),
        ("logsnr", "log_snr"),
        ("cosine", None),
        ("", None),
        (3, None),
        (["karras"], None),
    ],
)
def test_the_nearest_name_is_given_or_none(name, found):
    wanted = f"; did you mean {found!r}?" if found else ""
    assert spelling.hint(name, KNOWN) == wanted
    with pytest.raises(ValueError) as caught:
        spelling.one_of("grid", name, KNOWN)
    assert str(caught.value) == f"grid must be one of {KNOWN}, got {name!r}{wanted}"


def test_an_allowed_value_is_returned():
    assert spelling.one_of("grid", "karras", KNOWN) == "karras"
    assert spelling.one_of("labels", None, KNOWN) is None


def test_paths_are_compared_by_their_last_part(tmp_path):
    there = [tmp_path / name for name in ("fruits64", "flowers64", "fruits64-text")]
    assert spelling.hint_path(tmp_path / "fruit64", there).endswith("/fruits64'?")
    assert spelling.hint_path(tmp_path / "cats", there) == ""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"preset": "paper_ve"}, "did you mean 'paper-ve'?"),
        ({"sampler__rule": "ancestrl"}, "did you mean 'ancestral'?"),
        ({"task": "stroke"}, "did you mean 'strokes'?"),
        ({"compute": "fp32"}, "got 'fp32'"),
    ],
)
def test_configs_hint_at_the_nearest_name(changes, told, tmp_path):
    assert told in refused(small("strokes", **changes), tmp_path)


def test_priors_hint_at_the_nearest_folder(tmp_path):
    told = refused(small("strokes", prior=tiny_prior()[:-1]), tmp_path)
    assert f"did you mean '{tiny_prior()}'?" in told


def test_modes_classes_and_processes_hint_too(tmp_path):
    assert "did you mean 'sweep'?" in refused(small("strokes"), tmp_path, "swep")
    flowers = Classes(2, names=("daisy", "rose"))
    with pytest.raises(ValueError, match="got 'dasy'; did you mean 'daisy'"):
        class_cond(flowers, "dasy", "", 1.0)
    with pytest.raises(ValueError, match="process 've' has no argument 'sigma_mx'; did you mean"):
        process({"name": "ve", "sigma_mx": 50.0})


def test_python_hints_at_arguments_and_values():
    prior, picture = sj.load_prior(tiny_prior()), np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(TypeError, match="did you mean 'samples'"):
        sj.edit(prior, picture, smaples=2)
    with pytest.raises(ValueError, match="did you mean 'stretch'"):
        sj.edit(prior, picture, fit="strech")


def test_counts_have_their_nouns():
    assert [spelling.counted(n, "picture") for n in (0, 1, 2)] == [
        "0 pictures",
        "1 picture",
        "2 pictures",
    ]
