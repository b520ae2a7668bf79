"""The second stage of a text prior: U-Net and text encoder on the latents of the first stage."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax import images
from sdedit_jax.data.pictures import Source
from sdedit_jax.diffusion import sde
from sdedit_jax.diffusion.grids import Karras
from sdedit_jax.diffusion.noise import seed_key
from sdedit_jax.diffusion.solvers import DPMpp, Prediction
from sdedit_jax.files import array_file
from sdedit_jax.guidance.cfg import CFG
from sdedit_jax.nets.functional import Network, network
from sdedit_jax.pipeline.samples import samples
from sdedit_jax.priors.adapters import DDPM
from sdedit_jax.priors.conditioning import CFGCond
from sdedit_jax.priors.prior import Prior
from sdedit_jax.registry import PARTS
from sdedit_jax.text import tokenizer, vocabulary
from sdedit_jax.text.tokenizer import Tokenizer
from sdedit_jax.training import publishing
from sdedit_jax.training.autoencoder import Autoencoder, latents, report_of
from sdedit_jax.training.batches import batch_of, spaced
from sdedit_jax.training.checks import check_folder
from sdedit_jax.training.job import Job, execute, rounded, size, so_far
from sdedit_jax.training.loop import Hooks
from sdedit_jax.training.loss import Objective, held_out_errors
from sdedit_jax.training.publishing import Parts, Sheet
from sdedit_jax.training.text import Wordings, text_loss, wordings
from sdedit_jax.weights import whole_folder


class First(NamedTuple):
    """The first stage: the autoencoder, its parameters and its folder vae/."""

    vae: Autoencoder
    params: Any
    folder: Path

    def latents(self, pictures: np.ndarray) -> np.ndarray:
        """Scaled latents [B, h, w, c] of pictures [B, H, W, C]."""
        scale = np.float32(self.vae.config.scaling_factor)
        return latents(self.vae, self.params, pictures) * scale


class Model(NamedTuple):
    """The two networks that are trained together, with process and tokenizer."""

    unet: Network
    encoder: Network
    process: sde.SDE
    levels: int
    tokens: Tokenizer

    def denoise(self, params: Any, x: Array, t: Array, ids: Array) -> Array:
        """eps [B, h, w, c] of x at t [B] with texts of ids [B, N]."""
        text = self.encoder.apply(params["text_encoder"], ids).tokens
        return self.unet.apply(params["unet"], x, sde.step_of(t, self.levels), y=text)

    def init(self, seed: int) -> dict[str, Any]:
        """Fresh parameters of both networks."""
        k_unet, k_text = jax.random.split(seed_key(seed))
        return {"unet": self.unet.init(k_unet), "text_encoder": self.encoder.init(k_text)}


def tokens_of(folder: Path, captions: tuple[str, ...], length: int, most: int) -> Tokenizer:
    """The tokenizer in `folder`, learnt from the captions if the folder does not exist.

    Args:
        length: tokens of a text.
        most: the largest size of the vocabulary.

    Raises:
        ValueError: the folder holds other files, or another process writes it.
    """
    whole_folder.check_target(folder, "workdir", "vocab.json")
    if not (folder / "vocab.json").exists():
        with whole_folder.writing(folder) as aside:
            vocabulary.write(aside, captions, length, most)
    return tokenizer.read(folder)


def parts_of(
    unet: Mapping[str, Any],
    text: Mapping[str, Any],
    scheduler: Mapping[str, Any],
    folders: tuple[Path, Path],
    tokens: Tokenizer,
) -> Parts:
    """The parts of the prior, their sizes set to those of the tokenizer.

    Args:
        unet, text, scheduler: fields of their config.json.
        folders: of the autoencoder and of the tokenizer.
    """
    size = tokens.bpe.get_vocab_size()
    text = {**text, "vocab_size": size, "eos_token_id": tokens.end}
    return Parts(unet, text, scheduler, *folders, (tokens.start, tokens.end, tokens.pad))


def model_of(parts: Parts, tokens: Tokenizer, compute: str) -> Model:
    """The networks and the process of the parts.

    Raises:
        ValueError: the U-Net and the text encoder do not fit each other.
    """
    kinds = PARTS["stable_diffusion"]
    unet = network(kinds["unet"], {**publishing.UNET, **parts.unet}, compute)
    encoder = network(kinds["text_encoder"], parts.text, compute)
    width, wanted = encoder.config.hidden_size, unet.config.cross_attention_dim
    if width != wanted:
        raise ValueError(f"net.cross_attention_dim must be text.hidden_size {width}, got {wanted}")
    p = parts.scheduler
    levels = p["num_train_timesteps"]
    process = sde.scaled_linear_table(levels, p["beta_start"], p["beta_end"])
    return Model(unet, encoder, process, levels, tokens)


def train(
    job: Job,
    model: Model,
    parts: Parts,
    first: First,
    objective: Objective,
    *,
    whole: int,
    mirror: bool,
    sheet: Sheet,
) -> None:
    """Train U-Net and text encoder together, and publish the folder.

    Args:
        objective: null_label is the number of captions.
        whole: how often the whole caption is among the wordings, see text.wordings.
        mirror: train on the latents of mirrored pictures too.
        sheet: the samples.
    """
    words = wordings(job.data.names, lambda text: model.tokens.encode(text).ids, whole)
    errors = held_out(model, first, words, job.held_out or job.data, job.run)
    draw = sampler(model, first, sheet)
    hooks = Hooks(errors, draw, publisher(job, model, parts, errors, sheet, draw))
    data = job.data if job.export else encoded(first, job.data, mirror, job.workdir)
    loss = text_loss(model.process, model.denoise, words, objective, model.levels)
    execute(job, loss, model.init(job.run.seed), data, hooks)


def encoded(first: First, data: Source, mirror: bool, workdir: Path) -> Source:
    """The scaled latents of all pictures, and of all mirrored ones; kept in a file of workdir."""
    digest = hashlib.sha256(np.ascontiguousarray(data.images).tobytes())
    for leaf in jax.tree.leaves(first.params):
        digest.update(np.asarray(leaf).tobytes())
    file = workdir / f"latents-{digest.hexdigest()[:12]}-{int(mirror)}.npy"
    if not file.exists():
        flips = [False, True] if mirror else [False]
        aside = file.with_name("latents.partial.npy")
        np.save(aside, np.concatenate([_latents(first, data, flip) for flip in flips]))
        aside.replace(file)
    found = array_file.read(file, "workdir")
    count = len(data) * (1 + mirror)
    if found.ndim != 4 or len(found) != count or found.dtype.kind != "f":
        raise ValueError(
            f"workdir: {file} holds {found.dtype} {found.shape}, not {count} latents; remove it"
        )
    print(f"latents   {len(found)} of {images.size_text(found.shape[1:])}, std {found.std():.3f}")
    return Source(found, np.concatenate([data.labels] * (1 + mirror)), data.names)


def _latents(first: First, data: Source, flip: bool, chunk: int = 512) -> np.ndarray:
    parts = []
    for start in range(0, len(data), chunk):
        pictures = batch_of(data, range(start, min(start + chunk, len(data))))[0]
        parts.append(first.latents(pictures[:, :, ::-1] if flip else pictures))
    return np.concatenate(parts)


def held_out(
    model: Model, first: First, words: Wordings, data: Source, run: Any
) -> Callable[[Any], dict[str, float]]:
    """params -> {"held_out/<level>": RMSE of the latent}, on the same pictures each time."""
    pictures, labels = batch_of(data, spaced(len(data), run.held_out))
    ids = jnp.asarray(words.ids)[words.rows[:, 0]]

    def predict(params: Any, x: Array, t: Array, cond: Array) -> Prediction:
        return Prediction(model.denoise(params, x[None], t[None], ids[cond][None])[0])

    return held_out_errors(model.process, predict, run.levels, first.latents(pictures), labels)


def drawing(model: Model, vae: Autoencoder, sheet: Sheet) -> Callable[[Any, Any, Array], Array]:
    """(params, params of the autoencoder, keys) -> pictures [texts x keys, H, W, 3]."""
    predict = CFG(DDPM(model.unet, model.process, model.levels))
    net = model.unet.config
    prior = Prior(model.process, predict, None, (net.sample_size, net.sample_size, net.in_channels))
    solver, grid = DPMpp(), Karras(sigma_end=0.03)
    run = samples(prior, rule=solver, grid=grid, steps=sheet.steps)
    ids = jnp.stack([model.tokens.encode(text).ids for text in (*sheet.texts, "")])
    encode = jax.jit(lambda params, ids: model.encoder.apply(params, ids).tokens)
    decode = jax.jit(lambda params, x0: vae.decode(params, x0 / vae.config.scaling_factor))

    def draw(params: Any, vae_params: Any, keys: Array) -> Array:
        *texts, empty = encode(params["text_encoder"], ids)
        rows, count = len(texts) * len(keys), len(keys)
        cond = jnp.repeat(jnp.stack(texts), count, axis=0)
        scale = jnp.full(rows, sheet.guidance, jnp.float32)
        conds = CFGCond(cond, jnp.broadcast_to(empty, cond.shape), scale)
        return decode(vae_params, run(params["unet"], conds, jnp.concatenate([keys] * len(texts))))

    return draw


def sampler(model: Model, first: First, sheet: Sheet) -> Callable[[Any], np.ndarray]:
    """Averaged weights -> a sheet with a row for each text, with the same keys at each call."""
    draw = drawing(model, first.vae, sheet)
    keys, n = jax.random.split(jax.random.key(1), sheet.seeds), sheet.seeds

    def drawn(params: Any) -> np.ndarray:
        pictures = [images.from_unit(p) for p in np.asarray(draw(params, first.params, keys))]
        rows = [pictures[i : i + n] for i in range(0, len(pictures), n)]
        return images.contact_sheet(rows, [repr(text) for text in sheet.texts])

    return drawn


def publisher(
    job: Job,
    model: Model,
    parts: Parts,
    errors: Callable[[Any], dict[str, float]],
    sheet: Sheet,
    draw: Callable[[Any], np.ndarray],
) -> Callable[[Any, int], None]:
    """(averaged weights, step) -> the folder; its figures are of the weights as written."""
    first, entries = report_of(parts.vae), model.tokens.bpe.get_vocab_size()

    def publish(params: Any, step: int) -> None:
        params = jax.tree.map(np.asarray, params)
        stored = rounded(params, job.dtype)
        text = so_far(job, step) | errors(stored)
        text["unet_parameters"] = size(model.unet.shapes)
        text["encoder_parameters"] = size(model.encoder.shapes)
        report = publishing.report(job, entries, first, text, sheet)
        publishing.write(job, parts, params, report, draw(stored))
        total = sum(file.stat().st_size for file in job.folder.rglob("*") if file.is_file())
        print(f"published {job.folder} at step {step}, {total / 1e6:.1f} MB")
        check_folder(job.folder, step)

    return publish
