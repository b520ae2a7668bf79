"""What the editing modes share: the prior and its sampler, the inputs, the names of files."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from sdedit_jax import build, editor, images, load, parallel, strength
from sdedit_jax.build import Sampling
from sdedit_jax.edits.sdedit import SDEdit
from sdedit_jax.guidance import Guided
from sdedit_jax.prior import Prior
from sdedit_jax.run.texts import Texts, check_inputs, texts_of
from sdedit_jax.sde import SDE
from sdedit_jax.strength import Strength
from sdedit_jax.tasks import TaskInput

OUTPUTS = ("prior", "original")
UNITS = ("sigma", "snr_db", "step")
"""In which a config may say the strength instead of t0."""


class Session(NamedTuple):
    """A prior ready to edit.

    Attributes:
        prior: as loaded; params: of all devices. t0: strength of the edits.
        cond: class label of all edits; texts: what each shall show, of a prior that reads texts.
    """

    config: ConfigDict
    prior: Prior
    params: Any
    plan: SDEdit
    sampling: Sampling
    t0: float
    cond: Any = None
    texts: Texts | None = None

    @property
    def guided(self) -> bool:
        """Whether the predictor is guided."""
        return isinstance(self.cond, Guided) or bool(self.texts and self.texts.guided)

    @property
    def evaluations(self) -> int:
        """Evaluations of the network in one edit; guidance takes two for each prediction."""
        return self.plan.nfe * (2 if self.guided else 1)

    def cond_of(self, id: str) -> Any:
        """What the predictor gets for an input."""
        return self.texts.cond(id) if self.texts else self.cond

    @property
    def size(self) -> int:
        return self.prior.shape[0]


def open_session(config: ConfigDict, guided: bool = False, times: Sequence[float] = ()) -> Session:
    """Load the prior, settle strength and sampler, and print what will run.

    Args:
        guided: see texts_of.
        times: the strengths of a sweep, each t0; without, the config's own is run.
    """
    check(config)
    use_cache(config.cache)
    devices = parallel.count(config.devices)
    prior = load.load_prior(config.prior, config.compute)
    guide, texts = config.guidance, texts_of(config, prior, guided)
    cond = None if texts else build.condition(prior, config.cond, guide.against, guide.scale)
    prior = build.preset_process(prior, config.preset)
    t0 = strength_of(config, prior)
    asked = build.sampling(config.sampler.to_dict(), config.preset, t0, config.strength)
    sampling = build.settled(prior, asked)
    t0 = build.beginning(prior, sampling, t0)
    pair = isinstance(cond, Guided) or bool(texts and texts.guided)
    asked = build.guided(prior, guide.name) if pair else prior
    plan = build.plan(asked._replace(params=None), sampling)
    params = parallel.replicate(prior.params, devices)
    session = Session(config, prior, params, plan, sampling, t0, cond, texts)
    introduce(session, devices, times or (t0,))
    return session


def check(config: ConfigDict) -> None:
    """See that the fields that are used last are fit for use, before any work.

    Raises:
        ValueError: a field out of its range.
    """
    build.pick(dict.fromkeys(OUTPUTS), config.output, "output")
    build.pick(dict.fromkeys(images.FITS), config.fit, "fit")
    build.pick(build.GUIDANCE, config.guidance.name, "guidance.name")
    least = {"samples": 1, "batch": 1, "feather": 0, "scale": 0}
    for name, bound in least.items():
        if config[name] < bound:
            raise ValueError(f"{name} must be at least {bound}, got {config[name]}")
    for seed in (config.seed, *config.sweep.seeds):
        editor.image_key(seed, "")


def strength_of(config: ConfigDict, prior: Prior) -> float:
    """t0 of the config: of sigma, snr_db or step where one is given, else t0 itself."""
    given = {unit: config[unit] for unit in UNITS if config[unit] is not None}
    if given and build.takes_share(config.preset):
        raise ValueError(f'{next(iter(given))}: preset "{config.preset}" takes strength instead')
    return strength.to_t0(prior.process, **(given or {"t0": config.t0}))


@functools.lru_cache(maxsize=256)
def described(process: SDE, t0: float) -> Strength:
    """`strength.describe`, computed once for all pictures of one strength."""
    return strength.describe(process, t0)


def introduce(session: Session, devices: int, times: Sequence[float]) -> None:
    """Print device, prior, strengths, rule and evaluations."""
    prior, s = session.prior, session.sampling
    device = jax.local_devices()[0]
    print(
        f"device    {devices} x {device.device_kind} ({device.platform}), {session.config.compute}"
    )
    print(f"prior     {session.config.prior}, sha256 {prior.card.get('sha256', '')[:16]}")
    print(f"process   {process_name(prior)}")
    corrected = f" + {s.corrector_steps} {s.corrector}" if session.plan.refine.nfe else ""
    told = [f"{described(prior.process, t0)}" for t0 in times]
    print("strength  " + "\n          ".join(told))
    print(
        f"sampler   {s.rule}{corrected}, {s.grid} grid, {s.run} steps x {s.repeats} repeat(s)"
        f" = {session.evaluations} evaluations, hold {s.hold}"
    )
    if session.cond is not None:
        told = ", ".join(f"{name} {value:g}" for name, value in labels(session.cond).items())
        print(f"class     {told}")
    if session.texts is not None:
        print(f"text      {said(session.texts)}")
    if session.config.preset == "official":
        print("          the official preset runs 1000 t0 steps and compiles anew for each t0")


def said(texts: Texts) -> str:
    """The words of a run in one line."""
    prompt, negative, scale = texts.default
    line = f"{prompt!r}" + (f" against {negative!r}, scale {scale:g}" if texts.guided else "")
    return line + (f"; {len(texts.own)} inputs have words of their own" if texts.own else "")


def labels(cond: Any) -> dict[str, float] | None:
    """What a record says of the class labels."""
    if not isinstance(cond, Guided):
        return None if cond is None else {"label": int(cond)}
    both = {"label": int(cond.label), "against": int(cond.against)}
    return {**both, "scale": float(cond.scale)}


def process_name(prior: Prior) -> str:
    """The process in a few characters; tables by their length."""
    levels = getattr(prior.process, "log_snrs", None)
    return f"table of {len(levels)} levels" if levels else repr(prior.process)


def use_cache(where: str) -> None:
    """Keep compiled programs in a folder between runs; "auto" is the user's cache folder."""
    if not where:
        return
    folder = load.cache_folder() / "xla" if where == "auto" else Path(where)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def prior_of(config: ConfigDict, recipe: Mapping[str, Any], path: Path) -> str:
    """The folder with the prior of a recipe: the recipe's own, or that of the present config.

    Args:
        path: the picture that carries the recipe.

    Raises:
        ValueError: neither holds weights of the recipe's sha256.
    """
    wanted, told = recipe["prior"]["sha256"], []
    for folder in dict.fromkeys((recipe["config"]["prior"], config.prior)):
        try:
            found = load.sha256_of(folder)
        except (ValueError, OSError) as error:
            told.append(str(error).removeprefix("prior: "))
            continue
        if found == wanted:
            return folder
        told.append(f"{folder} has sha256 {found[:16]}")
    raise ValueError(
        f"prior: the recipe of {path.name} wants weights of sha256 {wanted[:16]};"
        f" {'; '.join(told)}; name their folder by --config.prior"
    )


