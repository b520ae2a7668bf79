"""--mode=train: photos in, a prior's folder out. It can be killed and started again."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from sdedit_jax import registry, signals
from sdedit_jax.data.pictures import Source, source
from sdedit_jax.diffusion.noise import drawn_seed
from sdedit_jax.files import door
from sdedit_jax.images import size_text
from sdedit_jax.modes.files import Target, plain
from sdedit_jax.pipeline import ledits_settings
from sdedit_jax.pipeline.cache import use_cache
from sdedit_jax.registry import bounds, included
from sdedit_jax.text.spelling import counted
from sdedit_jax.training import autoencoder, history, pixel_prior, text_prior
from sdedit_jax.training.augment import Augment
from sdedit_jax.training.job import Job, size
from sdedit_jax.training.loop import Run, Stop, newest_step
from sdedit_jax.training.loss import Objective
from sdedit_jax.training.publishing import Sheet
from sdedit_jax.training.step import Optimizer
from sdedit_jax.training.vae import Fidelity
from sdedit_jax.weights import disk, store, whole_folder


def train(config: ConfigDict, target: Target) -> int:
    """Train from the newest checkpoint in workdir, or from the start, and publish the weights.

    With config.export the newest checkpoint is published and nothing is trained. workdir gets
    checkpoints/, metrics.jsonl, events/, curves.png, samples/ and the published weights, unless
    config.publish names another folder. `--overwrite` is not used: a run continues its workdir.

    Returns:
        0, or the exit code of the signal that stopped the training.

    Raises:
        ValueError: an unknown stage or field, no data, a checkpoint of another network.
    """
    workdir = target.folder
    if "data" not in config or "run" not in config:
        raise ValueError("config: --mode=train needs one for training, such as --config=train")
    if not config.data.source:
        raise ValueError("data.source: give a folder or zip of photos, or a tfds name")
    name = config.get("stage", "prior")
    if name not in STAGES:
        raise ValueError(f"stage must be one of {list(STAGES)}, got {name!r}")
    use_cache(config.cache)
    config.run.seed = seed_of(config.run.seed, workdir)
    with signals.catch() as caught, disk.naming(workdir):
        STAGES[name](config, workdir, caught.stop)
    return caught.exit_code


def seed_of(given: int, workdir: Path) -> int:
    """The seed of a run; for -1 that of the run in workdir, or else a drawn one."""
    if given != -1:
        return drawn_seed(given)
    found = history.seed(workdir) if newest_step(workdir) is not None else None
    if found is None:
        found = drawn_seed(given)
        print(f"seed      {found}, drawn")
    return found


def train_prior(config: ConfigDict, workdir: Path, stop: Stop) -> None:
    """A prior in pixels, published to workdir/prior."""
    registry.check_channels(config.net.num_channels, "net.num_channels")
    job = job_of(config, workdir, "prior", "prior.json", config.net.image_size, stop)
    check_labels(config, job.data)
    metadata = metadata_of(config, job.data)
    prior = registry.prior_of(metadata, config.compute, config.name)
    introduce(job, **{config.network: prior.params})
    objective = Objective(**plain(config.objective), null_label=config.net.num_classes)
    start = pixel_prior.start(config.init, config.first_step, config.run.batch)
    pixel_prior.train(job, prior, objective, start)


def train_vae(config: ConfigDict, workdir: Path, stop: Stop) -> None:
    """The autoencoder of a text prior, published to workdir/vae."""
    job = job_of(config, workdir, "vae", "config.json", config.net.sample_size, stop)
    net = plain(config.net)
    introduce(job, AutoencoderKL=autoencoder.autoencoder(net).shapes)
    autoencoder.train(job, net, Fidelity(**plain(config.objective)), config.statistics)


def train_text(config: ConfigDict, workdir: Path, stop: Stop) -> None:
    """U-Net and text encoder of a text prior, published to workdir/prior."""
    if not config.vae:
        raise ValueError("vae: give the folder vae/ that the first stage has published")
    for preset in config.ledits:
        ledits_settings.defaults(plain(config.ledits), preset, "ledits")
    autoencoder.report_of(config.vae)  # read again at the end; a missing file stops the run now
    first = text_prior.First(*autoencoder.load(config.vae, config.compute), Path(config.vae))
    side = config.net.sample_size * first.vae.config.factor
    job = job_of(config, workdir, "prior", "model_index.json", side, stop)
    captions, texts = job.data.names, config.text
    if not captions:
        raise ValueError("data.labels: the text stage needs captions, got no labels")
    folder = workdir / "tokenizer"
    tokens = text_prior.tokens_of(
        folder, captions, texts.max_position_embeddings, config.vocabulary
    )
    plains = (plain(config.net), plain(texts), plain(config.process))
    parts = text_prior.parts_of(*plains, (first.folder, folder), tokens)
    parts = parts._replace(ledits=plain(config.ledits))
    model = text_prior.model_of(parts, tokens, config.compute)
    introduce(job, unet=model.unet.shapes, text_encoder=model.encoder.shapes)
    text_prior.train(
        job,
        model,
        parts,
        first,
        Objective(**plain(config.objective), null_label=len(captions)),
        whole=config.whole,
        mirror=config.mirror,
        sheet=Sheet(**{**plain(config.sheet), "texts": tuple(config.sheet.texts) or captions}),
    )


STAGES = {"prior": train_prior, "vae": train_vae, "text": train_text}
"""What is trained: a prior in pixels; the autoencoder of a text prior; the text prior itself."""


def job_of(config: ConfigDict, workdir: Path, name: str, mark: str, side: int, stop: Stop) -> Job:
    """The run of a config.

    Args:
        name, mark: of the published folder, and of a file that it holds.
        side: of the pictures that the network takes.

    Raises:
        ValueError: an unknown dtype, no data, a folder that holds something else, or another config
            than that of the run in workdir.
    """
    registry.pick(store.DTYPES, config.dtype, "dtype")
    pixels = {"run.batch": config.run.batch, "net": side**2}
    bounds.work(pixels, bounds.MOST_PIXELS, "pixels at a time")
    folder = workdir / name
    if config.publish:  # an autoencoder is no prior, and has no name
        named = mark in included.MARKS
        folder = included.new_prior(config.publish if named else Path(config.publish), "publish")
    whole_folder.check_target(folder, "publish", mark, workdir)
    d = config.data
    data, augment = training_pictures(config, side)
    whole, first = {**plain(config), "labels": list(data.names)}, config.get("first_step", 0)
    entries = history.continued(workdir, whole, newest_step(workdir), first)
    settings = {part: plain(config[part]) for part in RECORDED if part in config}
    if changes := history.changes(entries):
        settings["changes"] = changes
    return Job(
        config.name,
        {"source": Path(d.source).name, "credit": d.credit},
        workdir,
        folder,
        credits_of(d.credits),
        data,
        read(config, d.held_out, side) if d.held_out else None,
        Run(**plain(config.run)),
        Optimizer(**plain(config.optimizer)),
        augment,
        config.compute,
        config.dtype,
        settings,
        entries,
        config.export,
        config.average,
        stop,
    )


RECORDED = ("objective", "optimizer", "augment", "run")
"""Parts of the config that are recorded with the published weights."""


def introduce(job: Job, **networks: Any) -> None:
    """Print the data and the networks, each given by its parameters' shapes."""
    shape, names = size_text(job.data.images[0].shape), counted(len(job.data.names), "label")
    origin = job.origin["source"] + (f", {names}" if job.data.names else "")
    print(f"data      {counted(len(job.data), 'picture')} of {shape}, {origin}")
    for line in [*job.data.skipped, *(job.held_out.skipped if job.held_out else ())]:
        print(f"left out  {line}")
    for name, shapes in networks.items():
        bounds.work({"net": size(shapes)}, bounds.MOST_PARAMETERS, "parameters")
        print(f"network   {name}, {size(shapes) / 1e6:.2f} million parameters, {job.compute}")
    for line in history.lines(job.entries):
        print(line)


