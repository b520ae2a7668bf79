"""The fields of every config with their allowed values, by dotted name."""

from collections.abc import Mapping

from sdedit_jax.files.schema import PLAIN, Either, Many, Plain
from sdedit_jax.files.values import UTF8, WEIGHT, Kind, Maybe, Real, Text, Whole

Fields = Mapping[str, Kind]

NUMBER, FLAG, TEXT = PLAIN[float], PLAIN[bool], PLAIN[str]
AMOUNT = Real(0, 1e9)
POSITIVE, POSITIVE_SHARE = Real(0, 1e9, above=True), Real(0, 1, above=True)
FREE = Plain(256, 1, NUMBER)
"""A field of an open part."""
PROMPT, WORD = Text(100_000, True, UTF8, "a text in UTF-8"), Text(64, lines=True)
TEXTS = Either(((str, TEXT), (object, Many(TEXT, 256))))
SHARE = Real(0, 1)
SEED = Whole(-1, 2**64 - 1, "a whole number in [0, 2**64 - 1], or -1 to draw one")
SIDE, PIXELS = Whole(0, 4096), Real(0, 4096)
ATTENTION, SAMPLES, DEVICES = Whole(1, 4096), Whole(1, 100_000), Whole(0, 65_536)
STEPS, BATCH = Whole(1, 100_000), Whole(1, 65_536)


def part(name: str, /, **fields: Kind) -> dict[str, Kind]:
    """Fields of a part of a config."""
    return {f"{name}.{field}": kind for field, kind in fields.items()}


def options(**fields: Kind) -> dict[str, Kind]:
    """Options of a task."""
    return part("options", **fields)


def texts(*names: str) -> dict[str, Kind]:
    """Fields that hold a path, a name or a word."""
    return dict.fromkeys(names, TEXT)


MACHINE: Fields = {"compute": TEXT, "batch": BATCH, "cache": TEXT}

EDIT: Fields = {
    **MACHINE,
    **texts("prior", "input", "size", "fit", "output", "preset", "prompts"),
    **dict.fromkeys(("only", "prompt", "negative_prompt"), PROMPT),
    **options(background=TEXT, opaque=FLAG, detail=FLAG, mask_suffix=WORD),
    "feather": SIDE,
    "clip_skip": Whole(0, 1000),
    "seed": SEED,
    "samples": SAMPLES,
    "uncertainty": FLAG,
    "report": FLAG,
    "trust": FLAG,
    "sweep.seeds": Many(SEED, 10_000),
    "devices": DEVICES,
    "sheet_scale": Whole(0, 64),
}
"""Of all configs that edit pictures."""

SDEDIT: Fields = {
    **EDIT,
    **texts("task", "auto_t0", "process", "cond"),
    "options.strength_map": TEXT,
    "t0": SHARE,
    "sigma": Maybe(AMOUNT),
    "snr_db": Maybe(Real(-1000, 1000)),
    "step": Maybe(Real(-1, 1e6)),
    "target_l2": Maybe(Real(0, 1, above=True, below=True)),
    "target_lpips": Maybe(Real(0, 1e6, above=True)),
    "strength": Maybe(SHARE),
    **part("features", lpips_vgg=TEXT, lpips_alex=TEXT, lpips_heads=TEXT),
    **part("guidance", name=TEXT, against=TEXT, scale=WEIGHT),
    **part("sampler", rule=TEXT, steps=Maybe(STEPS), grid=TEXT, corrector=TEXT, hold=TEXT),
    **part("sampler", repeats=STEPS, final=TEXT, noise_by=TEXT),
    "sweep.t0": Many(SHARE, 10_000),
    "budget": POSITIVE,
    **part("autotune", rules=TEXTS, grids=TEXTS, steps=Many(STEPS, 64), reference=STEPS),
    **part("web", host=TEXT, port=Whole(0, 65_535), password=TEXT),
}

MASK = {"mask": TEXT, "invert": FLAG, "mask_channel": TEXT}
LEVELS = Whole(0, 255)

