"""Classifier-free guidance and class labels: identities, closed forms, the program end to end.

Oracle: classes that are Gaussians. Their noise is linear in their means, so guidance between two of
them is the prior of the extrapolated mean, exactly.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from program import (
    ROOT,
    home,
    known,
    levels,
    names,
    noted,
    picture,
    recipe,
    refused,
    run,
    small,
    tiny_card,
)
from test_replay import replayed

import sdedit_jax as sj
from sdedit_jax import registry
from sdedit_jax.diffusion import sde
from sdedit_jax.diffusion.solvers import Prediction
from sdedit_jax.guidance import CFG
from sdedit_jax.modes.sdedit import classes_line
from sdedit_jax.nets.functional import network
from sdedit_jax.priors import analytic, prior
from sdedit_jax.priors.analytic import GaussianPredictor
from sdedit_jax.priors.conditioning import CFGCond, Classes, class_cond
from sdedit_jax.weights import conversion, store
from sdedit_jax.weights.families import guided_diffusion
from sdedit_jax.weights.source import Source

SIDE = 16
PROCESS = sde.VP()
SCALES = (0.0, 0.3, 1.0, 2.5, -1.0)


def means(count=4):
    return np.random.default_rng(1).uniform(-0.5, 0.5, (count, 4, 4, 3)).astype(np.float32)


def classes_of_gaussians(params, x, t, cond=None, key=None):
    """The predictor whose class k is N(means[k], 0.2^2); an embedding is a mean itself."""
    mean = cond["mean"] if isinstance(cond, dict) else params[cond]
    return analytic.gaussian(PROCESS, mean, 0.2).predict({"mean": mean, "std": 0.2}, x, t)


@pytest.fixture
def x(rng):
    return jnp.asarray(rng.standard_normal((4, 4, 3)), jnp.float32)


# --- the formula ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", SCALES)
def test_guidance_between_gaussians_is_the_prior_of_the_mean_beyond(scale, x):
    m, t = jnp.asarray(means()), jnp.float32(0.6)
    got = CFG(classes_of_gaussians)(m, x, t, CFGCond(jnp.int32(2), jnp.int32(1), scale)).eps
    mixed = {"mean": m[1] + scale * (m[2] - m[1])}
    np.testing.assert_allclose(got, classes_of_gaussians(m, x, t, mixed).eps, atol=2e-6)


def test_scales_0_and_1_are_exactly_one_of_the_two(x):
    m, t = jnp.asarray(means()), jnp.float32(0.6)
    guided = jax.jit(CFG(classes_of_gaussians))
    both = jax.jit(jax.vmap(classes_of_gaussians, (None, None, None, 0)))(
        m, x, t, jnp.array([1, 2])
    )
    for scale, wanted in ((0.0, both.eps[0]), (1.0, both.eps[1])):
        got = guided(m, x, t, CFGCond(jnp.int32(2), jnp.int32(1), jnp.float32(scale)))
        np.testing.assert_array_equal(got.eps, wanted)
        assert got.variance is None


def test_any_pytree_is_a_condition(x):
    """Embeddings, as of a text, with the same function; nothing of it is static."""
    m, t, traces = jnp.asarray(means()), jnp.float32(0.6), []

    def predict(params, x, t, cond=None, key=None):
        traces.append(1)
        return classes_of_gaussians(params, x, t, cond)

    guided = jax.jit(CFG(predict))
    for a, b, scale in ((0, 3, 2.0), (1, 2, 0.5), (2, 2, 7.0)):
        got = guided(None, x, t, CFGCond({"mean": m[a]}, {"mean": m[b]}, jnp.float32(scale))).eps
        mixed = {"mean": m[b] + scale * (m[a] - m[b])}
        np.testing.assert_allclose(got, classes_of_gaussians(m, x, t, mixed).eps, atol=5e-6)
    assert len(traces) == 1


def test_the_learned_variance_is_the_labels_and_stays_a_fraction(x):
    def predict(params, x, t, cond=None, key=None):
        return Prediction(x * cond, jnp.full_like(x, 0.25) * cond, {"maps": x + cond})

    for scale, fraction in ((0.0, 0.25), (0.5, 0.5), (1.0, 0.75), (5.0, 0.75), (-2.0, 0.25)):
        got = CFG(predict)(None, x, jnp.float32(0.5), CFGCond(jnp.int32(3), jnp.int32(1), scale))
        np.testing.assert_allclose(got.variance, jnp.full_like(x, fraction), rtol=1e-6)
        np.testing.assert_array_equal(got.attention["maps"], x + 3)


def test_dropout_is_the_same_on_both_sides(x):
    def predict(params, x, t, cond=None, key=None):
        return Prediction(jax.random.normal(key, x.shape))

    got = CFG(predict)(None, x, 0.5, CFGCond(jnp.int32(0), jnp.int32(1), 2.0), jax.random.key(3))
    np.testing.assert_allclose(got.eps, jax.random.normal(jax.random.key(3), x.shape), atol=1e-6)


def test_conditions_of_unequal_shapes_are_refused(x):
    m = jnp.asarray(means())
    with pytest.raises(ValueError, match=r"uncond must have the shapes of cond, got"):
        CFG(classes_of_gaussians)(m, x, 0.5, CFGCond({"mean": m[0]}, {"mean": m[:2]}, 1.0))


def test_equal_guidance_is_one_value(x):
    """A guided prior, made anew, compiles nothing."""
    traces, made = [], [prior.Prior(PROCESS, GaussianPredictor(PROCESS), None, (4, 4, 3))] * 2
    guided = [registry.guided(one.replace()) for one in made]
    assert guided[0] == guided[1] and hash(guided[0]) == hash(guided[1])
    assert guided[0].predict == CFG(GaussianPredictor(sde.VP())) != CFG(classes_of_gaussians)

    @functools.partial(jax.jit, static_argnums=0)
    def run(static, params, x, cond):
        traces.append(1)
        return static.predict(params, x, jnp.float32(0.5), cond).eps

    params = {"mean": jnp.zeros(x.shape), "std": jnp.float32(0.2)}
    for one, scale in zip(guided, (1.0, 3.0), strict=True):
        run(one.static, params, x, CFGCond(jnp.int32(2), jnp.int32(1), jnp.float32(scale)))
    assert len(traces) == 1
    with pytest.raises(ValueError, match=r"guidance.name must be one of \['cfg'\], got 'sega'"):
        registry.guided(made[0], "sega")


# --- labels ---------------------------------------------------------------------------------------


FLOWERS = Classes(2, 2, ("daisy", "rose"))


def test_what_a_predictor_gets_as_its_condition():
    known = Classes(10, 10)
    assert class_cond(known, None, None, 1.0) is None
    assert class_cond(known, 3, "", 1.0) == 3
    for against, number in (("null", 10), ("5", 5), (5, 5), (np.int64(0), 0)):
        assert class_cond(known, 3, against, 2.5) == CFGCond(3, number, 2.5)
    assert class_cond(None, 7, 8, 2.0) == CFGCond(7, 8, 2.0)  # a prior without a card
    assert class_cond(known, "", "", 1.0) is None and class_cond(known, "3", "", 1.0) == 3
    assert class_cond(FLOWERS, "rose", "", 1.0) == class_cond(FLOWERS, "1", "", 1.0) == 1
    assert class_cond(FLOWERS, "rose", "daisy", 2.0) == CFGCond(1, 0, 2.0)


@pytest.mark.parametrize(
    ("classes", "arguments", "told"),
    [
        (
            Classes(10),
            (None, None, 1.0),
            "cond: the prior requires a class label in [0, 9], got none",
        ),
        (Classes(10, 10), (10, None, 1.0), "cond must be in [0, 9], got 10"),
        (Classes(10, 10), (2.5, None, 1.0), "cond must be in [0, 9], got 2.5"),
        (Classes(10, 10), (True, None, 1.0), "cond must be in [0, 9], got True"),
        (Classes(None), (3, None, 1.0), "cond: the prior has no classes, got label 3"),
        (Classes(10, 10), (3, None, 2.0), "guidance.scale is 2.0, but guidance.against names no"),
        (Classes(10, 10), (None, "null", 2.0), "cond: guidance against 'null' requires a label"),
        (Classes(10), (3, "null", 2.0), "guidance.against: the prior has no null label"),
        (Classes(10), (3, "-1", 2.0), "guidance.against must be in [0, 9], got -1"),
        (Classes(10), (3, "cat", 2.0), "guidance.against: a class is a number; got 'cat'"),
        (Classes(10, 10), ("cat", "", 1.0), "cond: a class is a number; got 'cat'"),
        (Classes(10, 10), (3, "cat", 2.0), 'a class is a number, or "null" for no class; got'),
        (Classes(10, 10), (3, "nul", 2.0), "got 'nul'; did you mean 'null'?"),
        (Classes(10, 10), (3, 12, 2.0), 'must be in [0, 9], or "null" for no class, got 12'),
        (Classes(None), ("cat", "", 1.0), "cond: the prior has no classes, got 'cat'"),
        (FLOWERS, ("dasy", "", 1.0), "cond: a class is one of ['daisy', 'rose'], or its number"),
        (FLOWERS, ("2", "", 1.0), "cond must be in [0, 1], got 2"),
        (Classes(10), (3, 4, np.inf), "guidance.scale must be finite, got inf"),
        (Classes(10), (3, 4, 1.0), "guidance.against: 4 has no effect at guidance.scale 1"),
    ],
)
def test_bad_labels_give_one_clear_error(classes, arguments, told):
    with pytest.raises(ValueError) as caught:
        class_cond(classes, *arguments)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_names_of_classes_are_those_of_the_data_when_their_number_fits():
    def names(*labels):
        metadata = {"config": {"num_classes": 2}, "data": {"labels": list(labels)}}
        return registry.classes(
            prior.Prior(PROCESS, None, None, (4, 4, 3), metadata=metadata)
        ).names

    assert names("daisy", "rose") == ("daisy", "rose")
    assert names() == names("daisy") == ()


def test_cards_tell_of_null_labels():
    def known(**card):
        return registry.classes(prior.Prior(PROCESS, None, None, (4, 4, 3), metadata=card))

    config = {"num_classes": 7}
    assert known(network="ncsnpp", config=config) == Classes(7, 7)
    assert known(network="adm", config=config) == Classes(7, None)
    assert known(network="adm", config=config, null_label=6) == Classes(7, 6)
    assert known(network="ncsnpp", config={}) == Classes(None, None)
    assert registry.classes(analytic.gaussian(PROCESS, np.zeros((4, 4, 3)), 1.0)) is None


def test_the_null_label_of_ncsnpp_is_the_network_without_a_label(rng):
    card = {**tiny_card(), "config": {**tiny_card()["config"], "num_classes": 3}}
    made, fresh = registry.prior_of(card), registry.initial_params(card, 0)
    params = jax.tree.map(lambda a: a + 0.1 * rng.standard_normal(a.shape).astype("f"), fresh)
    x, t = jnp.asarray(rng.standard_normal(made.shape), jnp.float32), jnp.float32(0.5)
    predict = jax.jit(made.predict)
    none = predict(params, x, t).eps
    guided = functools.partial(CFG(predict), params, x, t)
    cond = registry.condition(made, 2, "null", 0.0)
    np.testing.assert_allclose(guided(cond).eps, none, atol=1e-5)
    apart = guided(cond._replace(scale=np.float32(1.0))).eps
    assert np.abs(apart - none).max() > 1e-3


# --- end to end -----------------------------------------------------------------------------------


def original():
    """What the original's UNetModel would be called with."""
    unet = {"image_size": SIDE, "in_channels": 3, "model_channels": 32, "out_channels": 6}
    unet |= {"num_res_blocks": 1, "attention_resolutions": [], "channel_mult": [1]}
    unet |= {"num_classes": 6, "num_heads": 2, "use_scale_shift_norm": True}
    unet |= {"use_new_attention_order": False}
    diffusion = {"steps": 1000, "noise_schedule": "linear", "learn_sigma": True}
    return {"unet_kwargs": unet, "diffusion_kwargs": diffusion}


