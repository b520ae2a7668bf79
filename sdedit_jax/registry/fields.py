"""The fields of every config with their allowed values, by dotted name."""

from collections.abc import Mapping

from sdedit_jax.registry.values import (
    FLAG,
    PROMPT,
    SEED,
    SHARE,
    TEXT,
    TEXTS,
    Bound,
    count,
    over,
    real,
    under,
)

Fields = Mapping[str, Bound]

SIDE, PIXELS = count(0, 4096), real(0, 4096)
WORD = TEXT._replace(high=64)
STEPS, BATCH, WEIGHT = count(1, 100_000), count(1, 65_536), real(-1e6, 1e6)


def part(name: str, /, **fields: Bound) -> dict[str, Bound]:
    """Fields of a part of a config."""
    return {f"{name}.{field}": bound for field, bound in fields.items()}


def options(**fields: Bound) -> dict[str, Bound]:
    """Options of a task."""
    return part("options", **fields)


def texts(*names: str) -> dict[str, Bound]:
    """Fields that hold a path, a name or a word."""
    return dict.fromkeys(names, TEXT)


MACHINE: Fields = {"compute": TEXT, "batch": BATCH, "cache": TEXT}

EDIT: Fields = {
    **MACHINE,
    **texts("prior", "input", "size", "fit", "output", "preset", "prompts"),
    **dict.fromkeys(("only", "prompt", "negative_prompt"), PROMPT),
    **options(background=TEXT, opaque=FLAG, detail=FLAG, mask_suffix=WORD),
    "feather": SIDE,
    "clip_skip": count(0, 1000),
    "seed": SEED,
    "samples": count(1, 100_000),
    "uncertainty": FLAG,
    "report": FLAG,
    "trust": FLAG,
    "sweep.seeds": SEED.many(10_000),
    "devices": count(0, 65_536),
    "sheet_scale": count(0, 64),
}
"""Of all configs that edit pictures."""

SDEDIT: Fields = {
    **EDIT,
    **texts("task", "auto_t0", "process", "cond"),
    "options.strength_map": TEXT,
    "t0": SHARE,
    "sigma": real(0).maybe(),
    "snr_db": real(-1000, 1000).maybe(),
    "step": real(-1, 1e6).maybe(),
    "target_l2": under()._replace(above=True).maybe(),
    "target_lpips": over(0, 1e6).maybe(),
    "strength": SHARE.maybe(),
    **part("features", lpips_vgg=TEXT, lpips_alex=TEXT, lpips_heads=TEXT),
    **part("guidance", name=TEXT, against=TEXT, scale=WEIGHT),
    **part("sampler", rule=TEXT, steps=STEPS.maybe(), grid=TEXT, corrector=TEXT, hold=TEXT),
    **part("sampler", repeats=STEPS, final=TEXT, noise_by=TEXT),
    "sweep.t0": SHARE.many(10_000),
    "budget": over(0),
    **part("autotune", rules=TEXTS, grids=TEXTS, steps=STEPS.many(), reference=STEPS),
    **part("web", host=TEXT, port=count(0, 65_535), password=TEXT),
}

MASK = {"mask": TEXT, "invert": FLAG, "mask_channel": TEXT}
LEVELS = count(0, 255)

OPTIONS: Mapping[str, Fields] = {
    "strokes": {},
    "photo": options(**MASK),
    "inpaint": options(**MASK, fill=TEXT),
    "outpaint": options(
        **dict.fromkeys(("left", "right", "top", "bottom"), count(0, 100_000)), fill=TEXT,
        overlap=SIDE,
    ),
    "recolor": options(**MASK, palette=TEXTS, reference=TEXT, transfer=TEXT, threshold=LEVELS),
    "scribble": options(**MASK, strokes=TEXT, painted=TEXT, threshold=LEVELS, grow=PIXELS),
    "sketch": options(lines=TEXT, threshold=LEVELS, grow=PIXELS, colors=TEXTS, hints=TEXT),
    "simulate": options(colors=count(3, 50), median=count(0, 255)),
    "composite": options(
        patch=TEXT, x=WEIGHT, y=WEIGHT.maybe(), units=TEXT, scale=over(0, 1000), seam=PIXELS
    ),
}  # fmt: skip
"""Options of each task, beside those of every task."""

