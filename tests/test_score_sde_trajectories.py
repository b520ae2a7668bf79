"""score_sde's samplers replayed with their recorded noise, and its update rules one by one.

Predictors are our solvers, correctors and known pixels are hooks before and after the step;
what only the original's experiments used (the annealed corrector, known pixels in turned colours)
is written here. See test_goldens.py for units; SDEdit's trajectories are there.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hooks import Hook, chain
from scipy.integrate import solve_ivp
from trajectories import (
    close,
    close_states,
    compiled,
    held_at,
    jit,
    load,
    network,
    on_levels,
    ours,
    replay,
    ve_on_levels,
)

from sdedit_jax.diffusion import grids, sde, solvers
from sdedit_jax.diffusion.correctors import Langevin
from sdedit_jax.diffusion.grids import Grid
from sdedit_jax.diffusion.noise import At, Purpose, ReplayNoise
from sdedit_jax.diffusion.sampler import Context
from sdedit_jax.diffusion.solvers import Prediction
from sdedit_jax.priors.adapters import ScoreSDEVE, ScoreSDEVEDiscrete, ScoreSDEVP

END = 1e-5  # of results: less than the noise of the last step, which `denoise` leaves out


def annealed(snr, std, steps=1):
    """score_sde's annealed Langevin corrector: e = 2 a^2 (snr std(t))^2."""

    def before(x, context):
        a = sde.transition(context.process, context.t, context.s)[0]
        sigma = sde.level(context.process, context.t)[1]
        e = 2 * (a * snr * std(context.t)) ** 2
        for call in range(steps):
            score = -context.predict(x, context.t).eps / sigma
            x = x + e * score + jnp.sqrt(2 * e) * context.draw(call, x.shape)
        return x

    return Hook(before, draws=steps)


# --- from noise to a picture ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "process"), [("vp_pc_em", sde.VP()), ("subvp_pc_em", sde.SubVP())]
)
def test_euler_maruyama(golden, name, process):
    """Steps of 1 / N on a grid that ends at 1e-3: the last one ends below 0."""
    case = config, arrays = load(golden(f"traj_{name}"))
    net, params = network(config["model_case"])
    predict = functools.partial(ScoreSDEVP(net, process), params)
    t = jnp.asarray(arrays["timesteps"])
    grid, solver = Grid(t, t - 1 / config["N"]), solvers.EulerMaruyama()
    z, final = arrays["noise"], "mean" if config["denoise"] else "sample"
    loop = replay(process, predict, solver, grid, z[0], z[1:], final=final, run=compiled)
    close_states(loop.path[:-1], case, "x_after_predictor")
    close((loop.out + 1) / 2, arrays["out"], END)


def test_discrete_ve_network(golden):
    """A network with numbers of levels as labels: here of the trajectory's 12."""
    case = config, arrays = load(golden("traj_ve_discrete_pc"))
    adapter = functools.partial(ScoreSDEVEDiscrete, levels=config["N"])
    table, grid, predict, sigma = ve_on_levels(config, arrays["timesteps"], 50, adapter)
    x, solver = ours(sigma(grid.t[0]) / 2 * arrays["noise"][0]), solvers.ReverseDiffusion()
    hook = Langevin(config["snr"], config["n_steps"], norm="batch")
    loop = replay(table, predict, solver, grid, x, arrays["noise"][1:], hook)
    close_states(loop.path[:-1], case, "x_after_predictor")
    close(loop.out, ours(arrays["out"]), END)


def test_annealed_corrector_and_ancestral_predictor(golden):
    case = config, arrays = load(golden("traj_ve_pc_ald_ancestral"))
    table, grid, predict, sigma = ve_on_levels(config, arrays["timesteps"])
    x, solver = ours(sigma(grid.t[0]) / 2 * arrays["noise"][0]), solvers.Ancestral()
    hook = annealed(config["snr"], sigma, config["n_steps"])
    loop = replay(table, predict, solver, grid, x, arrays["noise"][1:], hook)
    close_states(loop.path[:-1], case, "x_after_predictor")
    close(loop.out, ours(arrays["out"]), END)


