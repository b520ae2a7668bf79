"""Distance of a solver's edits to SDEdit's exact output law, on a mixture of Gaussians.

python experiments/steps/oracle.py --out=oracle.jsonl

The law is known: x_t0 = alpha guide + sigma z, then x0 ~ p(x0 | x_t0), a mixture of Gaussians. Each
line of the file is one solver, grid, process, t0 and number of evaluations. What is there already
is not measured again.
"""

import argparse
import functools
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sdedit_jax as sj
from sdedit_jax.diffusion.sde import SDE, VE, VP, level
from sdedit_jax.edits.sdedit import Request
from sdedit_jax.evaluation.wasserstein import sliced_wasserstein
from sdedit_jax.images.guide import Guide
from sdedit_jax.pipeline import settings
from sdedit_jax.pipeline.sdedit import SDEditPipeline

SHAPE = (4, 4, 1)
COMPONENTS = 8
STD = 0.1
SAMPLES = 4096
GUIDES = 4
EVALUATIONS = (5, 8, 12, 20, 35, 50, 100)
T0 = (0.3, 0.5, 0.7)
PROCESSES: dict[str, SDE] = {"ve": VE(sigma_min=0.01, sigma_max=50.0), "vp": VP()}
SDES = (
    "ancestral",
    "reverse_diffusion",
    "euler_maruyama",
    "dpmpp_2m_sde",
    "dpmpp_3m_sde",
    "sa_solver(tau=1.0)",
    "sa_solver(tau=0.5)",
    "heun(churn=0.4)",
)
ODES = ("ddim", "probability_flow", "heun", "dpmpp_2m", "dpmpp_3m", "unipc", "unipc(order=3)")
KEY = ("process", "solver", "grid", "evaluations", "t0")
"""What tells a line of the file from the others."""
GRIDS = ("karras", "log_snr")


def main() -> None:
    """Measure what the file does not have yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("oracle.jsonl"))
    parser.add_argument("--solvers", nargs="+", default=[*SDES, *ODES])
    parser.add_argument("--grids", nargs="+", default=GRIDS)
    args = parser.parse_args()
    lines = args.out.read_text().splitlines() if args.out.exists() else []
    found = [json.loads(line) for line in lines]
    known = {tuple(r[name] for name in KEY) for r in found}
    every = [(process, "exact", "", 0) for process in PROCESSES]
    every += itertools.product(PROCESSES, args.solvers, args.grids, EVALUATIONS)
    with args.out.open("a", encoding="utf-8") as file:
        for part in every:
            missing = [t0 for t0 in T0 if (*part, t0) not in known]
            if not missing:
                continue
            start = time.perf_counter()
            for t0, sw in (again if part[1] == "exact" else measured)(*part, missing).items():
                row = dict(zip(KEY, (*part, t0), strict=True)) | {"sw": round(sw, 5)}
                print(json.dumps(row), file=file, flush=True)
            print(*part, f"{time.perf_counter() - start:.1f} s", flush=True)


def again(process: str, solver: str, grid: str, n: int, every: Sequence[float]) -> dict:
    """t0 -> the distance of a second set of exact draws to the exact law."""
    del solver, grid, n
    return {t0: distance(process, t0, exact(process, t0, seed=2)) for t0 in every}


def measured(process: str, solver: str, grid: str, n: int, every: Sequence[float]) -> dict:
    """t0 -> the distance of edits with n evaluations to the exact law."""
    prior = mixture(process)
    each = settings.sampling({"rule": solver}, prefix="").rule.evaluations
    s = settings.sampling({"rule": solver, "grid": grid, "steps": max(n // each, 1)}, prefix="")
    pipeline = SDEditPipeline(settings.resolve(prior, s, 0.5).plan)
    edit = jax.jit(jax.vmap(functools.partial(whole, pipeline, prior.params)))
    guides = jnp.repeat(targets(), SAMPLES, 0)
    keys = jax.random.split(jax.random.key(3), len(guides))
    masks = jnp.ones((len(guides), *SHAPE[:2], 1))
    found = {}
    for t0 in every:
        made = edit(Request(jnp.full(len(guides), t0), Guide(guides, masks)), keys)
        found[t0] = distance(process, t0, np.asarray(made).reshape(GUIDES, SAMPLES, -1))
    return found


def whole(pipeline: SDEditPipeline, params: Any, request: Request, key: jax.Array) -> jax.Array:
    """One edit in one program."""
    (stage,), zero = pipeline.stages, jnp.int32(0)
    prepared = pipeline.prepare(params, request)
    state = pipeline.init(params, prepared, key, None, zero, stage=stage.name)
    state, _, _ = pipeline.advance(
        params, prepared, key, state, None, zero, zero,
        stage=stage.name, count=stage.steps, preview=False,
    )  # fmt: skip
    return pipeline.finish(params, request, prepared, state).image


def distance(process: str, t0: float, made: np.ndarray) -> float:
    """Root mean square over the guides of SW_2 between edits [GUIDES, N, D] and the exact law."""
    pairs = zip(made, exact(process, t0), strict=True)
    return float(np.sqrt(np.mean([sliced_wasserstein(a, b) ** 2 for a, b in pairs])))


@functools.cache
def mixture(process: str) -> sj.Prior:
    """The prior: components at random in the middle of [-1, 1]."""
    means = np.random.default_rng(0).uniform(-0.7, 0.7, (COMPONENTS, *SHAPE))
    return sj.mixture(PROCESSES[process], means.astype(np.float32), STD)


def targets() -> jax.Array:
    """Guides [GUIDES, H, W, 1]: crude pictures, each near none of the components."""
    rng = np.random.default_rng(1)
    return jnp.asarray(rng.uniform(-1, 1, (GUIDES, *SHAPE)).astype(np.float32))


@functools.cache
def exact(process: str, t0: float, seed: int = 1) -> np.ndarray:
    """Draws [GUIDES, SAMPLES, D] of the exact output law, in float64."""
    rng, params = np.random.default_rng(seed), mixture(process).params
    means = np.asarray(params["means"], np.float64).reshape(COMPONENTS, -1)
    alpha, sigma = (float(v) for v in level(PROCESSES[process], jnp.float32(t0)))
    made = []
    for guide in np.asarray(targets(), np.float64).reshape(GUIDES, -1):
        x = alpha * guide + sigma * rng.standard_normal((SAMPLES, guide.size))
        made.append(posterior(rng, x, means, alpha, sigma))
    return np.stack(made)


def posterior(rng: Any, x: np.ndarray, means: np.ndarray, alpha: float, sigma: float) -> np.ndarray:
    """A draw of x0 given x_t = alpha x0 + sigma z, for each row of x [N, D]."""
    v = alpha**2 * STD**2 + sigma**2
    away = ((x[:, None] - alpha * means) ** 2).sum(-1)
    weights = np.exp(-(away - away.min(1, keepdims=True)) / 2 / v)
    edges = np.cumsum(weights / weights.sum(1, keepdims=True), 1)
    k = np.minimum((edges < rng.random(len(x))[:, None]).sum(1), len(means) - 1)
    mean = means[k] + alpha * STD**2 / v * (x - alpha * means[k])
    return mean + STD * sigma / np.sqrt(v) * rng.standard_normal(x.shape)


if __name__ == "__main__":
    main()
