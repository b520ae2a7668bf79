"""The configs of a training run: what a run that continues may change, and since which step.

run.json in the workdir holds one entry {"step", "config"} for each config, in their order. A config
holds from its step on.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdedit_jax import provenance
from sdedit_jax.files import json_file
from sdedit_jax.files.schema import Fields, Many, Named, Plain
from sdedit_jax.files.values import Whole
from sdedit_jax.images import write_bytes

FILE = "run.json"
FIXED = (
    *("stage", "network", "net", "process", "prediction", "text", "vocabulary"),
    *("labels", "data.labels", "optimizer.method", "optimizer.longer"),
)
"""Fields, or groups of them, that a run keeps: its weights mean nothing under others."""
FREE = (
    *("name", "cache", "publish", "dtype", "export", "average", "sheet", "statistics"),
    "ledits",
    *("init", "first_step", "data.credit", "data.credits", "data.held_out", "run.batch"),
    *("run.seed", "run.log_every", "run.save_every", "run.save_seconds", "run.keep"),
    *("run.sample_every", "run.publish_every", "run.held_out_every", "run.held_out"),
    *("run.levels", "run.threads", "run.workers"),
)
"""Fields that change no step; run.batch and run.seed are compared with the checkpoint."""

ENTRIES = Many(Fields({"step": Whole(0, 10**12), "config": Named(Plain(10_000))}), 10_000)
"""What run.json holds."""

Entry = Mapping[str, Any]


def continued(
    workdir: Path, config: Mapping[str, Any], step: int | None, first: int = 0
) -> list[dict[str, Any]]:
    """The entries of a run with its config from now on; an export changes none.

    Args:
        config: the whole config as plain values.
        step: of the newest checkpoint, or None; a config without a step of its own is forgotten.
        first: the step of a run without checkpoint.

    Raises:
        ValueError: the config differs from the run's in a field that must stay, or the file of the
            run is damaged.
    """
    config = json.loads(json.dumps(config))
    past = _read(workdir / FILE)
    if step is None or not past:
        return [{"step": first if step is None else step, "config": config}]
    past = past[:1] + [entry for entry in past[1:] if entry["step"] < step]
    differing = differences(past[-1]["config"], config)
    if fixed := [name for name in differing if _in(name, FIXED)]:
        listed = ", ".join(f"{name} {_as_text(differing[name])}" for name in fixed)
        raise ValueError(
            f"config: the run in {workdir} was trained with other fields: {listed}; give them as"
            " they were, or another --workdir"
        )
    changed = any(not _in(name, FREE) for name in differing)
    goes_on = changed and not config.get("export")
    return [*past, {"step": step, "config": config}] if goes_on else past


def differences(before: Entry, after: Entry) -> dict[str, list[Any]]:
    """Field -> [value before, value after], of the fields that differ."""
    old, new = _flat(before), _flat(after)
    names = dict.fromkeys([*old, *new])
    pairs = {name: [old.get(name), new.get(name)] for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def changes(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """{"step", "fields"} of each change after the first config."""
    pairs = zip(entries, entries[1:], strict=False)
    return [
        {
            "step": after["step"],
            "fields": {
                name: pair
                for name, pair in differences(before["config"], after["config"]).items()
                if not _in(name, FREE)
            },
        }
        for before, after in pairs
    ]


def lines(entries: Sequence[Entry]) -> list[str]:
    """One line for each changed field."""
    return [
        f"changed   {name} {_as_text(pair)}, from step {change['step']} on"
        for change in changes(entries)
        for name, pair in change["fields"].items()
    ]


def seed(workdir: Path) -> int | None:
    """The seed of the run in workdir; None if there is none."""
    past = _read(workdir / FILE)
    run = past[-1]["config"].get("run") if past else None
    return run.get("seed") if isinstance(run, Mapping) else None


def write(workdir: Path, entries: Sequence[Entry]) -> None:
    """Write run.json, or replace it."""
    text = provenance.dumps(list(entries), indent=1)
    ENTRIES.check(json.loads(text), "entries")
    workdir.mkdir(parents=True, exist_ok=True)
    write_bytes(workdir / FILE, text.encode() + b"\n", True)


def _read(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    found = json_file.read(file, "workdir")
    try:
        ENTRIES.check(found, "entries")
    except ValueError as error:
        raise ValueError(f"workdir: cannot read {file}, the configs of the run: {error}") from None
    return found


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        group = isinstance(value, Mapping)
        found |= _flat(value, f"{before}{name}.") if group else {f"{before}{name}": value}
    return found


def _in(name: str, groups: Sequence[str]) -> bool:
    return any(name == group or name.startswith(f"{group}.") for group in groups)


def _as_text(pair: Sequence[Any]) -> str:
    return f"{pair[0]!r} (now {pair[1]!r})"
