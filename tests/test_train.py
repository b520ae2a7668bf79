"""Training against closed forms: weights, the optimum of the loss, averages, and broken runs."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from sdedit_jax import signals
from sdedit_jax.data.pictures import Source
from sdedit_jax.devices import placement
from sdedit_jax.diffusion.sde import VE, VP, SubVP, level
from sdedit_jax.diffusion.solvers import Prediction
from sdedit_jax.priors.analytic import gaussian
from sdedit_jax.training import loss as losses
from sdedit_jax.training.loop import Hooks, Run, newest_step, train
from sdedit_jax.training.loss import Objective, denoising_error, denoising_loss
from sdedit_jax.training.report import Report, read, summary
from sdedit_jax.training.step import (
    Optimizer,
    average,
    init,
    learning_rate,
    make_step,
    transformation,
)


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory):
    """Programs of this file are compiled once, also for its child processes."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, name) for name in names]
    folder = str(tmp_path_factory.mktemp("compiled"))
    for name, value in zip(names, (folder, 0.0), strict=True):
        jax.config.update(name, value)
    yield folder
    for name, value in zip(names, before, strict=True):
        jax.config.update(name, value)


VE80, VP20 = VE(0.01, 80.0), VP()
TIMES = jnp.array([1e-3, 0.1, 0.5, 1.0])


# --- the loss -------------------------------------------------------------------------------------


def weights_at(process, **objective):
    weigh = lambda t: losses.weight(process, t, Objective(**objective))  # noqa: E731
    return np.asarray(jax.vmap(weigh)(TIMES))


def test_likelihood_weight_of_ve_is_twice_the_log_ratio():
    np.testing.assert_allclose(weights_at(VE80, weight="likelihood"), 2 * np.log(8000), rtol=1e-5)


def test_likelihood_weight_of_vp_is_beta_over_variance():
    t = np.asarray(TIMES, np.float64)
    beta = 0.1 + 19.9 * t
    variance = -np.expm1(-(t**2) * 19.9 / 2 - t * 0.1)
    np.testing.assert_allclose(weights_at(VP20, weight="likelihood"), beta / variance, rtol=1e-5)


@pytest.mark.parametrize("process", [VE80, VP20, SubVP()], ids=["ve", "vp", "subvp"])
def test_edm_weight_equals_edms_loss_on_x0(process, rng):
    """w |eps - z|^2 = lambda |D - x0|^2 with D the x0 that eps means."""
    x0, z, eps = rng.normal(size=(3, 5))
    for t, w in zip(TIMES, weights_at(process, weight="edm", sigma_data=0.7), strict=True):
        alpha, sigma = (np.float64(a) for a in level(process, t))
        denoised = (alpha * x0 + sigma * z - sigma * eps) / alpha
        r = sigma / alpha
        lam = (r**2 + 0.7**2) / (r * 0.7) ** 2
        x0_loss = lam * np.sum((denoised - x0) ** 2)
        np.testing.assert_allclose(w * np.sum((eps - z) ** 2), x0_loss, rtol=1e-5)


def test_simple_weight_is_one():
    np.testing.assert_array_equal(weights_at(VP20, weight="simple"), 1)


def test_times_follow_their_distribution():
    u = np.array([0.01, 0.3, 0.5, 0.9], np.float32)
    uniform = losses.time(VP20, u, Objective(t_min=1e-3))
    np.testing.assert_allclose(uniform, 1e-3 + 0.999 * u, rtol=1e-6)
    objective = Objective(times="lognormal", mean=-0.4, std=1.2)
    for process in (VE80, VP20):
        alpha, sigma = level(process, losses.time(process, u, objective))
        expected = [NormalDist(-0.4, 1.2).inv_cdf(q) for q in u]
        np.testing.assert_allclose(jnp.log(sigma / alpha), expected, atol=2e-4)


def test_stratified_quantiles_fill_each_range_once():
    keys = jax.random.split(jax.random.key(0), 16)
    u = [losses.quantile(k, i, 16, Objective()) for i, k in enumerate(keys)]
    assert (np.floor(np.array(u) * 16) == np.arange(16)).all()


