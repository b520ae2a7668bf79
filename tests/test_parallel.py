"""The same picture comes out for any batch size and any number of devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from program import four_devices

from sdedit_jax import editor as chunked
from sdedit_jax import grids, parallel, rules, samplers, sde
from sdedit_jax.edits import sdedit
from sdedit_jax.edits.sdedit import Request, SDEdit
from sdedit_jax.guide import Guide
from sdedit_jax.prior import mixture

SHAPE = (8, 8, 3)
TOLERANCE = 1e-5  # of a pixel in [-1, 1]: another batch size is another compiled program


@functools.cache
def asked():
    """The plan of an edit, and its params."""
    means = np.random.default_rng(0).uniform(-1, 1, (4, *SHAPE))
    prior = mixture(sde.VP(), means, 0.3)
    plan = SDEdit(prior, rules.dpmpp_2m_sde(), grids.uniform(), 5, hold=None)
    return plan._replace(prior=prior._replace(params=None)), prior.params


@functools.cache
def editor():
    """(params, edit): edit(params, (requests, keys)) -> pictures and some of their noise."""
    plan, weights = asked()
    edit = sdedit.edit(plan)

    def one(params, request, key):
        noise = sdedit.random(key, SHAPE)
        return edit(params, request, key).image, noise.steps(0)(jnp.int32(3))()

    many = jax.vmap(one, in_axes=(None, 0, 0))
    return weights, lambda params, batch: many(params, *batch)


def batch(n):
    rng = np.random.default_rng(1)
    guides = jnp.asarray(rng.uniform(-1, 1, (8, *SHAPE)), jnp.float32)
    masks = jnp.asarray(rng.random((8, 8, 8, 1)), jnp.float32)
    t0 = jnp.linspace(0.2, 0.8, 8)
    requests = Request(t0[:n], Guide(guides[:n], masks[:n]))
    return requests, jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(jnp.arange(n))


@functools.cache
def reference():
    """The 8 pictures and noises as one batch on one device."""
    params, edit = editor()
    return jax.device_get(jax.jit(edit)(params, batch(8)))


def check(got, n):
    pictures, noise = reference()
    assert got[0].shape == (n, *SHAPE)
    np.testing.assert_allclose(got[0], pictures[:n], rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(got[1], noise[:n])


@pytest.mark.parametrize("n", [1, 3])
def test_batch_size_does_not_matter(n):
    params, edit = editor()
    check(jax.jit(edit)(params, batch(n)), n)


@functools.cache
def on_four_devices():
    params, edit = editor()
    return parallel.replicate(params, 4), parallel.mapped(edit, (None, 0), 4)


@four_devices
@pytest.mark.parametrize("n", [1, 3, 8])
def test_devices_do_not_matter(n):
    """Padding (1 and 3 pictures on 4 devices) changes no picture and leaves none behind."""
    params, edit = on_four_devices()
    check(parallel.gather(edit(params, parallel.spread(batch(n), 4)), n), n)


@four_devices
@pytest.mark.parametrize("devices", [1, 4])
def test_the_editor_of_the_program_makes_the_same(devices):
    """In its chunks, with padding."""
    plan, params = asked()
    requests, keys = batch(3)
    spread = parallel.replicate(params, devices)
    compiled = chunked.compile_editor(plan, spread, requests, keys, devices)
    made = chunked.run(compiled, spread, requests, keys)
    np.testing.assert_allclose(made.image, reference()[0][:3], rtol=0, atol=TOLERANCE)


def test_the_editor_refuses_a_batch_norm():
    plan, params = asked()
    mixing = plan._replace(refine=samplers.langevin(norm="batch"))
    with pytest.raises(ValueError, match="a batch norm mixes the pictures"):
        chunked.compile_editor(mixing, params, *batch(2), 1)


def test_spread_and_gather_are_inverse():
    for size in (1, 3, 4, 9):
        rows = {"a": jnp.arange(size), "b": jnp.arange(2.0 * size).reshape(size, 2)}
        spread = parallel.spread(rows, 4)
        assert spread["a"].shape == (4, -(-size // 4))
        back = parallel.gather(spread, size)
        assert all(jnp.array_equal(back[k], rows[k]) for k in rows)
        padding = np.ravel(spread["a"])[size:]
        np.testing.assert_array_equal(padding, np.full(padding.size, size - 1))


def test_replicate_puts_params_on_the_devices_asked_for():
    for devices in {1, jax.local_device_count()}:
        (leaf,) = jax.tree.leaves(parallel.replicate({"w": jnp.ones(3)}, devices))
        assert len(leaf.sharding.device_set) == devices and leaf.is_fully_replicated


def test_device_count():
    there = jax.local_device_count()
    assert parallel.count() == parallel.count(0) == there and parallel.count(1) == 1
    with pytest.raises(ValueError, match=rf"devices must be in \[0, {there}\] .* got {there + 1}"):
        parallel.count(there + 1)


def test_stack():
    rows = parallel.stack([(1.0, {"a": np.zeros(2)}), (2.0, {"a": np.ones(2)})])
    np.testing.assert_array_equal(rows[0], [1.0, 2.0])
    np.testing.assert_array_equal(rows[1]["a"], [[0, 0], [1, 1]])