def test_ancestral_on_a_vp_table(golden):
    """The network's label is t (N - 1), with its fraction; the levels are its whole part."""
    case = config, arrays = load(golden("traj_vp_pc_ancestral_langevin"))
    net, params = network(config["model_case"])
    table, grid, own_time = on_levels(sde.VP(), arrays["timesteps"], config["N"])

    def predict(x, t):
        label = own_time(t) * (config["N"] - 1)
        return Prediction(net(params, x[None], label[None])[0])

    solver, z = solvers.Ancestral(variance="large"), arrays["noise"]
    hook = Langevin(config["snr"], config["n_steps"], norm="batch")
    loop = replay(table, predict, solver, grid, z[0], z[1:], hook)
    close_states(loop.path[:-1], case, "x_after_predictor")
    close((loop.out + 1) / 2, arrays["out"], END)


# --- known pixels and known grey ------------------------------------------------------------------

# red, green, blue -> colours of which the first is the grey
GREY = np.array(
    [
        [0.57735014, -0.81649649, 4.7008697e-08],
        [0.57735026, 0.40824834, 0.70710671],
        [0.57735026, 0.40824822, -0.70710683],
    ],
    np.float32,
)


def turned(hook, colours):
    """The hook of the picture in other colours [C, C]."""

    def turn(part):
        return lambda x, context: part(x @ colours, context) @ np.linalg.inv(colours)

    return Hook(turn(hook.before), turn(hook.after), draws=hook.draws)


def watch(seen):
    """A hook that writes the state after each step to seen[row, step]."""

    def keep(row, i, x):
        seen[int(row), int(i)] = np.asarray(x)

    def after(x, context):
        jax.debug.callback(keep, jax.lax.axis_index("batch"), context.index, x)
        return x

    return Hook(after=after)


@pytest.mark.parametrize("kind", ["inpaint", "colorize"])
def test_known_part(golden, kind):
    """Known values replaced after the corrector and after the predictor, by draws of their own.

    The mean of the last step is taken after the replacement, so the rest keeps its noise.
    """
    config, arrays = load(golden(f"traj_ve_{kind}"))
    table, grid, predict, sigma = ve_on_levels(config, np.linspace(1, 1e-5, config["N"], dtype="f"))
    if kind == "inpaint":
        colours, data, known = np.eye(3, dtype="f"), arrays["data"], arrays["mask"]
    else:
        colours, data, known = GREY, arrays["gray"], np.eye(3, dtype="f")[0]
    z, seen = arrays["noise"], {}
    noise = np.float32(sigma(grid.t[0])) / 2 * z[0]
    free = noise * (1 - known)  # the mask before the colours are turned, as the original has it
    x = (data @ colours * known + free @ colours) @ np.linalg.inv(colours)
    known, data = np.broadcast_to(known, data.shape), ours(data) @ colours
    corrector = Langevin(config["snr"], config["n_steps"], norm="batch")

    def hook(row):
        guide, keep = jnp.asarray(data)[row], jnp.asarray(known)[row]
        held = held_at(lambda t: (1.0, sigma(t)), guide, keep, len(grid.t) - 1)
        return chain(corrector, watch(seen), turned(held, colours))

    solver = solvers.ReverseDiffusion()
    loop = replay(table, predict, solver, grid, ours(x), z[1:], hook, "sample")
    jax.effects_barrier()
    states = ours(arrays["x_predictor_before_data"])
    for i, want in zip(arrays.get("kept", range(len(states))), states, strict=True):
        close(np.stack([seen[row, int(i)] for row in range(len(want))]), want)
    close(loop.out, ours(arrays["out"]), END)
    close(loop.out @ colours * known, data * known, 1e-3)  # float32 of far larger colours


# --- the probability flow -------------------------------------------------------------------------


def rounded(t):
    """The original's sigma of VP: 1 - exp in float32 has three digits at t = 1e-3."""
    t = np.float32(t)
    log_alpha = np.float32(-0.25 * (20 - 0.1)) * t**2 - np.float32(0.5 * 0.1) * t
    return np.sqrt(1 - np.exp(2 * log_alpha))


