"""--mode=train: photos in, a prior's folder out. It can be killed and started again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import build, images
from sdedit_jax.data import Source, source
from sdedit_jax.edits.sdedit import Request, edit
from sdedit_jax.guide import Guide
from sdedit_jax.prior import Prior
from sdedit_jax.run import entry
from sdedit_jax.run.session import plain, use_cache
from sdedit_jax.train import loop
from sdedit_jax.train.loss import Objective
from sdedit_jax.train.step import Optimizer
from sdedit_jax.weights import store

SHEET = 16
"""Pictures on a sample sheet."""

STAGES = ["prior", "vae", "text"]


def train(config: ConfigDict, workdir: Path, overwrite: bool) -> int:
    """Train from the newest checkpoint in workdir, or from the start, and publish the weights.

    With config.export the newest checkpoint is published as it stands and nothing is trained.

    workdir gets checkpoints/, metrics.jsonl, events/, curves.png, samples/ and what is published
    (else in the folder config.publish). `--overwrite` has no meaning here: a run continues what it
    finds.

    Raises:
        ValueError: an unknown stage or field, no data, a checkpoint of another network.
    """
    if "data" not in config or "run" not in config:
        raise ValueError("config: --mode=train needs one for training, e.g. configs/train.py")
    if not config.data.source:
        raise ValueError("data.source: give a folder or zip of photos, or a tfds name")
    return stage(config.get("stage", "prior"))(config, workdir)


def stage(name: str) -> Callable[[ConfigDict, Path], int]:
    """What is trained: "prior" in pixels, or the "vae" and then the "text" prior on its latents.

    Raises:
        ValueError: no such stage.
    """
    if name not in STAGES:
        raise ValueError(f"stage must be one of {STAGES}, got {name!r}")
    return train_prior if name == "prior" else entry(f"train_{name}")


def train_prior(config: ConfigDict, workdir: Path) -> int:
    """A prior in pixels; it is published to workdir/prior."""
    use_cache(config.cache)
    side = config.net.image_size
    data = read(config, config.data.split, side)
    held_out = read(config, config.data.held_out, side) if config.data.held_out else None
    check_labels(config, data)
    card = card_of(config, data)
    prior = build.prior_of(card, config.compute, config.name)
    leaves = sum(leaf.size for leaf in jax.tree.leaves(prior.params))
    print(f"data      {len(data)} pictures of {data.images[0].shape}, {config.data.source}")
    print(f"network   {config.network}, {leaves / 1e6:.2f} million parameters, {config.compute}")
    publish = publisher(config, workdir, card)
    run, optimizer = loop.Run(**plain(config.run)), Optimizer(**plain(config.optimizer))
    if config.export:
        state = loop.newest(workdir, prior.params, optimizer, run)
        publish(state.ema, int(state.step))
        return 0
    params = start(config, prior, card)
    loop.train(
        workdir,
        prior.process,
        prior.predict,
        params,
        data,
        run=run,
        objective=objective(config),
        optimizer=optimizer,
        augment=build.augment(plain(config.augment)),
        held_out=held_out,
        sample=sampler(prior, config),
        publish=publish,
        first_step=config.first_step,
    )
    return 0


def read(config: ConfigDict, split: str, side: int) -> Source:
    """The pictures of a split, of the network's size."""
    d = config.data
    found = source(d.source, split or None, d.labels or None, size=d.size or None)
    size = found.images[0].shape[:2]
    if size != (side, side):
        raise ValueError(f"data: the pictures are {size}, the network's are {side}; set data.size")
    return found


def check_labels(config: ConfigDict, data: Source) -> None:
    """See that the network has as many classes as the data have labels.

    Raises:
        ValueError: it has not.
    """
    classes = config.net.num_classes
    if classes != (len(data.names) or None):
        told = f"{len(data.names)} labels" if data.names else "no labels"
        raise ValueError(
            f"net.num_classes must be the number of labels, or None without data.labels; got"
            f" {classes}, the data have {told}"
        )


def card_of(config: ConfigDict, data: Source) -> dict[str, Any]:
    """What prior.json will say, before any step."""
    side, channels = config.net.image_size, config.net.num_channels
    return {
        "name": config.name,
        "network": config.network,
        "config": {name: value for name, value in plain(config.net).items() if value is not None},
        "process": plain(config.process),
        "prediction": plain(config.prediction),
        "size": [side, side, channels],
        "range": [-1, 1],
        "data": {
            "source": Path(config.data.source).name,
            "pictures": len(data),
            "credit": config.data.credit,
            "labels": list(data.names),
        },
        "training": {
            name: plain(config[name]) for name in ("objective", "optimizer", "augment", "run")
        },
    }


def start(config: ConfigDict, prior: Prior, card: dict[str, Any]) -> Any:
    """Fresh parameters, or those of the prior `config.init`."""
    if not config.init:
        return build.initial_params(card, config.run.seed)
    params = store.load(config.init, prior.params, sha256=store.read_card(config.init)["sha256"])
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params)


def objective(config: ConfigDict) -> Objective:
    """The loss; labels are dropped where the network has classes."""
    return Objective(**plain(config.objective), null_label=config.net.num_classes)


def publisher(
    config: ConfigDict, workdir: Path, card: dict[str, Any]
) -> Callable[[Any, int], None]:
    """(averaged weights, step) -> the prior's folder."""
    first, before = begun(config)
    folder = publish_folder(config, workdir, "prior", "prior.json")
    dtype = jnp.dtype(build.pick(store.DTYPES, config.dtype, "dtype"))

    def publish(params: Any, step: int) -> None:
        seen = {"steps": step, "images": before + (step - first) * config.run.batch}
        training = {**card["training"], **seen}
        store.save(
            folder,
            jax.tree.map(lambda a: np.asarray(a.astype(dtype)), params),
            {**card, "training": training},
        )
        print(f"published {folder} at step {step}")

    return publish


def begun(config: ConfigDict) -> tuple[int, int]:
    """The step at which a run begins, and the pictures that its first weights have seen."""
    if not config.init:
        return 0, 0
    first = config.first_step
    training = store.read_card(config.init).get("training", {})
    return first, training.get("images", first * config.run.batch)


def publish_folder(config: ConfigDict, workdir: Path, name: str, mark: str) -> Path:
    """Where weights are published: config.publish, else workdir/name.

    Raises:
        ValueError: publishing would replace something else; see store.check_target.
    """
    folder = Path(config.publish) if config.publish else workdir / name
    store.check_target(folder, "publish", mark, workdir)
    return folder


def sampler(prior: Prior, config: ConfigDict) -> Callable[[Any], np.ndarray]:
    """Averaged weights -> a sheet of unconditional samples, always of the same keys."""
    plan = build.plan(prior._replace(params=None), build.Sampling(steps=25))
    run = jax.jit(jax.vmap(edit(plan), in_axes=(None, None, 0)))
    guide = Guide(jnp.zeros(prior.shape), jnp.ones((*prior.shape[:2], 1)))
    cond = None if config.net.num_classes is None else jnp.int32(config.net.num_classes)
    request = Request(jnp.float32(1.0), guide, cond)
    keys = jax.random.split(jax.random.key(1), SHEET)

    def sheet(params: Any) -> np.ndarray:
        pictures = np.asarray(run(params, request, keys).image)
        return images.grid([images.from_unit(p) for p in pictures], columns=8)

    return sheet
