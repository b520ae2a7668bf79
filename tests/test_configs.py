"""The configs and build: every config builds and traces, wrong names list what is allowed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from program import ROOT, SIZE, config_of, exact_prior, tiny_card, tiny_params, tiny_prior

import sdedit_jax as sj
from sdedit_jax import build, images, sde
from sdedit_jax.data import Source
from sdedit_jax.edits.sdedit import Request, edit
from sdedit_jax.guide import Guide
from sdedit_jax.prior import Prior
from sdedit_jax.run.train import card_of
from sdedit_jax.strength import t_from_log_snr
from sdedit_jax.tasks import TaskInput
from sdedit_jax.weights import store

CONFIGS = sorted(file.stem for file in (ROOT / "configs").glob("[a-z]*.py"))
EDITS = [name for name in CONFIGS if "task" in config_of(name)]


@pytest.fixture(scope="module")
def prior():
    return build.load_prior(tiny_prior())


def traced(prior, sampling):
    """The shape of an edit's result, without running it."""
    guide = Guide(jnp.zeros(prior.shape), jnp.ones((*prior.shape[:2], 1)))
    run = edit(build.plan(prior, sampling))
    request = Request(jnp.float32(0.5), guide)
    return jax.eval_shape(run, prior.params, request, jax.random.key(0)).image.shape


def test_every_task_has_a_config():
    tasks = {config_of(name).task for name in EDITS}
    assert tasks == set(build.TASKS)


@pytest.mark.parametrize("name", EDITS)
def test_every_config_reads_its_example_and_traces(name, prior, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = config_of(name)
    inputs = images.find_inputs(config.input)
    item = build.task(config.task)(str(inputs[0]), config.options.to_dict(), SIZE, config.fit)
    assert isinstance(item, TaskInput) and item.guide.image.shape == (SIZE, SIZE, 3)
    sampling = build.sampling({**config.sampler.to_dict(), "steps": 3}, config.preset, config.t0)
    assert traced(prior, sampling) == (SIZE, SIZE, 3)


def test_the_train_config_builds_a_prior_that_traces():
    config = config_of("train")
    side = config.net.image_size
    card = card_of(config, Source(np.zeros((1, side, side, 3), np.uint8)))
    prior = build.prior_of(card)
    shape = jax.ShapeDtypeStruct((side, side, 3), jnp.float32)
    eps = jax.eval_shape(lambda p, x: prior.eps(p, x, 0.5), prior.params, shape)
    assert eps.shape == (side, side, 3)
    assert prior.process == sde.VE(0.01, 80.0)


def test_the_defaults_of_the_configs_are_those_of_the_library():
    config = config_of("base")
    assert build.sampling(config.sampler.to_dict()) == build.Sampling()
    assert set(config.sampler) == {field.name for field in dataclasses.fields(build.Sampling)}
    assert build.Sampling().steps == 20 and config.t0 == 0.5


@pytest.mark.parametrize("rule", build.RULES)
def test_every_rule_traces(rule, prior):
    with_it = {"grid": "diffusers_pndm"} if rule == "plms" else {}
    assert traced(prior, build.sampling({"rule": rule, "steps": 2} | with_it)) == (SIZE, SIZE, 3)


@pytest.mark.parametrize("grid", build.GRIDS)
def test_every_grid_traces_with_a_corrector(grid, prior):
    with_it = {"rule": "plms"} if grid == "diffusers_pndm" else {}
    sampling = build.sampling({"grid": grid, "steps": 2, "corrector": "langevin"} | with_it)
    assert traced(prior, sampling) == (SIZE, SIZE, 3)


@pytest.mark.parametrize("alone", [{"rule": "plms"}, {"grid": "diffusers_pndm"}])
def test_plms_and_its_grid_belong_together(alone):
    with pytest.raises(ValueError, match='"plms" and sampler.grid "diffusers_pndm" belong'):
        build.sampling(alone)


def test_presets_bring_their_process_and_keep_the_noise_level():
    prior = build.load_prior(exact_prior())
    x = jnp.asarray(np.random.default_rng(0).standard_normal(prior.shape), jnp.float32)
    assert build.preset_process(prior, "paper-ve") is prior
    assert build.preset_process(prior, "") is prior
    for preset, kind in [("paper-vp", sde.VP), ("official", sde.Tabulated)]:
        other = build.preset_process(prior, preset)
        assert isinstance(other.process, kind)
        assert build.preset_process(prior, preset).predict is other.predict  # compiled once
        # x_t = alpha (x0 + n z): the same noise-to-signal ratio is the same question to the network
        t = 0.4
        alpha, sigma = sde.level(other.process, t)
        own = t_from_log_snr(prior.process, sde.log_snr(other.process, t))
        np.testing.assert_allclose(sde.level(prior.process, own)[1], sigma / alpha, rtol=1e-4)
        wanted = prior.eps(prior.params, x / alpha, own)
        np.testing.assert_allclose(other.eps(other.params, x, t), wanted, atol=2e-3)


def test_official_runs_a_thousand_t0_steps():
    for t0, steps in ((0.5, 500), (0.25, 250), (0.0, 1), (1.0, 1000)):
        assert build.sampling({}, "official", t0).steps == steps
    assert build.sampling({"steps": 250}, "official", 0.25).steps == 250
    with pytest.raises(ValueError, match="runs 1000 t0 = 250 steps"):
        build.sampling({"steps": 20}, "official", 0.25)
    assert build.sampling({}, "paper-ve").steps == 500
    assert build.sampling({"steps": 9}, "paper-vp").steps == 9


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"rule": "foo"}, None),
        ({"foo": 1}, r"field of sampler must be one of \['clip_x0', .*\], got 'foo'"),
        ({"steps": 2.5}, "sampler.steps must be of type int, got 2.5"),
        ({"steps": True}, "sampler.steps must be of type int, got True"),
        ({"eta": "big"}, "sampler.eta must be of type float, got 'big'"),
        ({"clip_x0": 1}, "sampler.clip_x0 must be of type bool, got 1"),
        ({"steps": -3}, "sampler.steps must be at least 1, got -3"),
        ({"eta": 2.0, "rule": "ancestral"}, r"eta must be in \[0, 1\], got 2.0"),
        ({"variance": "foo", "rule": "ancestral"}, "variance must be one of"),
        ({"sigma_end": 0.0}, "sigma_end must be above 0"),
        ({"corrector": "langevin", "norm": "foo"}, "norm must be one of"),
    ],
)
def test_a_wrong_sampler_is_named_with_what_is_allowed(values, told, prior):
    told = told or r"sampler.rule must be one of \['ancestral', .*'reverse_diffusion_flow'\], got"
    with pytest.raises(ValueError, match=told):
        build.plan(prior, build.sampling(values))


