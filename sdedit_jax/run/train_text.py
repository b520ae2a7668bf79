"""--mode=train with stage "text": latents and captions in, a Stable Diffusion folder out."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from sdedit_jax import build, images, sde
from sdedit_jax import prior as priors
from sdedit_jax.data import Source, batch_of
from sdedit_jax.edits.sdedit import Request, edit
from sdedit_jax.guidance import Guided, cfg
from sdedit_jax.guide import Guide
from sdedit_jax.nets.clip_text import ClipText, ClipTextConfig
from sdedit_jax.nets.functional import Functional, functional
from sdedit_jax.nets.sd_unet import SDUNet, SDUNetConfig
from sdedit_jax.prior import Prior
from sdedit_jax.rules import Prediction
from sdedit_jax.run import publish_text, train_vae
from sdedit_jax.run.session import plain, use_cache
from sdedit_jax.run.train import publish_folder, read
from sdedit_jax.run.train_vae import Autoencoder, count
from sdedit_jax.text import tokenizer, vocabulary
from sdedit_jax.text.tokenizer import Tokenizer
from sdedit_jax.train import loop
from sdedit_jax.train.loss import Objective, denoising_error
from sdedit_jax.train.step import Optimizer
from sdedit_jax.train.text import Wordings, text_loss, wordings
from sdedit_jax.weights import store


class Model(NamedTuple):
    """The two networks that are trained together, and what stands around them."""

    unet: Functional
    encoder: Functional
    process: sde.SDE
    levels: int
    tokens: Tokenizer

    def denoise(self, params: Any, x: Array, t: Array, ids: Array) -> Array:
        """eps [B, h, w, c] of x at t [B] with texts of ids [B, N]."""
        text = self.encoder.apply(params["text_encoder"], ids).tokens
        label = jnp.clip(jnp.round(self.levels * t - 1), 0, self.levels - 1)
        return self.unet.apply(params["unet"], x, label, y=text)


def train_text(config: ConfigDict, workdir: Path) -> int:
    """Train from the newest checkpoint in workdir, or from the start, and publish the folder.

    With config.export the newest checkpoint is published as it stands and nothing is trained.
    """
    use_cache(config.cache)
    if not config.vae:
        raise ValueError("vae: give the folder vae/ that the first stage has published")
    publish_text.first_stage(config.vae)  # read again when published; no surprise then
    vae, vae_params = train_vae.load(config.vae, config.compute)
    side = config.net.sample_size * vae.config.factor
    data = read(config, config.data.split, side)
    if not data.names:
        raise ValueError("data.labels: the text stage wants captions, got no labels")
    model = model_of(config, data.names, workdir / "tokenizer")
    print(f"data      {len(data)} pictures, {len(data.names)} captions, {config.data.source}")
    params = init(model, config.run.seed)
    run, optimizer = loop.Run(**plain(config.run)), Optimizer(**plain(config.optimizer))
    words = wordings(data.names, lambda text: model.tokens.encode(text).ids, config.whole)
    held_out = data
    if config.data.held_out:
        held_out = read(config, config.data.held_out, side)
    errors = held_out_errors(model, vae, vae_params, words, held_out, run)
    sheet = sampler(model, vae, vae_params, config, data.names)
    publish = publisher(config, workdir, model, data, errors, sheet)
    if config.export:
        state = loop.newest(workdir, params, optimizer, run)
        publish(state.ema, int(state.step))
        return 0
    objective = Objective(**plain(config.objective), null_label=len(data.names))
    latents = encoded(vae, vae_params, data, config.mirror, workdir)
    print(f"latents   {len(latents)} of {latents.images.shape[1:]}, std {latents.images.std():.3f}")
    loop.fit(
        workdir,
        text_loss(model.process, model.denoise, words, objective, model.levels),
        params,
        latents,
        run=run,
        optimizer=optimizer,
        errors=errors,
        sample=sheet,
        publish=publish,
    )
    return 0


def model_of(config: ConfigDict, captions: tuple[str, ...], folder: Path) -> Model:
    """The networks, and the tokenizer in `folder`, learnt from the captions if it is not there."""
    if not (folder / "vocab.json").exists():
        length, aside = config.text.max_position_embeddings, store.beside(folder, "partial")
        vocabulary.write(aside, captions, length, config.vocabulary)
        store.replace(aside, folder)
    tokens = tokenizer.read(folder)
    unet = SDUNetConfig.from_mapping({**publish_text.UNET, **plain(config.net)})
    text = ClipTextConfig.from_mapping(text_values(config, tokens))
    if text.hidden_size != unet.cross_attention_dim:
        raise ValueError(
            f"net.cross_attention_dim must be text.hidden_size {text.hidden_size},"
            f" got {unet.cross_attention_dim}"
        )
    p = config.process
    levels = p.num_train_timesteps
    process = sde.scaled_linear_table(levels, p.beta_start, p.beta_end)
    nets = (
        functional(lambda rngs: SDUNet(unet, rngs=rngs), config.compute),
        functional(lambda rngs: ClipText(text, rngs=rngs), config.compute),
    )
    return Model(*nets, process, levels, tokens)


def text_values(config: ConfigDict, tokens: Tokenizer) -> dict[str, Any]:
    """The text encoder's fields of config.json."""
    size = tokens.bpe.get_vocab_size()
    return {**plain(config.text), "vocab_size": size, "eos_token_id": tokens.end}


def init(model: Model, seed: int) -> dict[str, Any]:
    """Fresh parameters of both networks."""
    k_unet, k_text = jax.random.split(jax.random.key(seed))
    params = {"unet": model.unet.init(k_unet), "text_encoder": model.encoder.init(k_text)}
    for part, tree in params.items():
        print(f"network   {part}, {count(tree) / 1e6:.2f} million parameters")
    return params


