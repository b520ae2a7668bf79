"""Muon beside Adam, and several averages of the weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdedit_jax.training.step import (
    Optimizer,
    average,
    init,
    learning_rate,
    make_step,
    transformation,
)

MUON = Optimizer(rate=0.1, warmup=1, clip=0.0, method="muon")


def first_update(gradient, optimizer=MUON):
    """The first change of parameters that are zero, for a loss with this gradient."""
    params = jax.tree.map(jnp.zeros_like, gradient)
    tx = transformation(optimizer, 10)
    updates, _ = tx.update(gradient, tx.init(params), params)
    return jax.tree.map(np.asarray, updates)


@pytest.mark.parametrize("shape", [(3, 3, 8, 16), (32, 8), (1, 1, 8, 8)])
def test_muon_moves_kernels_by_a_nearly_orthogonal_matrix(shape, rng):
    """U V' of the gradient G = U S V', as a matrix of all but the last axis by the last, times
    sqrt(max(m, n)) and the rate. Newton-Schulz brings singular values between 0.65 and 1.25 (5
    steps, which is optax's default), along the singular vectors of the gradient."""
    gradient = rng.normal(size=shape).astype(np.float32)
    update = first_update({"kernel": jnp.asarray(gradient)})["kernel"].reshape(-1, shape[-1])
    m, n = update.shape
    size = 0.1 * np.sqrt(max(m, n))
    u, _, v = np.linalg.svd(gradient.reshape(m, n), full_matrices=False)
    along = -u.T @ update @ v.T / size
    assert 0.6 < np.diag(along).min() and np.diag(along).max() < 1.3
    assert np.abs(along - np.diag(np.diag(along))).max() < 1e-3


def test_muon_leaves_vectors_and_thin_kernels_to_adam(rng):
    """Their first update has the size of the rate in every entry (Adam with both corrections)."""
    gradient = {
        "bias": jnp.asarray(rng.normal(size=16), jnp.float32),
        "kernel": jnp.asarray(rng.normal(size=(3, 3, 3, 16)), jnp.float32),
        "embedding": jnp.asarray(rng.normal(size=(6, 16)), jnp.float32),
    }
    for name, update in first_update(gradient).items():
        # Nesterov's look ahead: (b1 m + (1 - b1) g) / (1 - b1^2) with m = (1 - b1) g
        expected = -0.1 * np.sign(gradient[name]) * (0.9 * 0.1 / (1 - 0.9**2) + 1)
        np.testing.assert_allclose(np.abs(update).max(), np.abs(update).min(), rtol=1e-4)
        assert (np.sign(update) == np.sign(expected)).all(), name


def test_muon_solves_what_adam_solves(rng):
    """Least squares with a matrix of 16 x 16: the loss falls below 1e-3 of its start."""
    x = jnp.asarray(rng.normal(size=(64, 16)), jnp.float32)
    target = x @ jnp.asarray(rng.normal(size=(16, 16)), jnp.float32)

    def loss(params, batch, key):
        return jnp.mean((batch["image"] @ params["kernel"] - target) ** 2)

    tx = transformation(MUON._replace(rate=0.1, schedule="cosine"), 200)
    step, state = make_step(loss, tx, 0.9), init({"kernel": jnp.zeros((16, 16))}, tx)
    losses = []
    for _ in range(200):
        state, metrics = step(state, {"image": x}, jax.random.key(0))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 1e-3 * losses[0]


def test_the_rate_falls_with_the_root_of_the_step():
    """After `hold` steps as sqrt(hold / n), for any length of the run. The first step of a run that
    continues another one counts."""
    o = Optimizer(rate=0.2, warmup=4, schedule="inverse_sqrt", hold=100)
    rate, short = learning_rate(o, 10_000), learning_rate(o, 200)
    wanted = [0.05, 0.2, 0.2, 0.1, 0.02]
    for found in (rate, short):
        np.testing.assert_allclose([found(n) for n in (0, 3, 100, 400, 10_000)], wanted, rtol=1e-6)
    later = learning_rate(o, 10_000, first=400)
    np.testing.assert_allclose([later(0), later(500)], [0.1 / 4, 0.2 / 3], rtol=1e-6)
    with pytest.raises(ValueError, match="optimizer.hold must be positive, got 0"):
        learning_rate(o._replace(hold=0), 10)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="optimizer.method.*got 'sgd'"):
        transformation(Optimizer(method="sgd"), 10)


def test_every_average_has_its_own_decay():
    """Each is what `average` gives of the path of the weights."""
    optimizer = Optimizer(rate=0.05, warmup=1, ema=0.5, longer=(0.7, 0.9))
    tx = transformation(optimizer, 40)
    step = make_step(
        lambda p, batch, key: jnp.sum((p["w"] - batch) ** 2), tx, optimizer.ema, optimizer.longer
    )
    state = init({"w": jnp.zeros(3)}, tx, longer=optimizer.longer)
    expected = [{"w": jnp.zeros(3)}] * 3
    for n in range(1, 31):
        state, _ = step(state, jnp.arange(3.0), jax.random.key(0))
        params = jax.tree.map(jnp.array, state.params)
        pairs = zip(expected, (0.5, 0.7, 0.9), strict=True)
        expected = [average(old, params, jnp.int32(n), decay) for old, decay in pairs]
    for found, wanted in zip((state.ema, *state.longer), expected, strict=True):
        np.testing.assert_allclose(found["w"], wanted["w"], rtol=1e-6)
    assert not np.allclose(state.longer[0]["w"], state.longer[1]["w"])
