"""The same picture comes out for any batch size and any number of devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pure
import pytest
from program import four_devices

from sdedit_jax import devices as parallel
from sdedit_jax.diffusion import grids, sde, solvers
from sdedit_jax.diffusion.noise import At, Purpose
from sdedit_jax.edits import sdedit
from sdedit_jax.edits.sdedit import Request, SDEdit
from sdedit_jax.images.guide import Guide
from sdedit_jax.pipeline import executor
from sdedit_jax.pipeline.sdedit import SDEditPipeline
from sdedit_jax.priors.analytic import mixture

SHAPE = (8, 8, 3)
TOLERANCE = 1e-5  # of a pixel in [-1, 1]: another batch size is another compiled program


@functools.cache
def plan_and_params():
    """The plan of an edit, and its params."""
    means = np.random.default_rng(0).uniform(-1, 1, (4, *SHAPE))
    prior = mixture(sde.VP(), means, 0.3)
    return SDEdit(prior, solvers.DPMpp(), grids.Uniform(), 5, hold=None), prior.params


@functools.cache
def editor():
    """(params, edit): edit(params, (requests, keys)) -> pictures and some of their noise."""
    plan, weights = plan_and_params()
    edit = pure.edit(plan)

    def one(params, request, key):
        noise = sdedit.sample(key, SHAPE).steps(0)
        return edit(params, request, key).image, noise.draw(At(3), Purpose.STEP, 0, SHAPE)

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


@pytest.mark.parametrize("devices", [1, pytest.param(4, marks=four_devices)])
def test_the_executor_makes_the_same(devices):
    """In its chunks, with padding."""
    plan, params = plan_and_params()
    events = executor.run(SDEditPipeline(plan), params, *batch(3), devices=devices)
    made = executor.finish(events).result
    np.testing.assert_allclose(made.image, reference()[0][:3], rtol=0, atol=TOLERANCE)


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


def addresses(a):
    return [shard.data.unsafe_buffer_pointer() for shard in a.addressable_shards]


@pytest.mark.parametrize("devices", [1, pytest.param(4, marks=four_devices)])
def test_parameters_are_placed_once(devices):
    placed = parallel.replicate({"w": np.ones(3, np.float32)}, devices)
    run = parallel.mapped(lambda w, x: x * w["w"].sum(), (None, 0), devices)
    rows = parallel.spread(np.ones((4, 3), np.float32), devices)
    with jax.transfer_guard("disallow"):
        again = parallel.replicate(placed, devices)
        out = run(again, run(placed, rows))
    assert addresses(again["w"]) == addresses(placed["w"])
    np.testing.assert_array_equal(parallel.gather(out, 4), np.full((4, 3), 9))


@pytest.mark.parametrize("devices", [1, pytest.param(4, marks=four_devices)])
def test_what_is_on_the_devices_stays_there(devices):
    """Neither the host nor another device sees the rows between two maps; keys travel too."""
    run = parallel.mapped(lambda x, key: (2 * x, key), (0, 0), devices)
    batch = (np.arange(8, dtype=np.float32), jax.random.split(jax.random.key(0), 8))
    made = run(*parallel.spread(batch, devices))
    parallel.spread(parallel.gather(made, 8), devices)  # compiles
    with jax.transfer_guard("disallow"):
        again = parallel.spread(parallel.gather(made, 8), devices)
    assert again[0].devices() == made[0].devices()
    np.testing.assert_array_equal(parallel.gather(again[0], 8), 2 * batch[0])
    assert (parallel.gather(again[1], 8) == batch[1]).all()


@four_devices
def test_host_arrays_go_straight_to_their_devices():
    """One transfer: no device holds the rows of another."""
    with jax.transfer_guard_device_to_device("disallow"):
        rows = parallel.spread(np.arange(6.0), 4)
    assert rows.dtype == jnp.float32 and rows.sharding.is_equivalent_to(parallel.split(4), 2)
    assert [shard.data.shape for shard in rows.addressable_shards] == [(1, 2)] * 4


@pytest.mark.parametrize("devices", [1, pytest.param(4, marks=four_devices)])
def test_a_donated_argument_is_freed(devices):
    step = parallel.mapped(lambda w, x: w + x, (None, 0), devices, donate=1)
    w, x = parallel.replicate(np.float32(1), devices), parallel.spread(np.zeros(4), devices)
    y = step(w, x)
    assert x.is_deleted() and not y.is_deleted() and not w.is_deleted()
    z = step.lower(w, y).compile()(w, y)  # ahead of time too
    assert y.is_deleted()
    np.testing.assert_array_equal(parallel.gather(z, 4), np.full(4, 2))


def test_axes_hold_for_as_many_leaves_as_arguments():
    """Two parameters, an argument without leaves, and rows: three arguments with three leaves."""
    args = {"a": jnp.float32(2), "b": jnp.float32(3)}, None, np.ones((1, 4), np.float32)
    axes = parallel.axes_of_leaves((None, 0, 0), args)
    made = parallel.mapped(lambda w, none, x: w["a"] * x + w["b"], axes, 1)(*args)
    np.testing.assert_array_equal(made, np.full((1, 4), 5))


IDS = [f"photo {i}" for i in range(3000)]


@pytest.mark.parametrize("hosts", [1, 2, 7])
def test_the_shares_of_the_hosts_are_a_partition(hosts):
    shares = [parallel.share(IDS, i, hosts) for i in range(hosts)]
    assert sorted(id for own in shares for id in own) == sorted(IDS)
    assert all(own == sorted(own, key=IDS.index) for own in shares)
    # binomial(n, p): 5 standard deviations, a false alarm in 1.7 million for each host
    n, p = len(IDS), 1 / hosts
    for own in shares:
        assert abs(len(own) - n * p) <= 5 * np.sqrt(n * p * (1 - p))


def test_a_share_depends_on_the_id_alone():
    whole = parallel.share(IDS, 1, 4)
    assert parallel.share(reversed(IDS[:100]), 1, 4) == [i for i in whole if i in IDS[:100]][::-1]
    assert parallel.share(["a", "b", "c", "d"], 0, 2) == ["a", "b", "c"]  # sha256sum, byte 8
    assert parallel.share(iter("ab")) == ["a", "b"]  # one process
    with pytest.raises(ValueError, match=r"index must be in \[0, 2\) for 2 hosts, got 2"):
        parallel.share(IDS, 2, 2)


def test_placement_of_training():
    there = jax.local_device_count()
    for batch, devices in ((4 * there, there), (4 * there + 1, 1 if there > 1 else there)):
        rows, state = parallel.placement(batch)
        assert rows == parallel.split(devices) and state == parallel.whole(devices)


def test_device_count():
    there = jax.local_device_count()
    assert parallel.count() == parallel.count(0) == there and parallel.count(1) == 1
    with pytest.raises(ValueError, match=rf"devices must be in \[0, {there}\] .* got {there + 1}"):
        parallel.count(there + 1)


def test_stack():
    rows = parallel.stack([(1.0, {"a": np.zeros(2)}), (2.0, {"a": np.ones(2)})])
    np.testing.assert_array_equal(rows[0], [1.0, 2.0])
    np.testing.assert_array_equal(rows[1]["a"], [[0, 0], [1, 1]])
    assert all(isinstance(a, np.ndarray) and a.dtype == np.float32 for a in jax.tree.leaves(rows))
    keys = parallel.stack([jax.random.key(0), jax.random.key(1)])
    assert keys.shape == (2,) and keys[1] == jax.random.key(1)