def test_unknown_names_are_refused():
    for field, value in (("weight", "x"), ("times", "x"), ("t_min", 0.0), ("std", -1.0)):
        with pytest.raises(ValueError, match=f"objective.{field}.*got"):
            denoising_loss(VE80, None, Objective(**{field: value}))


@pytest.mark.parametrize("drop", [0.0, 0.25, 1.0])
def test_labels_are_dropped_with_their_probability(drop):
    """1000 draws, within 5 standard deviations."""
    objective = Objective(null_label=7, drop_label=drop)
    keys = jax.random.split(jax.random.key(0), 1000)
    out = jax.vmap(lambda k: losses.drop(k, jnp.int32(3), objective))(keys)
    count = int((out == 7).sum())
    assert set(np.unique(out)) <= {3, 7}
    assert abs(count - 1000 * drop) <= 5 * np.sqrt(1000 * drop * (1 - drop))


def test_the_network_sees_the_label_of_its_picture():
    def predict(params, x, t, cond=None, key=None):
        return Prediction(jnp.full_like(x, cond * 1e3))

    batch = {"image": jnp.zeros((2, 4, 4, 1)), "label": jnp.array([0, 1])}
    loss = denoising_loss(VE80, predict, Objective())(None, batch, jax.random.key(0))
    np.testing.assert_allclose(loss, 1e6 / 2, rtol=0.01)


MEAN, STD = 0.3, 0.6


def gaussian_batches(process, objective, rng, count=32, size=512):
    """(loss, gradient) of batches of N(MEAN, STD^2) data at the exact prior."""
    prior = gaussian(process, jnp.full((2, 2, 1), MEAN), jnp.full((2, 2, 1), STD))
    loss = denoising_loss(process, prior.predict, objective)
    data = rng.normal(MEAN, STD, (count, size, 2, 2, 1)).astype(np.float32)

    def one(row):
        return jax.value_and_grad(loss)(prior.params, {"image": row[0]}, row[1])

    values, grads = jax.lax.map(one, (data, jax.random.split(jax.random.key(3), count)))
    return np.asarray(values), [np.asarray(g).reshape(count, -1) for g in grads.values()]


@pytest.mark.parametrize("process, weight", [(VE80, "simple"), (VP20, "edm")], ids=["ve", "vp"])
def test_the_exact_prior_is_the_minimum_and_has_the_closed_form_loss(process, weight, rng):
    """E w Var(z | x_t), Var(z | x_t) = alpha^2 s^2 / (alpha^2 s^2 + sigma^2); the gradient is 0.

    32 batches: means within 5 of their standard errors.
    """
    objective = Objective(weight=weight, times="lognormal", mean=-0.5, std=1.0)
    values, grads = gaussian_batches(process, objective, rng)
    u = (np.arange(2000) + 0.5) / 2000
    times = losses.time(process, jnp.asarray(u, jnp.float32), objective)
    alpha, sigma = (np.asarray(a, np.float64) for a in level(process, times))
    w = 1 + (sigma / alpha / 0.5) ** 2 if weight == "edm" else 1.0
    exact = np.mean(w * (alpha * STD) ** 2 / ((alpha * STD) ** 2 + sigma**2))
    assert abs(values.mean() - exact) < 5 * values.std() / np.sqrt(32)
    for g in grads:
        assert (abs(g.mean(0)) < 5 * g.std(0) / np.sqrt(32)).all()


def test_denoising_error_of_the_exact_prior(rng):
    """The posterior std s r / sqrt(s^2 + r^2); 64 pictures of 256 pixels, within 5 errors."""
    ratios = (0.1, 0.3, 1.0, 3.0)
    prior = gaussian(VP20, jnp.full((16, 16, 1), MEAN), STD)
    images = rng.normal(MEAN, STD, (64, 16, 16, 1)).astype(np.float32)
    error = denoising_error(VP20, prior.predict, ratios, chunk=16)
    found = error(prior.params, images, None, jax.random.key(1))
    exact = [STD * r / np.hypot(STD, r) for r in ratios]
    np.testing.assert_allclose(found, exact, rtol=5 / np.sqrt(2 * 64 * 256))


# --- the step -------------------------------------------------------------------------------------


