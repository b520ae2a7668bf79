"""The table of released checkpoints, against what the original programs build from it."""

import functools
import gzip
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from sdedit_jax import registry
from sdedit_jax.weights import catalogue, conversion, store
from sdedit_jax.weights.families import FAMILIES
from sdedit_jax.weights.source import Source

LAYOUTS = Path(__file__).parent.parent / "experiments" / "full_size" / "layouts.json.gz"
"""Names and shapes of the originals' tensors at full size, as their own code builds them."""

PUBLISHED = {  # parameters as the reference implementations count them
    "score_sde_pytorch/ve/cifar10_ncsnpp": 62_693_251,
    "score_sde_pytorch/ve/cifar10_ncsnpp_continuous": 62_758_915,
    "score_sde_pytorch/ve/cifar10_ncsnpp_deep_continuous": 107_587_075,
    "score_sde_pytorch/vp/cifar10_ddpm": 35_218_947,
    "score_sde_pytorch/vp/cifar10_ddpmpp": 61_804_419,
    "score_sde_pytorch/vp/cifar10_ddpmpp_deep_continuous": 106_632_579,
    "score_sde_pytorch/ve/bedroom_ncsnpp_continuous": 65_574_549,
    "score_sde_pytorch/ve/ffhq_1024_ncsnpp_continuous": 105_785_896,
    "sdedit/celeba_hq": 113_673_219,
    "guided_diffusion/256x256_diffusion_uncond": 552_814_086,
    "google/ddpm-celebahq-256": 113_673_219,
    "google/ncsnpp-church-256": 65_574_549,
    "google/ncsnpp-ffhq-1024": 105_785_896,
}

LEVELS = {  # sigma_max in [0, 1] and number of levels of score_sde's models
    "cifar10_ncsnpp_continuous": (50, 1000),
    "bedroom_ncsnpp_continuous": (378, 2000),
    "church_ncsnpp_continuous": (380, 2000),
    "celebahq_256_ncsnpp_continuous": (348, 2000),
    "ffhq_256_ncsnpp_continuous": (348, 2000),
    "ffhq_1024_ncsnpp_continuous": (1348, 2000),
}


@functools.cache
def layouts():
    return json.loads(gzip.decompress(LAYOUTS.read_bytes()))


def fake(card, tensors):
    """A source with tensors of the right names and shapes, which take no memory."""
    found = {name: np.broadcast_to(np.float32(0), shape) for name, shape in tensors.items()}
    if "sigmas" in found:
        model = card.given["config"]["model"]
        ends = math.log(model["sigma_max"]), math.log(model["sigma_min"])
        found["sigmas"] = np.exp(np.linspace(*ends, model["num_scales"]))
    for name in (n for n in found if n.endswith(".resample_filter")):
        row = np.array(card.given["init_kwargs"].get("resample_filter", [1, 1]), np.float32)
        found[name] = (np.outer(row, row) / row.sum() ** 2)[None, None]
    flax = card.name.startswith("score_sde/")
    config = {"diffusers": {"unet": "config", "scheduler": "scheduler"}}.get(card.family, {})
    config = {ours: card.given[theirs] for ours, theirs in config.items()}
    if card.family == "edm":
        config = {name: card.given[name] for name in ("class_name", "init_kwargs")}
    return Source(Path(card.name), found, "flax" if flax else "torch", config=config)


def test_cards_are_complete_and_apart():
    cards = [catalogue.card(name) for name in catalogue.names()]
    assert len({c.name for c in cards}) == len(cards) == len(catalogue.names())
    for page in ("README.md", "CHANGELOG.md"):
        assert f"{len(cards)} released files" in (Path(__file__).parent.parent / page).read_text()
    for c in cards:
        assert c.given["family"] == c.family
        assert c.published.startswith("https://")
        assert (
            c.alive in (None, False) and c.process in registry.SDES and c.range in ((0, 1), (-1, 1))
        )
        assert all(d is None or re.fullmatch(r"[0-9a-f]+", d) for d in (c.sha256, c.md5))
        assert (len(c.sha256 or "") in (0, 64)) and len(c.md5 or "") in (0, 32)


def test_every_release_is_there():
    count = {f: len(catalogue.names(f)) for f in ("score_sde", "guided_diffusion", "edm")}
    assert count == {"score_sde": 32, "guided_diffusion": 9, "edm": 9}
    for kind in ("score_sde", "score_sde_pytorch"):  # the JAX and the PyTorch file of each of 16
        assert sum(n.startswith(kind + "/") for n in catalogue.names()) == 16
    for start, number in (("sdedit/", 3), ("pytorch_diffusion/", 8), ("google/", 14)):
        assert sum(n.startswith(start) for n in catalogue.names()) == number


