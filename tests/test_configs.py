"""The configs and build: every config builds and traces, wrong names list what is allowed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pure
import pytest
from program import ROOT, SIZE, config_of, exact_prior, tiny_card, tiny_params, tiny_prior

import sdedit_jax as sj
from sdedit_jax import images, registry
from sdedit_jax.data.pictures import Source
from sdedit_jax.diffusion import sde
from sdedit_jax.diffusion.strength import t_from_log_snr
from sdedit_jax.edits.sdedit import Request
from sdedit_jax.images.guide import Guide
from sdedit_jax.modes.config import resolve
from sdedit_jax.modes.train import metadata_of
from sdedit_jax.pipeline import settings
from sdedit_jax.priors.prior import Prior
from sdedit_jax.registry import sampler_parts
from sdedit_jax.tasks import TaskInput
from sdedit_jax.weights import load, store

CONFIGS = sorted(file.stem for file in (ROOT / "configs").glob("[a-z]*.py"))
EDITS = [name for name in CONFIGS if "task" in config_of(name)]


@pytest.fixture(scope="module")
def prior():
    return load.load_prior(tiny_prior())


def traced(prior, sampling):
    """The shape of an edit's result, without running it."""
    guide = Guide(jnp.zeros(prior.shape), jnp.ones((*prior.shape[:2], 1)))
    run = pure.edit(settings.resolve(prior, sampling, 0.5).plan)
    request = Request(jnp.float32(0.5), guide)
    return jax.eval_shape(run, prior.params, request, jax.random.key(0)).image.shape


def test_every_task_has_a_config():
    tasks = {config_of(name).task for name in EDITS}
    assert tasks == set(registry.TASKS)


OTHERS = ("evaluate_composite", "evaluate_church")
"""Configs of evaluations whose example no edit can take: it needs patches, or there is none."""


