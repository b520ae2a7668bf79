"""Checkpoint families: what a file's tensors tell, and the one rule that turns them.

Oracle: the original programs' own configurations, and the networks of test_nets, whose outputs are
compared with the originals'.
"""

import copy
import json

import jax
import numpy as np
import pytest
from conftest import golden_folder
from nets_goldens import SCORE_SDE, load_case, torch_weights

from sdedit_jax import registry
from sdedit_jax.weights import conversion
from sdedit_jax.weights.families import FAMILIES, family_of
from sdedit_jax.weights.families.merge import reached
from sdedit_jax.weights.source import Source

PYTORCH = [*SCORE_SDE, "sdedit_ddpm_unet"]
JAX_ONLY = [
    "jax_ddpmpp_vp_discrete_resblockddpm",
    "jax_ncsnpp_ddpmres_firconv_outskip",
    "jax_ncsnpp_residual_fir",
    "jax_ncsnpp_residual_nofir_elu",
]
SHOWN = {
    *("nf", "ch_mult", "num_res_blocks", "attn_resolutions", "conditional", "embedding_type"),
    *("resblock_type", "progressive", "progressive_input", "num_channels"),
    *("ch", "out_ch", "in_channels", "resamp_with_conv"),
}
"""Fields that PyTorch tensors show (resamp_with_conv only where blocks of type ddpm are)."""


def source_of(name):
    """(source, the original's configuration) of a golden case, with PyTorch's names."""
    folder = golden_folder(name)
    given = json.loads((folder / "config.json").read_text())
    return Source(folder, torch_weights(folder)), with_sde(given)


def with_sde(given):
    """The cases kept in tests/goldens have lost the section that names the SDE."""
    sde = "vpsde" if given["config"]["data"].get("centered") else "vesde"
    training = {"sde": sde, "continuous": True}
    given["config"].setdefault("training", training)
    given["config"].setdefault(
        "diffusion",
        {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
        | {"num_diffusion_timesteps": 1000},
    )
    return given


def without(given, fields):
    given = copy.deepcopy(given)
    for section in ("data", "model"):
        for field in fields:
            given["config"][section].pop(field, None)
    return given


@pytest.mark.parametrize("name", PYTORCH + JAX_ONLY)
def test_tensors_tell_what_the_configuration_says(name):
    source, given = source_of(name)
    family = family_of(source)
    full = family.describe(source, given)
    inferred = family.describe(source, without(given, SHOWN))
    unseen = () if full["config"].get("resblock_type", "ddpm") == "ddpm" else ("resamp_with_conv",)
    for field in SHOWN & full["config"].keys() - set(unseen):
        assert inferred["config"][field] == full["config"][field], field


@pytest.mark.parametrize("name", PYTORCH + JAX_ONLY)
def test_rule_fills_every_leaf_as_the_verified_networks_have_it(name):
    source, given = source_of(name)
    family = family_of(source)
    card = {"name": name, **family.describe(source, given)}
    shapes = registry.prior_of(card).params
    ours = conversion.fill(
        shapes, source, family.names(source, card, shapes), family.unused(source, card)
    )
    _, wanted, _, _ = load_case(name)
    assert jax.tree.structure(ours) == jax.tree.structure(wanted)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, ours, wanted)))


@pytest.mark.parametrize(
    ("field", "value"),
    [("nf", 24), ("num_res_blocks", 3), ("embedding_type", "positional"), ("ch_mult", [1, 2])],
)
def test_a_contradiction_is_refused(field, value):
    source, given = source_of("ncsnpp_ve_church")
    given["config"]["model"][field] = value
    with pytest.raises(ValueError, match=rf"{field} is .* in what was given, but the tensors"):
        FAMILIES["score_sde"].describe(source, given)