@pytest.mark.parametrize("name", ["ve", "vp"])
def test_probability_flow_by_rk45(golden, name):
    """scipy's solver around our drift, in the original's units, float64 around float32."""
    config, arrays = load(golden(f"traj_{name}_ode_rk45"))
    ve, net, params = name == "ve", *network(config["model_case"])
    process = sde.VE(0.02, 696.0) if ve else sde.VP()
    predict = functools.partial((ScoreSDEVE if ve else ScoreSDEVP)(net, process), params)
    units, scale = (ours, 2) if ve else (lambda x: x, 1)

    @jit
    def at(x, t):
        x = units(x)
        eps = predict(x, t).eps
        return solvers.flow_drift(process, x, t, eps) / scale, eps

    for t, x, want in zip(arrays["drift_t"], arrays["drift_x"], arrays["drift"], strict=True):
        got = at(x[0], t)[0]
        if not ve:  # the score by the original's sigma
            forward = sde.drift(process, x[0], t)
            got = forward + (got - forward) * sde.level(process, t)[1] / rounded(t)
        close(got, want[0])

    def flat(t, x):
        return np.ravel(at(np.float32(x).reshape(16, 16, 3), np.float32(t))[0])

    start, end = np.ravel(arrays["z"]), config["eps"]
    flow = solve_ivp(flat, (1, end), start, rtol=config["rtol"], atol=config["atol"])
    assert flow.nfev == pytest.approx(int(arrays["nfe"]), rel=0.05)
    x = np.float32(flow.y[:, -1]).reshape(16, 16, 3)
    close(x, arrays["x_end_before_denoise"][0], 1e-3)
    if config["denoise"]:
        mean = mean_of_clean(process, config["N"], end, ours(x), at(x, np.float32(end))[1])
        close(mean, ours(arrays["out"][0]), 1e-3)
    else:
        close((x + 1) / 2, arrays["out"][0], 1e-3)


def mean_of_clean(process, levels, t, x, eps):
    """The mean of reverse diffusion from the lowest level to clean, eps that of the time t."""
    table, grid, _ = on_levels(process, [t], levels)
    eps = sde.eps_from_score(table, grid.t[0], sde.score_from_eps(process, t, eps))
    step = solvers.ReverseDiffusion().step
    return step(table, (), x, Prediction(eps), grid.t[0], grid.s[0])[0].mean


# --- function tables ------------------------------------------------------------------------------

TIMES = {"ve_celebahq_ffhq_256": (1.0, 0.5, 0.01, 1e-5), "vp": (1.0, 0.5, 0.01, 1e-3)}


def analytic(process, x, t, own_time, ve):
    """The goldens' score -x / (1 + t) in the original's units, as the noise in ours."""
    score = -(x + 1) / 4 / (1 + own_time) if ve else -x / (1 + own_time)
    return Prediction(sde.eps_from_score(process, t, score))


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", TIMES)
def test_updates_of_the_annealed_corrector(golden, name, steps):
    arrays = load(golden("tables_sampler_updates")).arrays
    ve = name.startswith("ve")
    process, n = (sde.VE(0.02, 696.0), 2000) if ve else (sde.VP(), 1000)
    table, units = sde.discretize(process, n), ours if ve else jnp.asarray
    for i, t in enumerate(TIMES[name]):
        k = int(t * (n - 1))
        now, after = jnp.float32((k + 1) / n), jnp.float32(k / n if k else sde.CLEAN)
        predict = functools.partial(lambda own, x, t: analytic(table, x, t, own, ve), t)
        z = arrays[f"cnoise_t{i}"][None]
        draw = functools.partial(ReplayNoise(z, z.shape[1]).draw, At(0), Purpose.BEFORE)
        told = Context(table, now, after, 0, None, jnp.ones(()), draw, predict)
        hook = annealed(0.16, lambda _, t=t: process.sigma(t), steps)
        want = arrays[f"{name}_t{i}_ald_n{steps}_x"]
        close(hook.before(units(arrays["x"]), told), units(want), 5e-5)


@pytest.mark.parametrize("flow", [0, 1])
def test_updates_of_reverse_diffusion_on_subvp(golden, flow):
    """subVP has no table: the original steps by Euler's 1 / N."""
    arrays = load(golden("tables_sampler_updates")).arrays
    solver = solvers.ProbabilityFlow() if flow else solvers.EulerMaruyama()
    for i, t in enumerate(TIMES["vp"]):
        x, t = jnp.asarray(arrays["x"]), jnp.float32(t)
        prediction = analytic(sde.SubVP(), x, t, t, ve=False)
        law = solver.step(sde.SubVP(), (), x, prediction, t, t - 1 / 1000)[0]
        key = f"subvp_t{i}_reverse_diffusion_pf{flow}"
        close(law.mean, arrays[f"{key}_xmean"], 5e-5)
        close(law.mean + law.std * arrays[f"noise_t{i}"], arrays[f"{key}_x"], 5e-5)