def read_inputs(session: Session) -> tuple[list[tuple[TaskInput, str]], list[str]]:
    """The inputs with their output names, and one line for each that could not be read.

    Raises:
        ValueError: there is no input, or none can be read and the reason is the same for all.
    """
    config = session.config
    make = build.task(config.task)
    paths = images.find_inputs(config.input)
    check_inputs(session.texts, [path.stem for path in paths], config.prompts)
    items, bad, reasons = [], [], set()
    for path, name in zip(paths, images.output_names(paths), strict=True):
        try:
            options = config.options.to_dict()
            items.append((make(str(path), options, session.size, config.fit), name))
        except (ValueError, OSError) as error:
            bad.append(f"{path}: {error}")
            reasons.add(str(error))
    if not items and len(reasons) == 1:
        raise ValueError(reasons.pop())
    return items, bad


def refuse_own_folder(config: ConfigDict, workdir: Path) -> None:
    """Stop before results are put among the inputs, where the next run would take them up.

    Raises:
        ValueError: the input is a folder and the workdir is the same.
    """
    folder = Path(config.input)
    if folder.is_dir() and folder.resolve() == workdir.resolve():
        raise ValueError(f"workdir: {workdir} is the folder of the inputs; give another --workdir")


def plain(config: ConfigDict) -> dict[str, Any]:
    """The config as plain JSON values."""
    return {
        name: plain(value) if isinstance(value, ConfigDict) else value
        for name, value in config.items()
    }


def refuse_existing(files: Sequence[Path], overwrite: bool, needed: Sequence[Path] = ()) -> None:
    """Stop before any work when a result would replace a file.

    Raises:
        ValueError: a file exists and overwrite is off, or it is one of those `needed`.
    """
    there = [file for file in files if file.exists()]
    own = {path.resolve() for path in needed}
    for file in there:
        if file.resolve() in own:
            raise ValueError(
                f"workdir: the result {file} would replace an input; give another --workdir"
            )
    if there and not overwrite:
        raise ValueError(
            f"workdir: {there[0]} exists"
            + (f", and {len(there) - 1} more" if len(there) > 1 else "")
            + "; give another --workdir, or --overwrite"
        )


def needs(config: ConfigDict) -> list[Path]:
    """The files that a config edits, and those that it names beside them."""
    options = config.get("options") or {}
    named = [*options.values(), config.get("prompts"), *str(config.get("masks", "")).split(",")]
    files = [Path(name.split("#")[0]) for name in named if name and isinstance(name, str)]
    return [*images.find_inputs(config.input), *files]


def free_name(file: Path, overwrite: bool) -> Path:
    """The file itself, or with a number where it exists: record.json, record-2.json, .."""
    if overwrite or not file.exists():
        return file
    numbered = (file.with_name(f"{file.stem}-{i}{file.suffix}") for i in range(2, 100_000))
    return next(name for name in numbered if not name.exists())


def sheet_scale(config: ConfigDict, rows: Sequence[Sequence[Any]]) -> int:
    """Pixels per pixel in a sheet of these rows of pictures, or None where there is none."""
    longest = max(max(cell.shape[:2]) for row in rows for cell in row if cell is not None)
    return config.scale or max(1, 128 // longest)