@pytest.mark.parametrize("name", LEVELS)
def test_noise_levels_of_ve_models(name):
    model = catalogue.card(f"score_sde_pytorch/ve/{name}").given["config"]["model"]
    assert (model["sigma_max"], model["num_scales"], model["sigma_min"]) == (*LEVELS[name], 0.01)


def test_both_files_of_a_score_sde_model_share_their_configuration():
    for name in catalogue.names("score_sde"):
        if name.startswith("score_sde/"):
            other = catalogue.card(name.replace("score_sde/", "score_sde_pytorch/"))
            assert catalogue.card(name).given == other.given


def test_hub_folders_of_score_sde_have_the_levels_they_were_trained_with():
    for data in ("church", "celebahq", "bedroom", "ffhq"):
        own = "celebahq_256" if data == "celebahq" else "ffhq_256" if data == "ffhq" else data
        model = catalogue.card(f"score_sde/ve/{own}_ncsnpp_continuous").given["config"]["model"]
        scheduler = catalogue.card(f"google/ncsnpp-{data}-256").given["scheduler"]
        assert scheduler["sigma_max"] == model["sigma_max"]


def test_a_card_belongs_to_who_asked_for_it():
    catalogue.card("sdedit/bedroom").given["config"]["model"]["ch"] = 1
    assert catalogue.card("sdedit/bedroom").given["config"]["model"]["ch"] == 128


def test_unknown_names_are_answered_with_names_like_them():
    with pytest.raises(ValueError, match="card: .*sdedit/celeba_hq"):
        catalogue.card("celeba_hq")
    with pytest.raises(ValueError, match="256x256_diffusion_uncond"):
        catalogue.card("guided_diffusion/256x256_difusion_uncond")
    with pytest.raises(ValueError, match="score_sde/..."):
        catalogue.card("#")
    with pytest.raises(ValueError, match="family must be one of .*'edm'.*got 'gan'"):
        catalogue.names("gan")


def test_a_file_is_known_by_its_digest():
    known = catalogue.card("guided_diffusion/256x256_diffusion_uncond")
    assert catalogue.by_sha256(known.sha256.upper()) == known
    assert catalogue.by_sha256("0" * 64) is None


def test_layouts_hold_every_card_once():
    assert sorted(c for page in layouts().values() for c in page["cards"]) == sorted(
        catalogue.names()
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_layouts_have_the_published_number_of_parameters(name):
    page = layouts()[name]
    held = sum(math.prod(s) for n, s in page["tensors"].items() if n != "sigmas")
    assert page["parameters"] == held == PUBLISHED[name]


@pytest.mark.parametrize("name", layouts())
def test_every_tensor_of_a_release_finds_its_place(name, monkeypatch):
    monkeypatch.setattr(np, "isfinite", lambda a: np.True_)  # of half a billion zeros
    page = layouts()[name]
    card = catalogue.card(name)
    family, source = FAMILIES[card.family], fake(card, page["tensors"])
    described = family.describe(source, card.given)
    prior = registry.prior_of(described)
    left_out = family.unused(source, described)
    names = family.names(source, described, prior.params)
    conversion.fill(
        prior.params, source, names, left_out
    )  # refuses what lacks, is left or misshapen
    ours = sum(math.prod(leaf.shape) for _, leaf in store.leaves(prior.params))
    theirs = sum(math.prod(s) for n, s in page["tensors"].items() if n not in left_out)
    assert ours == theirs


@pytest.mark.parametrize("name", catalogue.names())
def test_the_family_reads_a_card_as_the_card_says(name):
    card = catalogue.card(name)
    family = FAMILIES[card.family]
    (page,) = [p for p in layouts().values() if name in p["cards"]]
    source = fake(card, page["tensors"])
    assert family.recognise(source)
    described = family.describe(source, card.given)
    assert described["process"]["name"] == card.process
    assert tuple(described["range"]) == card.range
    if card.process == "ve" and card.family != "edm":
        given = card.given.get("scheduler") or card.given["config"]["model"]
        unit = 2 if card.range == (0, 1) else 1
        assert described["process"]["sigma_max"] == unit * given["sigma_max"]