@pytest.mark.parametrize("name", [name for name in EDITS if name not in OTHERS])
def test_every_config_reads_its_example_and_traces(name, prior, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = resolve(config_of(name), "edit")
    inputs = images.find_inputs(config.input)
    item = registry.task(config.task)(
        str(inputs[0]), config.options.to_dict(), (SIZE, SIZE), config.fit
    )
    assert isinstance(item, TaskInput) and item.guide.image.shape == (SIZE, SIZE, 3)
    sampling = settings.sampling({**config.sampler.to_dict(), "steps": 3}, config.preset, config.t0)
    assert traced(prior, sampling) == (SIZE, SIZE, 3)


@pytest.mark.parametrize("name", ["train", "train_flowers"])
def test_the_train_configs_build_priors_that_trace(name):
    config = config_of(name)
    side = config.net.image_size
    card = metadata_of(config, Source(np.zeros((1, side, side, 3), np.uint8)))
    prior = registry.prior_of(card)
    shape = jax.ShapeDtypeStruct((side, side, 3), jnp.float32)
    eps = jax.eval_shape(lambda p, x: prior.eps(p, x, 0.5), prior.params, shape)
    assert eps.shape == (side, side, 3)
    assert prior.process == sde.VE(0.01, 80.0)


def test_the_defaults_of_the_configs_are_those_of_the_library():
    config = config_of("base")
    given = settings.sampling(config.sampler.to_dict())
    assert settings.as_strings(given) == settings.Sampling()
    assert set(config.sampler) == {field.name for field in dataclasses.fields(settings.Sampling)}
    assert settings.Sampling().steps == 12 and config.t0 == 0.5


@pytest.mark.parametrize("rule", sampler_parts.SOLVERS)
def test_every_rule_traces(rule, prior):
    with_it = {"grid": "diffusers_pndm"} if rule == "plms" else {}
    assert traced(prior, settings.sampling({"rule": rule, "steps": 2} | with_it)) == (SIZE, SIZE, 3)


@pytest.mark.parametrize("grid", sampler_parts.GRIDS)
def test_every_grid_traces_with_a_corrector(grid, prior):
    with_it = {"rule": "plms"} if grid == "diffusers_pndm" else {}
    sampling = settings.sampling({"grid": grid, "steps": 2, "corrector": "langevin"} | with_it)
    assert traced(prior, sampling) == (SIZE, SIZE, 3)


@pytest.mark.parametrize("alone", [{"rule": "plms"}, {"grid": "diffusers_pndm"}])
def test_plms_and_its_grid_belong_together(alone):
    with pytest.raises(ValueError, match='"plms" and sampler.grid "diffusers_pndm" belong'):
        settings.sampling(alone)


def test_presets_bring_their_process_and_keep_the_noise_level():
    prior = load.load_prior(exact_prior())
    x = jnp.asarray(np.random.default_rng(0).standard_normal(prior.shape), jnp.float32)
    assert settings.preset_process(prior, "paper-ve") is prior
    assert settings.preset_process(prior, "") is prior
    for preset, kind in [("paper-vp", sde.VP), ("official", sde.Tabulated)]:
        other = settings.preset_process(prior, preset)
        assert isinstance(other.process, kind)
        assert settings.preset_process(prior, preset).predict == other.predict  # compiled once
        # x_t = alpha (x0 + n z): the same noise-to-signal ratio is the same question to the network
        t = 0.4
        alpha, sigma = sde.level(other.process, t)
        own = t_from_log_snr(prior.process, sde.log_snr(other.process, t))
        np.testing.assert_allclose(sde.level(prior.process, own)[1], sigma / alpha, rtol=1e-4)
        wanted = prior.eps(prior.params, x / alpha, own)
        np.testing.assert_allclose(other.eps(other.params, x, t), wanted, atol=2e-3)


def test_official_runs_a_thousand_t0_steps():
    for t0, steps in ((0.5, 500), (0.25, 250), (0.0, 1), (1.0, 1000)):
        assert settings.sampling({}, "official", t0).steps == steps
    assert settings.sampling({"steps": 250}, "official", 0.25).steps == 250
    with pytest.raises(ValueError, match="runs 1000 t0 = 250 steps"):
        settings.sampling({"steps": 20}, "official", 0.25)
    assert settings.sampling({}, "paper-ve").steps == 500
    assert settings.sampling({"steps": 9}, "paper-vp").steps == 9


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"rule": "foo"}, None),
        ({"foo": 1}, r"field of sampler must be one of \['corrector', .*\], got 'foo'"),
        ({"steps": 2.5}, "sampler.steps must be a whole number, got 2.5"),
        ({"steps": True}, "sampler.steps must be a whole number, got True"),
        ({"rule": "ddim(eta=0.5)"}, r"sampler.rule: ddim has no parameter 'eta'.*; it has"),
        ({"rule": "dpmpp_2m(order=3)"}, "sampler.rule: dpmpp_2m has no parameter 'order'"),
        (
            {"rule": "adaptive(rtol=tol)"},
            "sampler.rule: rtol of adaptive must be a number, .*got tol",
        ),
        (
            {"rule": "ancestral(eta='big')"},
            "sampler.rule: eta of ancestral must be a number, got 'big'",
        ),
        *(
            ({"rule": f"ancestral(eta={deep})"}, r"eta of ancestral must be a number.* got [-xn]")
            for deep in ("-" * 1500 + "1", "x" + "+x" * 1800, "x" + ".a" * 1900, "not " * 900 + "x")
        ),
        ({"rule": "ddim(clip_x0=1)"}, "clip_x0 of ddim must be true or false, got 1"),
        ({"rule": 3}, "sampler.rule must be a text, got 3"),
        ({"steps": -3}, "sampler.steps must be at least 1, got -3"),
        ({"rule": "ancestral(eta=2.0)"}, r"eta must be in \[0, 1\], got 2.0"),
        ({"rule": "ancestral(variance='foo')"}, "variance must be one of"),
        ({"grid": "karras(sigma_end=0.0)"}, "sigma_end must be above 0"),
        ({"corrector": "langevin(norm='foo')"}, "norm must be one of"),
        ({"noise_by": "index"}, r"sampler.noise_by must be one of \['step', 'time'\], got 'index'"),
    ],
)
def test_a_wrong_sampler_is_named_with_what_is_allowed(values, told, prior):
    told = told or r"sampler.rule must be one of \['adaptive', .*'unipc'\], got"
    with pytest.raises(ValueError, match=told):
        settings.resolve(prior, settings.sampling(values), 0.5)