def test_whole_numbers_serve_as_fractions():
    sampling = build.sampling({"eta": 1, "steps": np.int64(3), "rho": np.float32(5)})
    assert sampling.eta == 1 and sampling.steps == 3


def test_a_prior_of_a_card_has_the_weights_of_the_folder(prior):
    for path, leaf in store.leaves(tiny_params()):
        np.testing.assert_array_equal(dict(store.leaves(prior.params))[path], leaf)
    assert prior.card["name"] == tiny_card()["name"]


def test_labels_are_checked():
    classes = {"config": {"num_classes": 3}}
    prior = Prior(sde.VE(), None, None, (4, 4, 3), card=classes)
    build.check_label(prior, 2)
    build.check_label(prior, None)
    with pytest.raises(ValueError, match=r"cond must be in \[0, 2\], got 3"):
        build.check_label(prior, 3)


def test_what_a_preset_settles_cannot_be_asked_otherwise():
    """What has its default value is not taken for asked: configs name every field."""
    everything = dataclasses.asdict(build.Sampling()) | {"steps": None}
    assert build.sampling(everything, "paper-ve").rule == "reverse_diffusion"
    assert build.sampling({"rule": "reverse_diffusion"}, "paper-ve").hold == "paper"
    for field, value in (("rule", "heun"), ("grid", "log_snr"), ("hold", "official")):
        with pytest.raises(ValueError, match=f"sampler.{field}: preset 'paper-ve' has"):
            build.sampling({field: value}, "paper-ve")


def test_a_listed_grid_begins_where_it_says():
    """Whatever t0 is asked for: the guide is noised to where the steps begin."""
    prior = sj.gaussian(sde.linear_table(), np.full((4, 4, 3), -0.5), 0.3)
    guide = np.full((4, 4, 3), 0.5, np.float32)
    listed = {"rule": "ddim", "grid": "diffusers_ddim", "steps": 10, "clip_x0": False}
    low, high = (sj.edit(prior, guide, t0=t0, **listed) for t0 in (0.2, 0.9))
    assert np.array_equal(low, high)
    begun = sj.edit(prior, guide, t0=0.2, **listed, skip=8)
    assert begun.mean() > high.mean() + 20  # a fifth of the way keeps more of the guide