LEDITS: Fields = {
    **EDIT,
    **texts("method", "maps"),
    **dict.fromkeys(("source_prompt", "concepts", "masks"), PROMPT),
    "steps": STEPS.maybe(),
    "t0": SHARE.maybe(),
    "skip": real(0, 1e6).maybe(),
    **dict.fromkeys(("source_scale", "target_scale", "scale"), WEIGHT.maybe()),
    **dict.fromkeys(("weight", "momentum", "beta"), WEIGHT.maybe()),
    **dict.fromkeys(("warmup", "cooldown"), real(0, 1e6).maybe()),
    **dict.fromkeys(("threshold", "intersect_to"), SHARE.maybe()),
    "attention": count(1, 4096).maybe(),
    "sweep.scale": WEIGHT.many(10_000),
}

FEATURES: Fields = part(
    "features", hand=FLAG, prior=TEXT, inception=TEXT, clip=TEXT, resize=TEXT, lpips_vgg=TEXT,
    lpips_alex=TEXT, lpips_heads=TEXT,
)  # fmt: skip
SUBSETS: Fields = part("measures", subsets=count(1, 100_000), subset_size=count(2, 100_000))

EVALUATION: Fields = {
    **part("data", layout=TEXT, split=TEXT, labels=TEXT, patches=FLAG, seed=SEED),
    **texts("reference", "reference_split", "shard", "unpack"),
    **dict.fromkeys(("merge", "retry"), FLAG),
    "limit": count(),
    "shard_size": count(0, 10**6),
    "report_rows": count(0, 10**6),
    **part("cluster", use=TEXT, coordinator=TEXT, processes=count(0, 100_000), survive=FLAG),
    **part("cluster", process=count(-1, 100_000), timeout=over(0, 1e6)),
    **part("measures", guide=TEXTS, photo=TEXTS),
    **SUBSETS,
    **FEATURES,
}
"""Of an evaluation, beside those of its edits."""

MEASURE: Fields = {
    **MACHINE,
    **texts("a", "b", "masks", "resize", "fit"),
    "measures.paired": TEXTS,
    **SUBSETS,
    **FEATURES,
    "seed": SEED,
}

CONVERT: Fields = {
    **texts("source", "card", "architecture", "family", "name", "prediction", "tokenizer"),
    **texts("dtype", "cache"),
    **dict.fromkeys(("check", "strict"), FLAG),
}

PERIOD, DECAY = count(), under(0, 1)
SIZES = count(1, 4096).many(32)

RUN: Fields = {
    **texts("name", "compute", "cache", "publish", "dtype"),
    **part("data", source=TEXT, split=TEXT, held_out=TEXT, labels=TEXT, credit=PROMPT),
    **part("data", credits=TEXT, size=SIDE, views=SIDE, skip_broken=FLAG),
    **part("optimizer", rate=over(0, 1e3), warmup=PERIOD, schedule=TEXT, hold=count(1)),
    **part("optimizer", clip=real(0), beta1=DECAY, beta2=DECAY, ema=DECAY, method=TEXT),
    **part("optimizer", longer=DECAY.many(16)),
    **part("run", steps=count(1), batch=BATCH, seed=SEED, log_every=count(1), save_every=PERIOD),
    **part("run", save_seconds=real(0), keep=count(1, 10_000), sample_every=PERIOD),
    **part("run", publish_every=PERIOD, held_out_every=PERIOD, held_out=count(1, 65_536)),
    **part("run", levels=over().many(), threads=count(0, 256), workers=count(0, 256)),
    "export": FLAG,
    "average": DECAY,
}
"""Of a training of any stage."""