def test_the_newest_step_is_that_of_a_finished_checkpoint(tmp_path):
    assert newest_step(tmp_path) is None
    (tmp_path / "checkpoints").mkdir()
    assert newest_step(tmp_path) is None
    for name in ("3", "12", "20.orbax-checkpoint-tmp-0"):
        (tmp_path / "checkpoints" / name).mkdir()
    assert newest_step(tmp_path) == 12


def test_average_follows_its_closed_form():
    """Constant weights p from e0: e_n = p + (e0 - p) prod_k min(d, (1 + k) / (10 + k))."""
    ema, p = {"w": jnp.array([1.0, -2.0])}, {"w": jnp.array([0.5, 3.0])}
    left = 1.0
    for n in range(1, 60):
        ema = average(ema, p, jnp.int32(n), 0.8)
        left *= min(0.8, (1 + n) / (10 + n))
        np.testing.assert_allclose(ema["w"], [0.5 + 0.5 * left, 3 - 5 * left], rtol=1e-5)


def test_learning_rate_warms_up_and_falls_to_zero():
    rate = learning_rate(Optimizer(rate=0.2, warmup=4, schedule="cosine"), 100)
    flat = learning_rate(Optimizer(rate=0.2, warmup=4), 100)
    assert [round(float(flat(n)), 6) for n in (0, 1, 3, 50)] == [0.05, 0.1, 0.2, 0.2]
    np.testing.assert_allclose([rate(50), rate(100)], [0.1, 0.0], atol=1e-7)
    later = learning_rate(Optimizer(rate=0.2, warmup=4, schedule="cosine"), 100, first=50)
    np.testing.assert_allclose([later(n) for n in (0, 10, 50)], [0.025, rate(60), 0], atol=1e-7)
    with pytest.raises(ValueError, match="optimizer.schedule"):
        learning_rate(Optimizer(schedule="linear"), 100)
    with pytest.raises(ValueError, match="optimizer.rate"):
        learning_rate(Optimizer(rate=0.0), 100)


def test_a_step_is_adam_on_the_clipped_gradient():
    """Against the update written out: m = (1 - b1) g, v = (1 - b2) g^2, both corrected."""
    params = {"w": jnp.array([3.0, 4.0])}
    optimizer = Optimizer(rate=0.1, warmup=1, clip=1.0, ema=0.9)
    tx = transformation(optimizer, 10)
    step = make_step(lambda p, batch, key: batch * jnp.sum(p["w"] ** 2), tx, 0.9)
    w, m, v = np.array([3.0, 4.0]), 0.0, 0.0
    state = init(params, tx)
    for n in range(1, 4):
        g = 2 * w * 5.0
        norm = np.linalg.norm(g)
        state, metrics = step(state, jnp.float32(5.0), jax.random.key(0))
        np.testing.assert_allclose(metrics["gradient"], norm, rtol=1e-5)
        g = g / norm
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - 0.1 * (m / (1 - 0.9**n)) / (np.sqrt(v / (1 - 0.999**n)) + 1e-8)
        np.testing.assert_allclose(state.params["w"], w, rtol=1e-5)
    assert int(state.step) == 3
    assert float(params["w"][0]) == 3.0  # the caller's arrays outlive the donated state


def test_four_devices_take_the_step_of_one(rng):
    images = rng.uniform(-1, 1, (8, 4, 4, 3)).astype(np.float32)
    tx = transformation(TINY, 30)
    step = make_step(denoising_loss(VE80, predict, Objective()), tx, TINY.ema)
    results = []
    for rows in (8, 7):  # 7 rows go to one device
        split, whole = placement(rows)
        assert split.num_devices == (jax.local_device_count() if rows == 8 else 1)
        state = jax.device_put(init(fresh(), tx), whole)
        state, metrics = step(state, {"image": jax.device_put(images, split)}, jax.random.key(0))
        results.append((metrics["loss"], *jax.tree.leaves(state.params)))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


# --- the run --------------------------------------------------------------------------------------


TINY = Optimizer(rate=1e-2, warmup=5)


