"""The denoise test: working priors pass, mutations of the included one fail and are named."""

import json
import math
from pathlib import Path

import foreign_files
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SHARED

import sdedit_jax as sj
from sdedit_jax.diffusion import sde
from sdedit_jax.diffusion.solvers import Prediction
from sdedit_jax.diffusion.strength import t_from_sigma
from sdedit_jax.priors import adapters, analytic, prior
from sdedit_jax.weights import load, selfcheck
from sdedit_jax.weights.convert import convert
from sdedit_jax.weights.selfcheck import denoise, drawings

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"
INCLUDED = CHECKPOINTS / "fruits64"
LINEAR, SCALED, COSINE = sde.linear_table(), sde.scaled_linear_table(), sde.cosine_table()
VP, SUBVP = sde.VP(), sde.SubVP()
SHAPE = (16, 16, 3)


@pytest.fixture(scope="module")
def included():
    loaded = sj.load_prior(INCLUDED)
    # arrays of numpy: a mutation compiles nothing
    return loaded.replace(params=jax.tree.map(np.asarray, loaded.params))


def changed(params, changes):
    """The parameters with the leaves "a/b" replaced."""

    def walk(tree, path=""):
        if not isinstance(tree, dict):
            return changes.get(path, tree)
        return {
            name: walk(child, f"{path}/{name}" if path else name) for name, child in tree.items()
        }

    return walk(params)


def mutated(included, change):
    """The verdict on the included prior after {leaf: new value} = change(leaves)."""
    leaves = {f"all_modules/{name}": a for name, a in under(included.params["all_modules"])}
    return selfcheck.check(included.replace(params=changed(included.params, change(leaves))))


def under(tree, path=""):
    for name, child in tree.items():
        here = f"{path}/{name}" if path else name
        yield from under(child, here) if isinstance(child, dict) else [(here, child)]


FIRST, LAST, HEAD = "all_modules/4", "all_modules/33", "all_modules/35"
"""Of the included network: the first and the last block, and the convolution to the picture."""


def ends(leaves):
    """The leaves that touch the channels of the picture: into the network, out of it."""
    return leaves["all_modules/3/kernel"], leaves[f"{HEAD}/kernel"], leaves[f"{HEAD}/bias"]


def with_ends(into, out, bias):
    return {"all_modules/3/kernel": into, f"{HEAD}/kernel": out, f"{HEAD}/bias": bias}


# --- the included prior --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_the_included_prior_passes(included, seed):
    verdict = selfcheck.check(included, seed=seed)
    assert verdict.passed and verdict.failure_mode == ""
    assert all(p.rmse <= p.at_most for p in verdict.curve)
    np.testing.assert_allclose(
        [p.sigma for p in verdict.curve], [0.1, 0.4, 1.6, 6.4, 25.6], rtol=0.01
    )


def exchanged(a, b):
    return lambda leaves: {a: leaves[b], b: leaves[a]}


def scaled(leaves, names, by):
    return {name: np.float32(by) * leaves[name] for name in leaves if name.startswith(names)}