OPTIONS: Mapping[str, Fields] = {
    "strokes": {},
    "photo": options(**MASK),
    "inpaint": options(**MASK, fill=TEXT),
    "outpaint": options(
        **dict.fromkeys(("left", "right", "top", "bottom"), Whole(0, 100_000)), fill=TEXT,
        overlap=SIDE,
    ),
    "recolor": options(**MASK, palette=TEXTS, reference=TEXT, transfer=TEXT, threshold=LEVELS),
    "scribble": options(**MASK, strokes=TEXT, painted=TEXT, threshold=LEVELS, grow=PIXELS),
    "sketch": options(lines=TEXT, threshold=LEVELS, grow=PIXELS, colors=TEXTS, hints=TEXT),
    "simulate": options(colors=Whole(3, 50), median=Whole(0, 255)),
    "composite": options(
        patch=TEXT, x=WEIGHT, y=Maybe(WEIGHT), units=TEXT, scale=Real(0, 1000, above=True),
        seam=PIXELS,
    ),
}  # fmt: skip
"""Options of each task, beside those of every task."""

LEDITS: Fields = {
    **EDIT,
    **texts("method", "maps"),
    **dict.fromkeys(("source_prompt", "concepts", "masks"), PROMPT),
    "steps": Maybe(STEPS),
    "t0": Maybe(SHARE),
    "skip": Maybe(Real(0, 1e6)),
    **dict.fromkeys(("source_scale", "target_scale", "scale"), Maybe(WEIGHT)),
    **dict.fromkeys(("weight", "momentum", "beta"), Maybe(WEIGHT)),
    **dict.fromkeys(("warmup", "cooldown"), Maybe(Real(0, 1e6))),
    **dict.fromkeys(("threshold", "intersect_to"), Maybe(SHARE)),
    "attention": Maybe(ATTENTION),
    "sweep.scale": Many(WEIGHT, 10_000),
}

FEATURES: Fields = part(
    "features", hand=FLAG, prior=TEXT, inception=TEXT, clip=TEXT, resize=TEXT, lpips_vgg=TEXT,
    lpips_alex=TEXT, lpips_heads=TEXT,
)  # fmt: skip
SUBSETS: Fields = part("measures", subsets=Whole(1, 100_000), subset_size=Whole(2, 100_000))