PROCESSES = {"ve_cifar10": sde.VE(0.02, 100.0), "vp": sde.VP(), "subvp": sde.SubVP()}


def relative(got, want, rtol, atol=0.0):
    np.testing.assert_allclose(np.asarray(got), want, rtol=rtol, atol=atol)


def along(f, *values):
    """f of each time, on a picture of ones."""
    return jit(jax.vmap(f))(*(jnp.asarray(v, jnp.float32) for v in values))


@pytest.mark.parametrize("key", PROCESSES)
def test_reverse_processes(golden, key):
    """Drift and diffusion of the reverse SDE and of the probability flow, at x = 1."""
    arrays, process = load(golden("tables_sde")).arrays, PROCESSES[key]
    ve, one = key.startswith("ve"), jnp.float32(1.0)  # 1 in both units

    def at(t):
        prediction = analytic(process, one, t, t, ve)
        law = solvers.EulerMaruyama().step(process, (), one, prediction, t, t - 1)[0]
        return one - law.mean, law.std, solvers.flow_drift(process, one, t, prediction.eps)

    got, scale = along(at, arrays[f"{key}_t"]), 2 if ve else 1
    relative(got[0] / scale, arrays[f"{key}_reverse_pf0_sde_drift_on_ones"], 1e-4, 3e-6)
    relative(got[1] / scale, arrays[f"{key}_reverse_pf0_sde_diffusion"], 5e-4)
    relative(got[2] / scale, arrays[f"{key}_reverse_pf1_sde_drift_on_ones"], 1e-4, 3e-6)


@pytest.mark.parametrize("key", ["ve_cifar10", "vp"])
def test_reverse_processes_on_tables(golden, key):
    """x - x_mean and G of the discretised reverse SDE and of its flow, at x = 1."""
    arrays, table = load(golden("tables_sde")).arrays, sde.discretize(PROCESSES[key], 1000)
    ve, one, level = key.startswith("ve"), jnp.float32(1.0), arrays[f"{key}_discretize_index"]
    after, scale = np.where(level, level / 1000, sde.CLEAN), 2 if ve else 1
    for flow in (0, 1):
        solver = solvers.ReverseDiffusion(probability_flow=bool(flow))

        def at(now, after, own, solver=solver):
            prediction = analytic(table, one, now, own, ve)
            law = solver.step(table, (), one, prediction, now, after)[0]
            return one - law.mean, law.std

        got = along(at, (level + 1) / 1000, after, arrays[f"{key}_t"])
        want = f"{key}_reverse_pf{flow}_discretize_"
        relative(got[0] / scale, arrays[want + "f_on_ones"], 5e-4, 2e-7)
        relative(got[1] / scale, arrays[want + "G"], 5e-4)


@pytest.mark.parametrize("key", PROCESSES)
def test_times_and_labels(golden, key):
    """The grid of 1000 points, and what the networks see there, to the last digits."""
    arrays, process = load(golden("tables_sde")).arrays, PROCESSES[key]
    ve, times = key.startswith("ve"), arrays[f"{key}_timesteps"]
    made = grids.ScoreSDE(1e-5 if ve else 1e-3)(process, jnp.float32(1.0), 1000)
    relative(made.t, times, 0, 1.3e-7)

    def net(params, x, label, y=None, key=None):
        return x * 0 + label[:, None, None, None]

    def seen(adapter, factor=lambda t: 1.0):
        zero = jnp.zeros((1, 1, 1))
        return along(lambda t: adapter(net, process)(None, zero, t).eps[0, 0, 0] / factor(t), times)

    if ve:  # the noise is -sigma / 2 times the network's output
        discrete = functools.partial(ScoreSDEVEDiscrete, levels=1000)
        got = seen(discrete, lambda t: -process.sigma(t) / 2)
        np.testing.assert_array_equal(np.round(got), arrays[f"{key}_discrete_labels"])
        got = seen(ScoreSDEVE, lambda t: -process.sigma(t) / 2)
    else:
        got = seen(ScoreSDEVP)
    relative(got, arrays[f"{key}_continuous_labels"], 3e-7)