MUTATIONS = {
    "two layers of one shape": (
        exchanged(f"{FIRST}/Conv_0/kernel", f"{LAST}/Conv_1/kernel"),
        ("weights", "scale", "untrained"),
    ),
    "two layers of neighbours": (
        exchanged("all_modules/32/Conv_1/kernel", f"{LAST}/Conv_1/kernel"),
        ("weights", "scale", "untrained"),
    ),
    "all weights scaled": (lambda leaves: scaled(leaves, "all_modules", 1.3), ("scale", "weights")),
    "the last layer scaled": (lambda leaves: scaled(leaves, HEAD, 1.3), ("scale", "weights")),
    "channels swapped": (
        lambda leaves: with_ends(
            ends(leaves)[0][:, :, ::-1], ends(leaves)[1][..., ::-1], ends(leaves)[2][::-1]
        ),
        ("channels",),
    ),
    "pictures negated": (
        lambda leaves: with_ends(*(-a for a in ends(leaves))),
        ("negative",),
    ),
    "squares of the weights, as in an optimizer's state": (
        lambda leaves: {name: a**2 for name, a in leaves.items()},
        ("untrained",),
    ),
    "raw random weights": (
        lambda leaves: {
            name: np.random.default_rng(0).standard_normal(a.shape, np.float32) * a.std()
            for name, a in leaves.items()
        },
        ("untrained",),
    ),
    "not finite": (
        lambda leaves: {f"{HEAD}/bias": leaves[f"{HEAD}/bias"] * np.float32(np.nan)},
        ("numbers",),
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_caught_and_named(included, name):
    change, names = MUTATIONS[name]
    verdict = mutated(included, change)
    assert not verdict.passed
    assert verdict.failure_mode in names and "fails" in verdict.message


def test_a_wrong_data_range_is_caught(included):
    """An adapter that turns x into factor (x + shift), for a network that does not want it."""

    def predict(params, x, t, cond=None, key=None):
        factor, shift = params["factor"], params["shift"]
        at = t_from_sigma(included.process, factor * included.process.sigma(t))
        return included.predict(params["net"], factor * (x + shift), at)

    for factor, shift, says in ((0.5, 1.0, "not in [0, 1]"), (2.0, -0.5, "not in [-1, 1]")):
        params = {"net": included.params, "factor": factor, "shift": shift}
        verdict = selfcheck.check(included.replace(predict=predict, params=params))
        assert not verdict.passed and verdict.failure_mode == "range" and says in verdict.message


def test_a_ddpm_like_prior_and_its_table(included):
    """Passes under its own table; under another one fails, and its own is named."""
    like = included.with_process(LINEAR)
    assert selfcheck.check(like).passed
    for other in (COSINE, SCALED):
        verdict = selfcheck.check(like.replace(process=other))
        assert not verdict.passed and verdict.failure_mode == "table"
        assert "'linear'" in verdict.message


def test_mutations_that_no_test_of_outputs_can_see(included):
    """Hidden units renamed consistently; a scale that a norm takes away; 1 percent."""

    def renamed(leaves):
        block = "all_modules/9"  # attention: the order of the features of queries and keys
        order = np.random.default_rng(0).permutation(leaves[f"{block}/NIN_0/W"].shape[1])
        return {
            f"{block}/NIN_{i}/{name}": leaves[f"{block}/NIN_{i}/{name}"][..., order]
            for i in (0, 1)
            for name in ("W", "b")
        }

    def normed(leaves):
        names = (f"{FIRST}/Conv_0", f"{FIRST}/Dense_0")
        return scaled(leaves, names, 1.3)

    intact = selfcheck.check(included)
    for change, off in (
        (renamed, 1e-3),
        (normed, 1e-2),
        (lambda leaves: scaled(leaves, HEAD, 1.01), 0.1),
    ):
        verdict = mutated(included, change)
        assert verdict.passed
        rmse = [[p.rmse for p in v.curve] for v in (verdict, intact)]
        np.testing.assert_allclose(*rmse, rtol=off)


# --- through the files of other programs ----------------------------------------------------------


def test_a_score_sde_file_gives_the_prior_back(included, tmp_path):
    file = tmp_path / "checkpoint_9.pth"
    pytest.importorskip("torch")
    foreign_files.write_score_sde_pth(file, INCLUDED)
    architecture = foreign_files.given_for(INCLUDED)
    report = convert(file, tmp_path / "out", architecture=architecture, check=False)
    assert report.metadata["source"]["ema"] is True
    same = jax.tree.map(np.array_equal, sj.load_prior(tmp_path / "out").params, included.params)
    assert all(jax.tree.leaves(same))


def test_a_mutated_jax_file_fails_and_loads(included, tmp_path):
    def swap(params):
        a, b = f"{FIRST}/Conv_0/kernel", f"{LAST}/Conv_1/kernel"
        leaves = {f"all_modules/{name}": leaf for name, leaf in under(params["all_modules"])}
        return changed(params, {a: leaves[b], b: leaves[a]})

    file = tmp_path / "checkpoint_9"
    foreign_files.write_score_sde_flax(file, INCLUDED, swap)
    architecture = foreign_files.given_for(INCLUDED)
    report = convert(file, tmp_path / "out", architecture=architecture)
    assert not report.verdict.passed
    loaded = sj.load_prior(tmp_path / "out")
    assert loaded.metadata["check"]["passed"] is False
    assert loaded.metadata["check"]["failure_mode"] == report.verdict.failure_mode


def listed(folder):
    """modules.json of a golden case; the small copy of a case may lack it."""
    file = folder / "modules.json"
    if not file.exists():
        file = SHARED / "goldens" / folder.name / "modules.json"
    if not file.exists():
        pytest.skip(f"{folder.name} has no modules.json here and ../shared is not here")
    return file


def test_the_writer_names_modules_as_the_originals(golden):
    """Order and names of score_sde_pytorch and score_sde, from a listing made by running them."""
    listing = json.loads(listed(golden("jax_ddpmpp_vp_discrete_resblockddpm")).read_text())
    weights, flax_names = {}, []
    for module in listing["all_modules"]:
        flax_names.append(module["flax_name"])
        for name, shape in module["params"].items():
            *child, last = name.split(".")
            ours = {"weight": "scale" if len(shape) == 1 else "kernel"}.get(last, last)
            turned = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[len(shape)] if ours == "kernel" else None
            value = np.zeros(shape).transpose(turned) if turned else np.zeros(shape)
            weights["/".join(["all_modules", str(module["index"]), *child, ours])] = value
    resized = [name for name in flax_names if name.startswith(("Downsample", "Upsample"))]
    named = foreign_files.torch_named(dict(sorted(weights.items())))
    assert [f"module.{name}" for name in named] == listing["parameter_order"]
    shapes = {m["index"]: m["params"] for m in listing["all_modules"]}
    for name, a in named.items():
        _, index, leaf = name.split(".", 2)
        assert list(a.shape) == shapes[int(index)][leaf]
    # the included network resizes without parameters, so the writer knows no class for that
    plain = {k: v for k, v in weights.items() if flax_names[int(k.split("/")[1])] not in resized}
    assert list(foreign_files.flax_named(plain)) == [n for n in flax_names if n not in resized]


# --- closed forms ---------------------------------------------------------------------------------


def exact(process, std=0.05, shape=SHAPE):
    """The exact prior of data around the drawings."""
    return analytic.mixture(process, drawings.draw(shape), std)


@pytest.mark.parametrize(
    "process", [sde.VE(), VP, SUBVP, LINEAR, COSINE, sde.discretize(sde.VE(), 300)], ids=type
)
def test_exact_priors_pass_on_every_process(process):
    verdict = selfcheck.check(exact(process))
    assert verdict.passed
    for p in verdict.curve[:3]:  # the drawing is found: then as for N(drawing, std^2) at its mean
        np.testing.assert_allclose(p.rmse, p.sigma * 0.05**2 / (0.05**2 + p.sigma**2), rtol=0.05)


def test_the_error_is_that_of_the_gaussian_prior():
    """E |D - x0|^2 = r^2 s^2 / (r^2 + s^2) of data N(mean, s^2), and its gain on z."""
    mean, std = drawings.draw((64, 64, 3))[0], 0.05
    known = analytic.gaussian(VP, mean, std)
    z = np.random.default_rng(7).standard_normal(mean.shape, np.float32)
    verdict = selfcheck.check(known, (mean + std * z)[None])
    assert verdict.passed
    for p in verdict.curve:
        total = p.sigma**2 + std**2
        np.testing.assert_allclose(p.rmse, p.sigma * std / math.sqrt(total), rtol=0.03)
        np.testing.assert_allclose(p.gain, p.sigma**2 / total, atol=0.01)


def test_the_exact_prior_of_pictures_passes_on_them():
    known = load.load_prior(CHECKPOINTS / "exact")
    assert selfcheck.check(known, np.asarray(known.params["means"][:1])).passed


def closed_net(process, steps):
    """A network of DDPM's convention, exact for the drawings under the process."""
    known = exact(process)

    def net(params, x, label, y=None, key=None):
        return known.predict(known.params, x[0], (label[0] + 1) / steps).eps[None]

    return net


TABLES = {"linear": LINEAR, "scaled_linear": SCALED, "cosine": COSINE, "subVP": SUBVP}


@pytest.mark.parametrize("true", TABLES)
def test_every_other_table_is_found_out(true):
    predict = adapters.DDPM(closed_net(TABLES[true], 1000), LINEAR)
    for claimed, process in TABLES.items():
        verdict = selfcheck.check(prior.Prior(process, predict, {}, SHAPE))
        assert verdict.passed == (claimed == true)
        if claimed != true:
            assert verdict.failure_mode == "table" and true in verdict.message


def test_a_wrong_sigma_max_of_counted_levels_is_found_out():
    """score_sde's discrete VE networks divide by the sigma of their own table."""
    true, claimed = sde.VE(0.02, 180.0), sde.VE(0.02, 100.0)
    known = exact(true)

    def net(params, x, label, y=None, key=None):
        t = 1 - label[0] / 999
        return -known.predict(known.params, 2 * x[0] - 1, t).eps[None] / (claimed.sigma(t) / 2)

    for process in (true, claimed):
        predict = adapters.ScoreSDEVEDiscrete(net, claimed, 1000)
        verdict = selfcheck.check(prior.Prior(process, predict, {}, SHAPE))
        assert verdict.passed == (process is true)
    assert verdict.failure_mode == "table" and "sigma_max 180" in verdict.message


def wrapped(known, turn):
    """The prior with eps replaced by turn(x, t, eps)."""

    def predict(params, x, t, cond=None, key=None):
        return Prediction(turn(x, t, known.predict(params, x, t).eps))

    return known.replace(predict=predict)


def test_other_outputs_and_labels_are_named():
    known = exact(LINEAR)
    for says, turn in {
        "v where": lambda x, t, eps: sde.v_from_eps(LINEAR, x, t, eps),
        "x0 where": lambda x, t, eps: sde.x0_from_eps(LINEAR, x, t, eps),
        "-eps where": lambda x, t, eps: -eps,
    }.items():
        verdict = selfcheck.check(wrapped(known, turn))
        assert verdict.failure_mode == "prediction" and says in verdict.message

    def backwards(params, x, t, cond=None, key=None):
        return known.predict(params, x, 1.001 - t)

    assert selfcheck.check(known.replace(predict=backwards)).failure_mode == "labels"
    louder = wrapped(known, lambda x, t, eps: 1.3 * eps)
    assert selfcheck.check(louder).failure_mode == "scale"


def test_answers_without_a_network_are_untrained():
    """Zero, and EDM's answer of a network that is zero: the best pixelwise shrinking."""
    known = exact(VP)

    def shrinking(x, t, eps):
        alpha, sigma = sde.level(VP, t)
        return x * sigma / (0.25 * alpha**2 + sigma**2)

    for turn in (shrinking, lambda x, t, eps: 0 * eps):
        assert selfcheck.check(wrapped(known, turn)).failure_mode == "untrained"


def test_a_network_that_wants_a_class_gets_class_0():
    """Learned variance does not disturb."""
    known = exact(LINEAR)

    def predict(params, x, t, cond=None, key=None):
        if cond is None:
            raise ValueError("y must be given")
        eps = jnp.where(cond == 0, known.predict(params, x, t).eps, jnp.nan)
        return Prediction(eps, variance=x)

    assert selfcheck.check(known.replace(predict=predict)).passed


def test_one_picture_that_the_prior_knows_is_enough(rng):
    known = exact(VP)
    strange = rng.uniform(-1, 1, (1, *SHAPE)).astype(np.float32)
    assert not selfcheck.check(known, strange).passed
    assert selfcheck.check(known, np.concatenate([strange, drawings.draw(SHAPE)])).passed


@pytest.mark.parametrize("works, most", [(True, 8), (False, 30)])
def test_evaluations_are_few(works, most):
    known, calls = exact(LINEAR), []

    def turn(x, t, eps):
        jax.debug.callback(lambda: calls.append(1))
        return eps if works else 0.5 * eps**2

    assert selfcheck.check(wrapped(known, turn)).passed == works
    jax.effects_barrier()
    assert 5 <= len(calls) <= most


def test_the_verdict_as_json():
    verdict = selfcheck.check(exact(sde.VE(0.02, 10.0)))
    told = json.loads(json.dumps(selfcheck.as_json(verdict), allow_nan=False))
    assert told["passed"] is True and told["failure_mode"] == "" and len(told["curve"]) == 4
    assert told["curve"][0].keys() == {"sigma", "rmse", "at_most", "gain"}
    broken = wrapped(exact(VP), lambda x, t, eps: eps * jnp.nan)
    told = json.loads(json.dumps(selfcheck.as_json(selfcheck.check(broken)), allow_nan=False))
    assert told["failure_mode"] == "numbers" and told["curve"][0]["rmse"] is None


def test_bad_arguments_are_refused():
    known = exact(VP)
    for shape in [(16, 16, 3), (1, 8, 16, 3), (0, 16, 16, 3)]:
        with pytest.raises(ValueError, match=r"pictures must have the shape \[B, 16, 16, 3\]"):
            selfcheck.check(known, np.zeros(shape))
    with pytest.raises(ValueError, match="process must reach a sigma of"):
        selfcheck.check(exact(sde.VE(100.0, 200.0)))


# --- the drawings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [8, 32, 128])
def test_drawings_have_the_colours_of_things(side):
    fruit, land = drawings.draw((side, side, 3))
    assert fruit.dtype == np.float32 and -1 <= min(fruit.min(), land.min())
    assert max(fruit.max(), land.max()) <= 1
    skin, sky = fruit[side // 2, side // 2], land[0].mean(axis=0)
    grass = land[-1].mean(axis=0)
    assert skin[0] > skin[2] and sky[2] > sky[0] and grass[1] > max(grass[0], grass[2])


def test_drawings_are_the_same_picture_at_every_size():
    """But for their textures, whose grain is a pixel."""
    large, small = (drawings.draw((side, side, 3)) for side in (128, 32))
    reduced = large.reshape(2, 32, 4, 32, 4, 3).mean(axis=(2, 4))
    assert np.sqrt(np.mean((reduced - small) ** 2)) < 0.2 * small.std()


def test_drawings_of_other_channels_are_grey():
    grey = drawings.draw((16, 16, 1))
    np.testing.assert_allclose(grey[..., 0], drawings.draw(SHAPE).mean(axis=-1), atol=1e-6)


def test_levels_keep_within_the_process():
    assert denoise.levels(sde.VE(0.02, 100.0)) == [0, 1, 2, 3, 4]
    assert denoise.levels(SCALED) == [0, 1, 2, 3]
    assert denoise.levels(sde.VE(0.2, 2.0)) == [1, 2]