EVALUATION: Fields = {
    **part("data", layout=TEXT, split=TEXT, labels=TEXT, patches=FLAG, seed=SEED),
    **texts("reference", "reference_split", "shard", "unpack"),
    **dict.fromkeys(("merge", "retry"), FLAG),
    "limit": Whole(),
    "shard_size": Whole(0, 10**6),
    "report_rows": Whole(0, 10**6),
    **part("cluster", use=TEXT, coordinator=TEXT, processes=Whole(0, 100_000), survive=FLAG),
    **part("cluster", process=Whole(-1, 100_000), timeout=Real(0, 1e6, above=True)),
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

PERIOD, DECAY = Whole(), Real(0, 1, below=True)
SIZES = Many(Whole(1, 4096), 32)

RUN: Fields = {
    **texts("name", "compute", "cache", "publish", "dtype"),
    **part("data", source=TEXT, split=TEXT, held_out=TEXT, labels=TEXT, credit=PROMPT),
    **part("data", credits=TEXT, size=SIDE, views=SIDE, skip_broken=FLAG),
    **part("optimizer", rate=Real(0, 1e3, above=True), warmup=PERIOD, schedule=TEXT, hold=Whole(1)),
    **part("optimizer", clip=AMOUNT, beta1=DECAY, beta2=DECAY, ema=DECAY, method=TEXT),
    **part("optimizer", longer=Many(DECAY, 16)),
    **part("run", steps=Whole(1), batch=BATCH, seed=SEED, log_every=Whole(1), save_every=PERIOD),
    **part("run", save_seconds=AMOUNT, keep=Whole(1, 10_000), sample_every=PERIOD),
    **part("run", publish_every=PERIOD, held_out_every=PERIOD, held_out=Whole(1, 65_536)),
    **part("run", levels=Many(POSITIVE, 64), threads=Whole(0, 256), workers=Whole(0, 256)),
    "export": FLAG,
    "average": DECAY,
}
"""Of a training of any stage."""

AUGMENT: Fields = {
    **part(
        "augment", flip=FLAG, shift=SIDE, scale=Many(Real(0, 100, above=True), 2, 2), often=SHARE
    ),
    **part("augment", fill=TEXT, turn=Real(0, 360), turn_often=SHARE, brightness=Real(0, 10)),
    **part("augment", hue=Real(0, 360)),
}
NOISE: Fields = part("objective", weight=TEXT, times=TEXT, stratified=FLAG, drop_label=SHARE)

NCSNPP: Fields = {
    **part("net", image_size=Whole(1, 4096), num_channels=Whole(1, 64), nf=Whole(1, 16_384)),
    **part("net", ch_mult=Many(Whole(1, 1024), 16), num_res_blocks=Whole(1, 64)),
    **part("net", attn_resolutions=SIZES, fir_kernel=Many(WEIGHT, 16), dropout=DECAY),
    **part("net", fourier_scale=Real(0, 1e6), init_scale=Real(0, 1e6), patch=Whole(1, 64)),
    **part("net", sigma_min=POSITIVE, sigma_max=POSITIVE, num_classes=Maybe(Whole(1, 10**6))),
    **part("net", **dict.fromkeys(("centered", "resamp_with_conv", "conditional", "fir"), FLAG)),
    **part("net", skip_rescale=FLAG, scale_by_sigma=FLAG, resblock_type=TEXT, nonlinearity=TEXT),
    **part("net", progressive=TEXT, progressive_input=TEXT, progressive_combine=TEXT),
    **part("net", embedding_type=TEXT),
}
FOREIGN: Fields = {
    **part("net", sample_size=Whole(1, 4096), in_channels=Whole(1, 1024)),
    **part("net", out_channels=Whole(1, 1024), down_block_types=TEXTS, up_block_types=TEXTS),
    **part("net", block_out_channels=Many(Whole(1, 65_536), 16), layers_per_block=Whole(1, 64)),
    **part("net", norm_num_groups=Whole(1, 4096), latent_channels=Whole(1, 1024)),
    **part("net", attention_head_dim=SIZES, cross_attention_dim=Whole(1, 65_536)),
    **part("net", scaling_factor=Real(0, 1e6, above=True)),
}
"""Fields of the config.json of diffusers."""

TRAIN: Fields = {
    **RUN,
    **AUGMENT,
    **NOISE,
    **NCSNPP,
    **part("objective", t_min=Real(0, 1, above=True, below=True), mean=Real(-100, 100)),
    **part("objective", std=Real(0, 100, above=True), sigma_data=Real(0, 1e6, above=True)),
    **part("process", name=TEXT, sigma_min=POSITIVE, sigma_max=POSITIVE),
    **part("prediction", name=TEXT, sigma_data=Real(0, 1e6, above=True), label=TEXT),
    "init": TEXT,
    "first_step": PERIOD,
    "network": TEXT,
}

TRAIN_VAE: Fields = {
    **RUN,
    **AUGMENT,
    **FOREIGN,
    **part("objective", square=AMOUNT, edges=AMOUNT, kl=AMOUNT),
    "stage": TEXT,
    "statistics": Whole(1, 10**6),
}

TRAIN_TEXT: Fields = {
    **RUN,
    **NOISE,
    **FOREIGN,
    **texts("stage", "vae"),
    **part("text", hidden_size=Whole(1, 65_536), intermediate_size=Whole(1, 262_144)),
    **part("text", num_hidden_layers=Whole(1, 256), num_attention_heads=Whole(1, 1024)),
    **part("text", max_position_embeddings=Whole(2, 4096), hidden_act=TEXT),
    **part("process", num_train_timesteps=Whole(1, 100_000)),
    **part("process", beta_start=POSITIVE_SHARE, beta_end=POSITIVE_SHARE),
    **part("sheet", texts=Many(PROMPT, 1000), seeds=Whole(1, 1000), steps=STEPS, guidance=WEIGHT),
    "vocabulary": Whole(1, 10**6),
    "whole": Whole(1, 10_000),
    "mirror": FLAG,
}

OPEN_IN_EDITS = ("example",)
OPEN_IN_RUNS = ("net", "process", "prediction", "text", "ledits")
"""Parts with further fields: those of a task, a network or a process, which checks them."""
