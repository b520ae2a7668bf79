"""--mode=train with stage "vae": pictures in, the folder vae/ of a Stable Diffusion folder out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import build, images
from sdedit_jax.data import Source, batch_of
from sdedit_jax.nets.functional import functional
from sdedit_jax.nets.sd_vae import SDVae, SDVaeConfig
from sdedit_jax.run.session import plain, use_cache
from sdedit_jax.run.train import publish_folder, read
from sdedit_jax.train import loop
from sdedit_jax.train.report import read as records
from sdedit_jax.train.report import seconds
from sdedit_jax.train.step import Optimizer
from sdedit_jax.train.vae import (
    Decode,
    Encode,
    Fidelity,
    centred,
    in_chunks,
    rebuilt,
    reconstruction_errors,
    reconstruction_loss,
)
from sdedit_jax.weights import export, rule, store
from sdedit_jax.weights.readers import safetensors_file

WEIGHTS = "diffusion_pytorch_model.safetensors"
SHEET = 12
"""Pictures on a sample sheet."""


class Autoencoder(NamedTuple):
    """The autoencoder as functions of a batch.

    Attributes:
        config: what config.json says of it.
        encode, decode: see train/vae.py, jitted; latents are not scaled.
        init: key -> fresh parameters.
        shapes: of the parameters.
    """

    config: SDVaeConfig
    encode: Encode
    decode: Decode
    init: Callable[[Any], Any]
    shapes: Any


def autoencoder(values: dict[str, Any], compute: str = "float32") -> Autoencoder:
    """The autoencoder of these fields of config.json."""
    config = SDVaeConfig.from_mapping(values)
    net = functional(lambda rngs: SDVae(config, rngs=rngs), compute)
    return Autoencoder(
        config,
        jax.jit(lambda params, x: net.apply(params, x, method="encode")),
        jax.jit(lambda params, z: net.apply(params, z, method="decode")),
        net.init,
        net.shapes,
    )


def train_vae(config: ConfigDict, workdir: Path) -> int:
    """Train from the newest checkpoint in workdir, or from the start, and publish vae/.

    With config.export the newest checkpoint is published as it stands and nothing is trained.
    """
    use_cache(config.cache)
    side = config.net.sample_size
    data = read(config, config.data.split, side)
    held_out = read(config, config.data.held_out, side) if config.data.held_out else None
    vae = autoencoder(plain(config.net), config.compute)
    params = vae.init(jax.random.key(config.run.seed))
    print(f"data      {len(data)} pictures of {data.images[0].shape}, {config.data.source}")
    print(
        f"network   AutoencoderKL, {count(params) / 1e6:.2f} million parameters, {config.compute}"
    )
    run, optimizer = loop.Run(**plain(config.run)), Optimizer(**plain(config.optimizer))
    seen = some(held_out or data, run.held_out)

    def errors(params: Any) -> dict[str, float]:
        return reconstruction_errors(seen, rebuilt(vae.encode, vae.decode, params, seen))

    publish = publisher(config, workdir, vae, data, errors)
    if config.export:
        state = loop.newest(workdir, params, optimizer, run)
        publish(state.ema, int(state.step))
        return 0
    loop.fit(
        workdir,
        reconstruction_loss(vae.encode, vae.decode, Fidelity(**plain(config.objective))),
        params,
        data,
        run=run,
        optimizer=optimizer,
        augment=build.augment(plain(config.augment)),
        errors=errors,
        sample=sampler(vae, seen),
        publish=publish,
    )
    return 0


def some(data: Source, count: int) -> np.ndarray:
    """Pictures evenly spaced in their source, float32 [B, H, W, C] in [-1, 1]."""
    return batch_of(data, np.unique(np.linspace(0, len(data) - 1, count).astype(int)))[0]


def sampler(vae: Autoencoder, pictures: np.ndarray) -> Callable[[Any], np.ndarray]:
    """Averaged weights -> a sheet: a row of pictures, a row of what is rebuilt of them."""
    rows = np.unique(np.linspace(0, len(pictures) - 1, SHEET).astype(int))

    def sheet(params: Any) -> np.ndarray:
        again = rebuilt(vae.encode, vae.decode, params, pictures[rows])
        both = np.concatenate([pictures[rows], again])
        return images.grid([images.from_unit(p) for p in both], columns=len(rows))

    return sheet


def publisher(
    config: ConfigDict,
    workdir: Path,
    vae: Autoencoder,
    data: Source,
    errors: Callable[[Any], dict[str, float]],
) -> Callable[[Any, int], None]:
    """(averaged weights, step) -> the folder vae/, with latents of the promised scale."""
    folder = publish_folder(config, workdir, "vae", "config.json")
    pictures = some(data, config.statistics)
    net = {"_class_name": "AutoencoderKL", "act_fn": "silu", **plain(config.net)}

    def publish(params: Any, step: int) -> None:
        means = latents(vae, params, pictures)
        mean, std = means.mean((0, 1, 2)), means.std((0, 1, 2))
        scaled = centred(jax.tree.map(np.asarray, params), mean, std, vae.config.scaling_factor)
        rounded = jax.tree.map(lambda a: a.astype(config.dtype).astype(np.float32), scaled)
        found = errors(rounded)
        report = {**facts(config, workdir, step), **found, "parameters": count(params)}
        aside = store.beside(folder, "partial")
        export.write(aside / WEIGHTS, scaled, config.dtype)
        (aside / "config.json").write_text(json.dumps(net, indent=2) + "\n")
        (aside / "training.json").write_text(json.dumps(report, indent=1) + "\n")
        store.replace(aside, folder)
        print(f"published {folder} at step {step}: {found}")

    return publish


def facts(config: ConfigDict, workdir: Path, step: int) -> dict[str, Any]:
    """How a run was trained until `step`."""
    lines = [r for r in records(workdir / "metrics.jsonl") if r["step"] <= step]
    names = [name for name in ("objective", "optimizer", "augment", "run") if name in config]
    return {
        "steps": step,
        "images": step * config.run.batch,
        "seconds": seconds(lines, config.run.batch),
        **{name: plain(config[name]) for name in names},
    }


def count(tree: Any) -> int:
    """Numbers in a tree of arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def latents(vae: Autoencoder, params: Any, pictures: np.ndarray) -> np.ndarray:
    """Means of the posterior [B, h, w, c], not scaled."""
    return in_chunks(lambda x: vae.encode(params, x)[0], pictures)


def load(folder: str | Path, compute: str = "float32") -> tuple[Autoencoder, Any]:
    """The autoencoder in a folder vae/, and its parameters.

    Raises:
        ValueError: missing or damaged files, or files that do not fit each other.
    """
    folder = Path(folder)
    try:
        values = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"vae: cannot read {folder / 'config.json'}: {error}") from None
    vae = autoencoder(values, compute)
    params = rule.fill(vae.shapes, safetensors_file.read(folder / WEIGHTS))
    return vae, jax.tree.map(jnp.asarray, params)