@pytest.mark.parametrize("name", ["ncsnpp_ve_celebahq256", "sdedit_ddpm_unet"])
def test_attention_at_sides_that_no_level_has_says_nothing(name):
    """As in a 16-pixel network of two levels (16, 8) with attn_resolutions [4]."""
    source, given = source_of(name)
    family = family_of(source)
    plain = family.describe(source, given)
    sections = given["config"]
    (own,) = (s for s in sections.values() if isinstance(s, dict) and "attn_resolutions" in s)
    sides = own["attn_resolutions"]
    own["attn_resolutions"] = [1024, *reversed(sides), 3, *sides]
    assert family.describe(source, given) == plain
    own["attn_resolutions"] = [sections["data"]["image_size"], *sides]
    with pytest.raises(ValueError, match="attn_resolutions is .* but the tensors"):
        family.describe(source, given)


def test_sides_that_a_network_reaches():
    two, side = {"ch_mult": [1, 2]}, {"image_size": 16}
    for listed, wanted in (([4], []), ([8, 4], [8]), ([8, 16, 16], [16, 8]), ([], [])):
        found = reached(side | {"attn_resolutions": listed}, two)
        assert found["attn_resolutions"] == wanted
    assert reached({"attn_resolutions": [4]}, two) == {"attn_resolutions": [4]}
    assert reached(side | {"attn_resolutions": [4]}, {})["attn_resolutions"] == [4]


@pytest.mark.parametrize(
    ("section", "field"),
    [("data", "image_size"), ("data", "centered"), ("model", "fir"), ("model", "skip_rescale")]
    + [("training", "continuous"), ("training", "sde"), ("model", "nonlinearity")],
)
def test_what_no_tensor_tells_is_asked_for(section, field):
    source, given = source_of("ncsnpp_ve_church")
    del given["config"][section][field]
    with pytest.raises(ValueError, match=rf"do not contain .*{field}.*--config.card"):
        FAMILIES["score_sde"].describe(source, given)


def test_nothing_given_asks_by_name():
    source, _ = source_of("sdedit_ddpm_unet")
    with pytest.raises(ValueError, match="do not contain .*beta_end.*image_size"):
        FAMILIES["sdedit_ddpm"].describe(source, {})


def test_noise_levels_come_from_the_buffer():
    source, given = source_of("ncsnpp_ve_church")
    sigmas = np.exp(np.linspace(np.log(380), np.log(0.01), 2000))
    source = source._replace(tensors={"sigmas": sigmas, **source.tensors})
    given = without(given, {"sigma_min", "sigma_max", "num_scales"})
    card = FAMILIES["score_sde"].describe(source, given)
    assert card["process"] == {"name": "ve", "sigma_min": 0.02, "sigma_max": 760.0}
    assert card["config"]["num_scales"] == 2000
    given["config"]["model"]["sigma_max"] = 348
    with pytest.raises(ValueError, match="sigma_max is 348 in what was given"):
        FAMILIES["score_sde"].describe(source, given)


@pytest.mark.parametrize(
    ("sde", "continuous", "process", "prediction"),
    [
        ("vpsde", True, "vp", {"name": "score_sde_vp"}),
        ("subvpsde", True, "subvp", {"name": "score_sde_vp"}),
        ("vpsde", False, "linear", {"name": "ddpm", "steps": 1000}),
    ],
)
def test_conventions_of_the_variance_preserving_models(sde, continuous, process, prediction):
    source, given = source_of("ddpmpp_vp_cifar10_continuous")
    given["config"]["training"] = {"sde": sde, "continuous": continuous}
    card = FAMILIES["score_sde"].describe(source, given)
    assert card["process"]["name"] == process
    assert card["prediction"] == prediction
    built = registry.process(card["process"])
    t = np.float32([0.1, 0.5, 1.0])  # the continuous process; a table of 1000 comes near it
    alpha = np.exp(-0.25 * t**2 * 19.9 - 0.05 * t)
    np.testing.assert_allclose([built.alpha(x) for x in t], alpha, rtol=5e-2)


def test_the_wrong_family_is_named():
    source, _ = source_of("sdedit_ddpm_unet")
    with pytest.raises(ValueError, match="checkpoint of sdedit_ddpm, not of score_sde"):
        family_of(source, "score_sde")
    with pytest.raises(ValueError, match="family must be one of"):
        family_of(source, "stylegan")
    with pytest.raises(ValueError, match="to no known family"):
        family_of(Source(source.path, {"generator.weight": np.zeros(3)}))
