"""The first stage of a text prior: an autoencoder, published as the folder vae/ of diffusers."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sdedit_jax import images
from sdedit_jax.diffusion.noise import seed_key
from sdedit_jax.files import door, json_file
from sdedit_jax.nets.functional import network
from sdedit_jax.registry import PARTS
from sdedit_jax.training.batches import spaced
from sdedit_jax.training.job import Job, execute, rounded, size, so_far, some
from sdedit_jax.training.loop import Hooks
from sdedit_jax.training.vae import (
    Decode,
    Encode,
    Fidelity,
    centred,
    in_chunks,
    reconstruction_errors,
    reconstruction_loss,
    reconstructions,
)
from sdedit_jax.weights import conversion, export, whole_folder
from sdedit_jax.weights.readers import safetensors_file

WEIGHTS = "diffusion_pytorch_model.safetensors"
SHEET = 12
"""Pictures on a sample sheet."""


class Autoencoder(NamedTuple):
    """The autoencoder as functions of a batch.

    Attributes:
        config: as in config.json.
        encode, decode: see training/vae.py, jitted; latents are not scaled.
        init: key -> fresh parameters.
        shapes: of the parameters.
    """

    config: Any
    encode: Encode
    decode: Decode
    init: Callable[[Any], Any]
    shapes: Any


def autoencoder(values: Mapping[str, Any], compute: str = "float32") -> Autoencoder:
    """The autoencoder with these fields of config.json."""
    net = network(PARTS["stable_diffusion"]["vae"], values, compute)
    return Autoencoder(
        net.config,
        jax.jit(lambda params, x: net.apply(params, x, method="encode")),
        jax.jit(lambda params, z: net.apply(params, z, method="decode")),
        net.init,
        net.shapes,
    )


def load(folder: str | Path, compute: str = "float32") -> tuple[Autoencoder, Any]:
    """The autoencoder in a folder vae/, and its parameters.

    Raises:
        ValueError: missing or damaged files, or files that do not fit each other.
    """
    file = Path(folder) / "config.json"
    vae = autoencoder(json_file.read_object(file, "vae"), compute)
    params = conversion.fill(vae.shapes, safetensors_file.read(file.with_name(WEIGHTS)))
    return vae, jax.tree.map(jnp.asarray, params)


def latents(vae: Autoencoder, params: Any, pictures: np.ndarray) -> np.ndarray:
    """Means of the posterior [B, h, w, c], not scaled."""
    return in_chunks(lambda x: vae.encode(params, x)[0], pictures)


def train(job: Job, net: Mapping[str, Any], fidelity: Fidelity, statistics: int) -> None:
    """Train the autoencoder and publish its folder.

    Args:
        net: fields of config.json.
        fidelity: the loss.
        statistics: number of pictures from which the scale of the latents is computed.
    """
    vae = autoencoder(net, job.compute)
    pictures = some(job.held_out or job.data, job.run.held_out)

    def errors(params: Any) -> dict[str, float]:
        return reconstruction_errors(
            pictures, reconstructions(vae.encode, vae.decode, params, pictures)
        )

    hooks = Hooks(
        errors,
        sampler(vae, pictures),
        publisher(job, net, vae, errors, some(job.data, statistics)),
    )
    loss = reconstruction_loss(vae.encode, vae.decode, fidelity)
    execute(job, loss, vae.init(seed_key(job.run.seed)), job.data, hooks)


def sampler(vae: Autoencoder, pictures: np.ndarray) -> Callable[[Any], np.ndarray]:
    """Averaged weights -> a sheet: a row of pictures, and a row of their reconstructions."""
    pictures = pictures[spaced(len(pictures), SHEET)]

    def sheet(params: Any) -> np.ndarray:
        found = reconstructions(vae.encode, vae.decode, params, pictures)
        both = np.concatenate([pictures, found])
        return images.grid([images.from_unit(p) for p in both], columns=len(pictures))

    return sheet


def publisher(
    job: Job,
    net: Mapping[str, Any],
    vae: Autoencoder,
    errors: Callable[[Any], dict[str, float]],
    pictures: np.ndarray,
) -> Callable[[Any, int], None]:
    """(averaged weights, step) -> the folder vae/; its scaled latents have mean 0 and std 1."""
    config = {"_class_name": "AutoencoderKL", "act_fn": "silu", **net}

    def publish(params: Any, step: int) -> None:
        means = latents(vae, params, pictures)
        mean, std = means.mean((0, 1, 2)), means.std((0, 1, 2))
        scaled = centred(jax.tree.map(np.asarray, params), mean, std, vae.config.scaling_factor)
        found = errors(rounded(scaled, job.dtype))
        report = {**so_far(job, step), **found, "parameters": size(params)}
        write(job, scaled, config, report)
        print(f"published {job.folder} at step {step}: {found}")

    return publish


def write(job: Job, params: Any, config: Mapping[str, Any], report: Mapping[str, Any]) -> None:
    """Write the folder vae/, or replace it. An interrupted call leaves the old folder or none."""
    with whole_folder.writing(job.folder, "publish") as aside:
        export.write(aside / WEIGHTS, params, job.dtype)
        for name, file in job.files.items():
            door.copy(file, aside / name)
        (aside / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        (aside / "training.json").write_text(json.dumps(report, indent=1) + "\n")


def report_of(folder: str | Path) -> dict[str, Any]:
    """The training report in a folder vae/ that this stage has published.

    Raises:
        ValueError: this stage has not published the folder.
    """
    file = Path(folder) / "training.json"
    if not file.is_file():
        raise ValueError(
            f"vae: cannot read {file}, which the first stage (--config=train_vae) writes"
        )
    return json_file.read_object(file, "vae")