def predict(params, x, t, cond=None, key=None):
    """A tiny network: a pixel-wise layer that knows the time."""
    hidden = jnp.tanh(x @ params["a"] + t * params["b"][None, None])
    return Prediction(hidden @ params["c"])


def fresh():
    a, c = jax.random.normal(jax.random.key(1), (2, 3, 8))
    return {"a": a, "b": jnp.ones(8), "c": 0.1 * c.T}


def photos():
    return Source(np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), np.uint8))


def tiny_run(folder, steps=30, predict=predict, data=None, run=None, **options):
    periods = Run(steps, 8, 5, log_every=2, save_every=6, sample_every=0, held_out_every=0)
    run = periods._replace(**(run or {}))
    data = photos() if data is None else data
    hooks = Hooks(sample=options.pop("sample", None), publish=options.pop("publish", None))
    return train(
        folder,
        VE80,
        predict,
        fresh(),
        data,
        run=run,
        objective=Objective(),
        hooks=hooks,
        **{"optimizer": TINY, **options},
    )


SHEET = np.full((8, 8, 3), 7, np.uint8)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """(folder, final state) of a run of 30 steps that nothing disturbed."""
    folder = tmp_path_factory.mktemp("unbroken")
    run = {"sample_every": 20, "held_out_every": 10, "held_out": 4}
    return folder, tiny_run(folder, held_out=photos(), sample=lambda params: SHEET, run=run)


def same(a, b):
    return all(
        np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def child(folder, hang):
    """This file as a program: a run that sleeps a little at each log point, long at step `hang`."""
    env = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "4",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, __file__, str(folder), str(hang)]
    folder.mkdir(exist_ok=True)
    with (folder / "stderr.txt").open("w") as file:
        return subprocess.Popen(command, env=env, stderr=file)


def wait_for(folder, lines, process):
    for _ in range(6000):
        if len(read(folder / "metrics.jsonl")) >= lines:
            return
        assert process.poll() is None, (folder / "stderr.txt").read_text()
        time.sleep(0.01)
    raise AssertionError("the run wrote nothing")


def told(folder):
    records = read(folder / "metrics.jsonl")
    return [{k: r[k] for k in ("step", "loss", "gradient")} for r in records]