def credits_of(path: str) -> dict[str, Path]:
    """The file of credits under the name that it is published with.

    Raises:
        ValueError: there is no such file, or it has more than `door.TEXT` bytes.
    """
    return {"CREDITS.tsv": door.check(path, "data.credits", door.TEXT)} if path else {}


def training_pictures(config: ConfigDict, side: int) -> tuple[Source, Augment | None]:
    """The training pictures, and the random changes that make them side x side."""
    split, views = config.data.split, config.data.views
    if "augment" not in config:
        return read(config, split, side), None
    augment = augment_of(config.augment)
    if not views:
        return read(config, split, side), augment
    return read(config, split, views), augment._replace(side=side)


def read(config: ConfigDict, split: str, side: int) -> Source:
    """The pictures of a split, side x side; with data.views they are resized."""
    d = config.data
    wanted = side if d.views else d.size or None
    found = source(
        d.source, split or None, d.labels or None, size=wanted, skip_broken=d.skip_broken,
        channels=config.net.get("num_channels", 3),
    )  # fmt: skip
    shape = found.images[0].shape[:2]
    if shape != (side, side):
        raise ValueError(
            f"data: the pictures are {size_text(shape)}, the network's are {side}x{side}; set"
            " data.size"
        )
    return found


def check_labels(config: ConfigDict, data: Source) -> None:
    """Check that the network has as many classes as the data have labels.

    Raises:
        ValueError: the numbers differ.
    """
    classes = config.net.num_classes
    if classes != (len(data.names) or None):
        found = counted(len(data.names), "label") if data.names else "no labels"
        raise ValueError(
            f"net.num_classes must be the number of labels, or None without data.labels; got"
            f" {classes}, the data have {found}"
        )


def metadata_of(config: ConfigDict, data: Source) -> dict[str, Any]:
    """The contents of prior.json before the first step."""
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
    }


def augment_of(values: ConfigDict) -> Augment:
    """The augmentation of training pictures; lists become tuples."""
    return Augment(**{**plain(values), "scale": tuple(values["scale"])})