def test_whole_numbers_serve_as_fractions():
    given = {"rule": "ancestral(eta=1)", "steps": np.int64(3), "grid": "karras(rho=5)"}
    sampling = settings.sampling(given)
    assert sampling.rule.eta == 1 and sampling.steps == 3 and sampling.grid.rho == 5


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("ancestral(eta=0.5)", "ancestral(eta=0.5)"),
        ("ancestral( eta = 1.0 )", "ancestral"),
        ("ancestral(eta=0.0)", "ddim"),
        ("dpmpp_2m_sde(clip_x0=False)", "dpmpp_2m_sde(clip_x0=False)"),
        ("dpmpp_3m(form='exact')", "dpmpp_3m(form='exact')"),
        ("sa_solver(tau=0)", "sa_solver(tau=0)"),
        ("unipc(order=3)", "unipc(order=3)"),
        ("heun()", "heun"),
        ("heun(churn=0.1)", "heun(churn=0.1)"),
    ],
)
def test_a_part_and_its_string(text, short):
    """The string of a recipe gives the same part again."""
    part = sampler_parts.parse(text, sampler_parts.SOLVERS, "sampler.rule")
    assert sampler_parts.as_text(part, sampler_parts.SOLVERS) == short
    assert sampler_parts.parse(short, sampler_parts.SOLVERS, "sampler.rule") == part
    assert sampler_parts.parse(part, sampler_parts.SOLVERS, "sampler.rule") is part


def test_a_prior_has_the_weights_of_the_folder(prior):
    for path, leaf in store.leaves(tiny_params()):
        np.testing.assert_array_equal(dict(store.leaves(prior.params))[path], leaf)
    assert prior.metadata["name"] == tiny_card()["name"]


def test_labels_are_checked():
    classes = {"config": {"num_classes": 3}}
    prior = Prior(sde.VE(), None, None, (4, 4, 3), metadata=classes)
    registry.check_label(prior, 2)
    registry.check_label(prior, None)
    with pytest.raises(ValueError, match=r"cond must be in \[0, 2\], got 3"):
        registry.check_label(prior, 3)


def test_what_a_preset_fixes_cannot_be_given_otherwise():
    """What has its default value is not taken for asked: configs name every field."""
    everything = dataclasses.asdict(settings.Sampling()) | {"steps": None}
    found = settings.as_strings(settings.sampling(everything, "paper-ve"))
    assert found.rule == "reverse_diffusion"
    assert settings.sampling({"rule": "reverse_diffusion"}, "paper-ve").hold == "paper"
    for field, value in (("rule", "heun"), ("grid", "log_snr"), ("hold", "official")):
        with pytest.raises(ValueError, match=f"sampler.{field}: preset 'paper-ve' has"):
            settings.sampling({field: value}, "paper-ve")


def test_a_listed_grid_begins_where_it_says():
    """The guide is noised to where the steps begin; a t0 beside the grid is refused."""
    prior = sj.gaussian(sde.linear_table(), np.full((4, 4, 3), -0.5), 0.3)
    guide = np.full((4, 4, 3), 0.5, np.float32)
    listed = {"rule": "ddim(clip_x0=False)", "steps": 10}
    grid = {"grid": "diffusers_ddim"}
    listed["value_range"] = (-1, 1)
    high = sj.edit(prior, guide, **listed, **grid)
    with pytest.raises(ValueError, match='grid "diffusers_ddim" has no t0; t0 needs another grid'):
        sj.edit(prior, guide, t0=0.2, **listed, **grid)
    begun = sj.edit(prior, guide, **listed, grid="diffusers_ddim(skip=8)")
    assert begun.mean() > high.mean() + 20  # a fifth of the way keeps more of the guide