AUGMENT: Fields = {
    **part("augment", flip=FLAG, shift=SIDE, scale=over(0, 100).many(2, 2), often=SHARE),
    **part("augment", fill=TEXT, turn=real(0, 360), turn_often=SHARE, brightness=real(0, 10)),
    **part("augment", hue=real(0, 360)),
}
NOISE: Fields = part("objective", weight=TEXT, times=TEXT, stratified=FLAG, drop_label=SHARE)

NCSNPP: Fields = {
    **part("net", image_size=count(1, 4096), num_channels=count(1, 64), nf=count(1, 16_384)),
    **part("net", ch_mult=count(1, 1024).many(16), num_res_blocks=count(1, 64)),
    **part("net", attn_resolutions=SIZES, fir_kernel=WEIGHT.many(16), dropout=DECAY),
    **part("net", fourier_scale=real(0, 1e6), init_scale=real(0, 1e6), patch=count(1, 64)),
    **part("net", sigma_min=over(0), sigma_max=over(0), num_classes=count(1, 10**6).maybe()),
    **part("net", **dict.fromkeys(("centered", "resamp_with_conv", "conditional", "fir"), FLAG)),
    **part("net", skip_rescale=FLAG, scale_by_sigma=FLAG, resblock_type=TEXT, nonlinearity=TEXT),
    **part("net", progressive=TEXT, progressive_input=TEXT, progressive_combine=TEXT),
    **part("net", embedding_type=TEXT),
}
FOREIGN: Fields = {
    **part("net", sample_size=count(1, 4096), in_channels=count(1, 1024)),
    **part("net", out_channels=count(1, 1024), down_block_types=TEXTS, up_block_types=TEXTS),
    **part("net", block_out_channels=count(1, 65_536).many(16), layers_per_block=count(1, 64)),
    **part("net", norm_num_groups=count(1, 4096), latent_channels=count(1, 1024)),
    **part("net", attention_head_dim=SIZES, cross_attention_dim=count(1, 65_536)),
    **part("net", scaling_factor=over(0, 1e6)),
}
"""Fields of the config.json of diffusers."""

TRAIN: Fields = {
    **RUN,
    **AUGMENT,
    **NOISE,
    **NCSNPP,
    **part("objective", t_min=over(0, 1)._replace(below=True), mean=real(-100, 100)),
    **part("objective", std=over(0, 100), sigma_data=over(0, 1e6)),
    **part("process", name=TEXT, sigma_min=over(0), sigma_max=over(0)),
    **part("prediction", name=TEXT, sigma_data=over(0, 1e6), label=TEXT),
    "init": TEXT,
    "first_step": PERIOD,
    "network": TEXT,
}

TRAIN_VAE: Fields = {
    **RUN,
    **AUGMENT,
    **FOREIGN,
    **part("objective", square=real(0), edges=real(0), kl=real(0)),
    "stage": TEXT,
    "statistics": count(1, 10**6),
}

TRAIN_TEXT: Fields = {
    **RUN,
    **NOISE,
    **FOREIGN,
    **texts("stage", "vae"),
    **part("text", hidden_size=count(1, 65_536), intermediate_size=count(1, 262_144)),
    **part("text", num_hidden_layers=count(1, 256), num_attention_heads=count(1, 1024)),
    **part("text", max_position_embeddings=count(2, 4096), hidden_act=TEXT),
    **part("process", num_train_timesteps=count(1, 100_000)),
    **part("process", beta_start=over(0, 1), beta_end=over(0, 1)),
    **part("sheet", texts=PROMPT.many(1000), seeds=count(1, 1000), steps=STEPS, guidance=WEIGHT),
    "vocabulary": count(1, 10**6),
    "whole": count(1, 10_000),
    "mirror": FLAG,
}

OPEN_IN_EDITS = ("example",)
OPEN_IN_RUNS = ("net", "process", "prediction", "text", "ledits")
"""Parts with further fields: those of a task, a network or a process, which checks them."""
