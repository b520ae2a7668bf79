"""Time of one forward pass of NCSN++ at the LSUN-church-256 configuration, beside the original.

    python experiments/speed/network.py [--peer=PATH of a checkout of score_sde_pytorch]

Both networks get the same random weights and the same input in one process; their runs alternate,
so that a change of the machine's load meets both. Needs torch when --peer is given.
"""

import argparse
import importlib
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

CHURCH = {
    "image_size": 256,
    "nf": 128,
    "ch_mult": (1, 1, 2, 2, 2, 2, 2),
    "num_res_blocks": 2,
    "attn_resolutions": (16,),
    "progressive": "output_skip",
    "progressive_input": "input_skip",
    "sigma_max": 380.0,
    "num_scales": 2000,
}
"""What differs from the defaults of NCSNppConfig; score_sde's ve/church_ncsnpp_continuous."""


def main() -> None:
    """Measure each batch size and print one row of the table for each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer", type=Path, help="checkout of score_sde_pytorch")
    parser.add_argument("--batches", default="1,4")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compute", default="float32")
    args = parser.parse_args()
    limit_threads(args.threads)  # before the first import of jax and torch
    tell_machine()
    forward, params = ours(args.compute)
    other = theirs(args.peer, params, args.threads) if args.peer else None
    print(f"medians of {args.runs} runs, in seconds: wall time (CPU time of all threads)")
    print("| batch | ours | original | ratio | largest relative difference |")
    print("|---|---|---|---|---|")
    for batch in map(int, args.batches.split(",")):
        print(row(batch, forward, other, args.runs), flush=True)


def limit_threads(count: int) -> None:
    """Bind this process to `count` cores: XLA and torch take as many threads as they may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def tell_machine() -> None:
    """Print device, cores and load, without which the numbers mean little."""
    import jax

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"device {jax.devices()[0].device_kind}, {cores} core(s) usable, load {load}")


def ours(compute: str) -> tuple[Callable, dict]:
    """(forward of numpy [B,H,W,3] and sigma [B], random parameters)."""
    import jax
    import numpy as np

    from sdedit_jax.nets.functional import Network
    from sdedit_jax.nets.ncsnpp import NCSNpp, NCSNppConfig

    config = NCSNppConfig(**CHURCH)
    net = Network(NCSNpp, config, compute)
    params = random_like(net.shapes, np.random.default_rng(0))
    count = sum(a.size for a in jax.tree.leaves(params))
    print(f"NCSN++ church 256, {count:,} parameters, {compute}, jax {jax.__version__}")
    on_device = jax.device_put(params)
    run = jax.jit(net.apply)
    return lambda x, sigma: np.asarray(run(on_device, x, sigma)), params


def random_like(tree: dict, rng: object) -> dict:
    """Random weights that keep activations of order 1 in every layer, none of them zero."""
    import numpy as np

    def draw(name: str, shape: tuple[int, ...], path: str) -> np.ndarray:
        z = rng.standard_normal(shape)
        if name == "scale":
            z = 1 + 0.1 * z
        elif name in ("bias", "b"):
            z = 0.1 * z
        elif path == "all_modules/0":  # the Fourier frequencies
            z = 16 * z
        else:
            z = z / np.sqrt(np.prod(shape[:-1]))
        return z.astype(np.float32)

    def walk(tree: dict, path: str) -> dict:
        return {
            name: walk(child, f"{path}/{name}".strip("/"))
            if isinstance(child, dict)
            else draw(name, child.shape, path)
            for name, child in tree.items()
        }

    return walk(tree, "")