@functools.cache
def class_prior():
    """The folder of a prior with six classes, made of tensors with the original's names."""
    shapes = network(registry.NETS["adm"], original()["unet_kwargs"]).shapes
    draw, tensors = np.random.default_rng(5), {}
    for path, leaf in store.leaves(shapes):
        shape = leaf.shape[::-1] if leaf.ndim < 4 else tuple(leaf.shape[i] for i in (3, 2, 0, 1))
        shape = leaf.shape if path.endswith("embedding") else shape
        a = draw.standard_normal(shape) / np.sqrt(max(np.prod(shape[1:]), 10))
        tensors[conversion.default_name(path)] = (a + path.endswith("scale")).astype(np.float32)
    source = Source(home(), tensors)
    card = guided_diffusion.describe(source, original())
    params = conversion.fill(registry.prior_of(card).params, source)
    store.save(home() / "classes", params, {"name": "classes", **card})
    return str(home() / "classes")


def labelled(**changes):
    """The config of classes.py on the tiny prior with classes."""
    few = {"input": "examples/strokes/cherry.png", "sampler__steps": 3, "t0": 0.7}
    learned = {"sampler__rule": "ancestral", "sampler__grid": "uniform"}
    alone = {"guidance__against": "", "guidance__scale": 1.0}
    return small("classes", **{"prior": class_prior(), **few, **learned, **alone, **changes})