def test_a_run_killed_twice_ends_with_the_weights_of_an_unbroken_one(tmp_path, unbroken):
    for lines, hang in ((5, 14), (11, 26)):
        process = child(tmp_path, hang)
        wait_for(tmp_path, lines, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        (tmp_path / "checkpoints" / "24.orbax-checkpoint-tmp-9").mkdir()  # a save cut short
        with (tmp_path / "metrics.jsonl").open("a") as file:
            file.write('{"step": 99')
    assert child(tmp_path, 0).wait() == 0
    whole, state = unbroken
    with np.load(tmp_path / "end.npz") as end:
        assert same(list(end.values()), state)
    assert [r["step"] for r in told(tmp_path)] == list(range(2, 31, 2))
    assert told(tmp_path) == told(whole)


def test_sigterm_saves_and_the_next_run_goes_on(tmp_path, unbroken):
    def interrupt(params, n):
        if n == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    with signals.catch() as caught:
        run = {"publish_every": 3}
        stopped = tiny_run(tmp_path, publish=interrupt, run=run, stop=caught.stop)
    assert int(stopped.step) == 9 and (tmp_path / "checkpoints" / "9").is_dir()
    assert caught.exit_code == 143
    published = []
    end = tiny_run(tmp_path, publish=lambda params, n: published.append(n))
    assert same(end, unbroken[1]) and published == [30]


def test_training_lowers_the_loss_and_tells_it(unbroken):
    folder, _ = unbroken
    records = read(folder / "metrics.jsonl")
    assert records[-1]["loss"] < 0.8 * records[0]["loss"]
    held_out = [r["held_out/1"] for r in records if "held_out/1" in r]
    assert len(held_out) == 3 and held_out[-1] < held_out[0]
    for name in ("00000020.png", "00000030.png"):
        assert np.array_equal(np.asarray(Image.open(folder / "samples" / name)), SHEET)
    assert Image.open(folder / "curves.png").size[0] > 500
    assert list((folder / "events").glob("events*"))


def test_a_loss_that_is_not_finite_stops_with_the_step_and_keeps_the_checkpoint(tmp_path, unbroken):
    def broken(params, x, t, cond=None, key=None):
        return Prediction(jnp.log(-jnp.ones_like(x)) * params["c"][0, 0])

    shutil.copytree(unbroken[0], tmp_path / "run")
    with pytest.raises(FloatingPointError, match="is nan at step 31; checkpoint 30 is kept"):
        tiny_run(tmp_path / "run", 40, predict=broken)
    kept = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == ["24", "30"]


def test_averaged_weights_go_on_at_their_step(tmp_path):
    assert int(tiny_run(tmp_path, 104, first_step=100).step) == 104
    assert [r["step"] for r in read(tmp_path / "metrics.jsonl")] == [102, 104]


def test_the_rate_goes_on_where_it_was_however_the_run_is_started_again(tmp_path):
    """The step at which a run began is in its checkpoints; the cosine falls with it."""
    optimizer = TINY._replace(schedule="cosine")
    whole = tiny_run(tmp_path / "a", 112, first_step=100, optimizer=optimizer)
    shutil.copytree(tmp_path / "a", tmp_path / "d")
    shutil.rmtree(tmp_path / "d" / "checkpoints" / "112")
    assert same(whole, tiny_run(tmp_path / "d", 112, optimizer=optimizer))


def test_another_batch_or_seed_is_no_continuation(tmp_path, unbroken):
    shutil.copytree(unbroken[0], tmp_path / "run")
    for changes, told in (({"batch": 4}, "run.batch: .* with 8, got 4"), ({"seed": 6}, "run.seed")):
        with pytest.raises(ValueError, match=told):
            tiny_run(tmp_path / "run", 40, run=changes)


def test_bad_runs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="source is empty"):
        tiny_run(tmp_path, data=Source(np.zeros((0, 4, 4, 3), np.uint8)))
    with pytest.raises(ValueError, match="run.steps must be at least 1, got 0"):
        tiny_run(tmp_path, 0)
    with pytest.raises(ValueError, match="run.log_every must be at least 1, got 0"):
        tiny_run(tmp_path, run={"log_every": 0})


def test_a_checkpoint_of_another_network_is_refused(unbroken):
    options = {"objective": Objective(), "optimizer": Optimizer()}
    first = next(iter(fresh()))
    more = {**fresh(), "extra": jnp.zeros((8, 1))}
    less = {name: array for name, array in fresh().items() if name != first}
    other = {**fresh(), first: jnp.zeros((3, 5))}
    shape = re.escape(str(fresh()[first].shape))
    for params, told in [
        (more, "lacks extra, which this network has"),
        (less, f"holds {first}, which this network lacks"),
        (other, rf"holds {first} of shape {shape}, this network needs \(3, 5\)"),
    ]:
        with pytest.raises(ValueError, match=f"checkpoint 30 in .*checkpoints {told}"):
            train(unbroken[0], VE80, predict, params, photos(), run=Run(40, 8, 5), **options)


def test_a_report_restarts_behind_its_step(tmp_path):
    for start in (0, 2):
        report = Report(tmp_path, start)
        for n in range(start + 1, 5):
            report.write(n, {"loss": float(n + 10 * start)})
        report.close()
    assert [r["loss"] for r in read(tmp_path / "metrics.jsonl")] == [1.0, 2.0, 23.0, 24.0]
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])["step"] == 1


def test_a_summary_is_the_mean_and_names_the_bad_step():
    window = [{"loss": 1.0}, {"loss": 4.0}]
    assert summary(window, 10, None) == {"loss": 2.5}
    with pytest.raises(FloatingPointError, match="loss is inf at step 9; no checkpoint yet"):
        summary([{"loss": np.inf}, *window[:1]], 10, None)


if __name__ == "__main__":
    where, hang = Path(sys.argv[1]), int(sys.argv[2])

    def slowly(params, n):
        time.sleep(60 if n == hang else 0.03)

    final = tiny_run(where, publish=slowly, run={"publish_every": 2})
    np.savez(where / "end.npz", *[np.asarray(leaf) for leaf in jax.tree.leaves(final)])