def theirs(checkout: Path, params: dict, threads: int) -> Callable:
    """The forward pass of the original with our weights, on the same kind of arrays."""
    import torch

    if not (checkout / "models" / "ncsnpp.py").is_file():
        raise SystemExit(f"--peer: {checkout} is no checkout of score_sde_pytorch")
    torch.set_num_threads(threads)
    # a package `configs` on the path would hide the checkout's folder of this name
    others = [p for p in sys.path if not (Path(p) / "configs" / "__init__.py").exists()]
    sys.path[:] = [str(checkout), *others]
    build, torch.utils.cpp_extension.load = torch_loader(), lambda *args, **kwargs: None
    try:  # its CUDA operators are built at import; on CPU it does not call them
        kind = importlib.import_module("models.ncsnpp").NCSNpp
        config = importlib.import_module("configs.ve.church_ncsnpp_continuous").get_config()
    finally:
        torch.utils.cpp_extension.load = build
    net = kind(config).eval()
    state = {name: torch.from_numpy(a) for name, a in torch_names(params).items()}
    missing, unexpected = net.load_state_dict(state, strict=False)
    if set(missing) != {"sigmas"} or unexpected:
        raise SystemExit(f"weights do not fit: missing {missing}, unexpected {unexpected}")
    print(f"original score_sde_pytorch, torch {torch.__version__}, {threads} thread(s)")

    def run(x: object, sigma: object) -> object:
        with torch.no_grad():
            x = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
            return net(x, torch.from_numpy(sigma)).numpy().transpose(0, 2, 3, 1)

    return run


def torch_loader() -> Callable:
    """torch's builder of C++ extensions, imported explicitly because torch loads it lazily."""
    return importlib.import_module("torch.utils.cpp_extension").load


def torch_names(params: dict, path: str = "") -> dict:
    """Our tree with PyTorch's names and layouts: the path joined by dots, kernels turned."""
    import numpy as np

    out = {}
    for name, child in params.items():
        if isinstance(child, dict):
            out |= torch_names(child, f"{path}{name}.")
        elif name == "kernel":
            turned = child.T if child.ndim == 2 else child.transpose(3, 2, 0, 1)
            out[f"{path}weight"] = np.ascontiguousarray(turned)
        else:
            out[path + {"scale": "weight"}.get(name, name)] = child
    return out


def row(batch: int, forward: Callable, other: Callable | None, runs: int) -> str:
    """One row of the table; the first call of each (compile, caches) is not counted."""
    x, sigma = noisy(batch)
    start = time.perf_counter()
    mine = forward(x, sigma)
    compiled = time.perf_counter() - start
    print(f"batch {batch}: first call {compiled:.1f} s with compilation", file=sys.stderr)
    if other is None:
        wall, cpu = medians([timed(forward, x, sigma) for _ in range(runs)])
        return f"| {batch} | {wall:.2f} ({cpu:.2f}) | | | |"
    worst = difference(mine, other(x, sigma))
    pairs = [(*timed(forward, x, sigma), *timed(other, x, sigma)) for _ in range(runs)]
    wall, cpu, wall_other, cpu_other = medians(pairs)
    times = f"{wall:.2f} ({cpu:.2f}) | {wall_other:.2f} ({cpu_other:.2f})"
    ratios = f"{wall / wall_other:.2f} ({cpu / cpu_other:.2f})"
    return f"| {batch} | {times} | {ratios} | {worst:.1e} |"


def noisy(batch: int) -> tuple:
    """A random batch: pictures [B, 256, 256, 3] in [0, 1] plus noise of sigma [B]."""
    import numpy as np

    rng = np.random.default_rng(batch)
    x = rng.random((batch, 256, 256, 3), np.float32)
    sigma = np.geomspace(0.1, 10, batch).astype(np.float32)
    return x + sigma[:, None, None, None] * rng.standard_normal(x.shape, np.float32), sigma


def timed(f: Callable, x: object, sigma: object) -> tuple[float, float]:
    """Wall and CPU seconds of a call; the latter hardly depend on other programs."""
    start, start_cpu = time.perf_counter(), time.process_time()
    f(x, sigma)
    return time.perf_counter() - start, time.process_time() - start_cpu


def medians(rows: list[tuple]) -> list[float]:
    """The median of each column."""
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def difference(mine: object, reference: object) -> float:
    """Largest difference over the largest output, each picture by itself."""
    import numpy as np

    top = np.abs(reference).max(axis=(1, 2, 3), keepdims=True)
    return float((np.abs(mine - reference) / top).max())


if __name__ == "__main__":
    main()