@pytest.fixture
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_an_edit_with_two_labels(at_root, tmp_path, capsys):
    """Edited by the program, told in its records, the same from Python, and replayed."""
    config = labelled(cond="3", guidance__against="5", guidance__scale=2.0)
    assert run(config, tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "class     3 against 5, scale 2" in printed and "= 6 evaluations" in printed
    told = {"label": 3, "against": 5, "scale": 2.0}
    record = noted(tmp_path / "out")
    assert record["class"] == told and record["evaluations"] == 6
    assert record["sampler"]["rule"] == "ancestral(variance='learned')"
    file = tmp_path / "out" / "cherry_1.png"
    assert recipe(file)["class"] == told
    loaded, guide = sj.load_prior(class_prior()), picture(tmp_path / "out" / "cherry_guide.png")
    edit = functools.partial(sj.edit, loaded, guide, t0=0.7, steps=3, id="cherry", sample=1)
    same = edit(cond=3, against=5, scale=2.0, rule="ancestral", grid="uniform")
    assert levels(same, picture(file)) <= 1
    code, told = replayed(file, capsys)
    assert code == 0 and "bit-equal" in told


def test_classes_are_printed_by_their_names():
    flowers = Classes(3, 3, ("daisy", "rose", "tulip"))
    assert classes_line(flowers, np.int32(1)) == "rose (1)"
    pair = CFGCond(np.int32(1), np.int32(2), np.float32(2))
    assert classes_line(flowers, pair) == "rose (1) against tulip (2), scale 2"
    null = pair._replace(uncond=np.int32(3))
    assert classes_line(flowers, null) == "rose (1) against no class (3), scale 2"
    assert classes_line(Classes(6), pair) == classes_line(None, pair) == "1 against 2, scale 2"


def test_the_labels_matter_as_the_formula_says(at_root, tmp_path):
    def made(name, **changes):
        assert run(labelled(samples=1, **changes), tmp_path / name) == 0
        return picture(tmp_path / name / "cherry_0.png")

    three, five = made("three", cond="3"), made("five", cond="5")
    assert levels(three, five) > 5
    at = {"cond": "3", "guidance__against": "5"}
    assert levels(made("one", guidance__scale=1.0001, **at), three) <= 1
    assert levels(made("zero", guidance__scale=0.0, **at), five) <= 1
    far = made("far", guidance__scale=3.0, **at)
    assert levels(far, three) > 5 and levels(far, five) > levels(three, five)


def test_other_labels_and_scales_compile_nothing():
    loaded, traces = sj.load_prior(class_prior()), []

    def predict(params, x, t, cond=None, key=None):
        traces.append(1)
        mean = params[cond]
        return analytic.gaussian(loaded.process, mean, 0.2).predict(
            {"mean": mean, "std": 0.2}, x, t
        )

    shape = (6, SIDE, SIDE, 3)
    params = jnp.linspace(-1, 1, 6).reshape(6, 1, 1, 1) * jnp.ones(shape)
    counted = loaded.replace(
        predict=predict, params=params, metadata={**loaded.metadata, "prediction": {}}
    )
    edit = functools.partial(sj.edit, counted, known(), steps=3, t0=0.9)
    seen = [edit(cond=3, against=1, scale=2.0)]
    once = len(traces)
    seen += [
        edit(cond=c, against=a, scale=s) for c, a, s in ((0, 5, 0.5), (4, 0, 1.01), (2, 4, -1))
    ]
    assert len(traces) == once
    assert all(levels(a, b) > 1 for a, b in zip(seen, seen[1:], strict=False))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cond": ""}, "cond: the prior requires a class label in [0, 5], got none"),
        ({"cond": "6"}, "cond must be in [0, 5], got 6"),
        (
            {"cond": "1", "guidance__against": "null"},
            "guidance.against: the prior has no null label",
        ),
        ({"cond": "1", "guidance__against": "9"}, "guidance.against must be in [0, 5], got 9"),
        ({"cond": "1", "guidance__against": "x"}, "guidance.against: a class is a number"),
        (
            {"cond": "1", "guidance__scale": 2.0},
            "guidance.scale is 2.0, but guidance.against names",
        ),
        (
            {"cond": "1", "guidance__name": "foo"},
            "guidance.name must be one of ['cfg'], got 'foo'",
        ),
    ],
)
def test_bad_labels_are_refused_before_any_work(at_root, changes, told, tmp_path):
    assert told in refused(labelled(**changes), tmp_path)
    assert names(tmp_path) == []