def encoded(vae: Autoencoder, params: Any, data: Source, mirror: bool, workdir: Path) -> Source:
    """The scaled latents of all pictures, and of all mirrored ones; kept in a file of workdir."""
    seen = hashlib.sha256(np.ascontiguousarray(data.images).tobytes())
    for leaf in jax.tree.leaves(params):
        seen.update(np.asarray(leaf).tobytes())
    file = workdir / f"latents-{seen.hexdigest()[:12]}-{int(mirror)}.npy"
    labels = np.concatenate([data.labels] * (1 + mirror))
    if file.exists():
        return Source(np.load(file), labels, data.names)
    ways = [False, True] if mirror else [False]
    parts = [_latents(vae, params, data, flip) for flip in ways]
    found = np.concatenate(parts)
    aside = file.with_name("latents.partial.npy")
    np.save(aside, found)
    aside.replace(file)
    return Source(found, labels, data.names)


def _latents(
    vae: Autoencoder, params: Any, data: Source, flip: bool, chunk: int = 512
) -> np.ndarray:
    parts = []
    for start in range(0, len(data), chunk):
        pictures = batch_of(data, range(start, min(start + chunk, len(data))))[0]
        pictures = pictures[:, :, ::-1] if flip else pictures
        parts.append(train_vae.latents(vae, params, pictures))
    return np.concatenate(parts) * np.float32(vae.config.scaling_factor)


def held_out_errors(
    model: Model, vae: Autoencoder, vae_params: Any, words: Wordings, data: Source, run: loop.Run
) -> Callable[[Any], dict[str, float]]:
    """params -> {"held_out/<level>": RMSE of the latent}, on the same pictures each time."""
    rows = np.unique(np.linspace(0, len(data) - 1, run.held_out).astype(int))
    pictures, labels = batch_of(data, rows)
    x0 = train_vae.latents(vae, vae_params, pictures) * np.float32(vae.config.scaling_factor)
    ids = jnp.asarray(words.ids)[words.rows[:, 0]]

    def predict(params: Any, x: Array, t: Array, cond: Array) -> Prediction:
        return Prediction(model.denoise(params, x[None], t[None], ids[cond][None])[0])

    error = denoising_error(model.process, predict, run.levels)

    def errors(params: Any) -> dict[str, float]:
        found = np.asarray(error(params, x0, labels, jax.random.key(0)))
        return {f"held_out/{at:g}": float(e) for at, e in zip(run.levels, found, strict=True)}

    return errors


def sampler(
    model: Model, vae: Autoencoder, vae_params: Any, config: ConfigDict, captions: tuple[str, ...]
) -> Callable[[Any], np.ndarray]:
    """Averaged weights -> a sheet with a row of samples for each text, always of the same keys."""
    s = config.sheet
    texts = tuple(s.texts) or captions
    predict = cfg(priors.ddpm(model.unet.apply, model.process, model.levels))
    side, channels = config.net.sample_size, config.net.in_channels
    prior = Prior(model.process, predict, None, (side, side, channels))
    sampling = build.Sampling(steps=s.steps, clip_x0=False, sigma_end=0.03)
    run = edit(build.plan(prior, sampling))
    guide = Guide(jnp.zeros(prior.shape), jnp.ones((side, side, 1)))
    ids = jnp.stack([model.tokens.encode(text).ids for text in (*texts, "")])

    @jax.jit
    def draw(params: Any, keys: Array) -> Array:
        told = model.encoder.apply(params["text_encoder"], ids).tokens

        def one(text: Array, key: Array) -> Array:
            request = Request(jnp.float32(1.0), guide, Guided(text, told[-1], s.guidance))
            return run(params["unet"], request, key).image

        x0 = jax.vmap(lambda text: jax.vmap(lambda key: one(text, key))(keys))(told[:-1])
        return vae.decode(vae_params, x0.reshape(-1, *prior.shape) / vae.config.scaling_factor)

    def sheet(params: Any) -> np.ndarray:
        pictures = np.asarray(draw(params, jax.random.split(jax.random.key(1), s.seeds)))
        rows = [images.from_unit(p) for p in pictures]
        rows = [rows[i : i + s.seeds] for i in range(0, len(rows), s.seeds)]
        return images.contact_sheet(rows, [repr(text) for text in texts])

    return sheet


def publisher(
    config: ConfigDict,
    workdir: Path,
    model: Model,
    data: Source,
    errors: Callable[[Any], dict[str, float]],
    sheet: Callable[[Any], np.ndarray],
) -> Callable[[Any, int], None]:
    """(averaged weights, step) -> the folder; its figures are of the weights as written."""
    folder = publish_folder(config, workdir, "prior", "model_index.json")
    tokens = model.tokens
    parts = publish_text.Parts(
        plain(config.net),
        text_values(config, tokens),
        plain(config.process),
        Path(config.vae),
        workdir / "tokenizer",
        (tokens.start, tokens.end, tokens.pad),
    )

    def publish(params: Any, step: int) -> None:
        params = jax.tree.map(np.asarray, params)
        rounded = jax.tree.map(lambda a: a.astype(config.dtype).astype(np.float32), params)
        text = train_vae.facts(config, workdir, step) | errors(rounded)
        text["unet_parameters"] = count(model.unet.shapes)
        text["encoder_parameters"] = count(model.encoder.shapes)
        report = publish_text.report(config, data, tokens.bpe.get_vocab_size(), text)
        publish_text.write(folder, parts, params, config.dtype, report, sheet(rounded))
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        print(f"published {folder} at step {step}, {size / 1e6:.1f} MB")

    return publish
