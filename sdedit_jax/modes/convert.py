"""--mode=convert: a released checkpoint in, a prior's folder out."""

from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from sdedit_jax.caution import warn
from sdedit_jax.modes.files import Target, plain
from sdedit_jax.pipeline.cache import use_cache
from sdedit_jax.weights.convert import Report
from sdedit_jax.weights.convert import convert as convert_checkpoint
from sdedit_jax.weights.readers.averages import decay_of

EMA = {True: "averaged (EMA)", False: "raw, not averaged", None: "as they are"}


def convert(config: ConfigDict, target: Target) -> int:
    """Convert config.source to the prior's folder workdir, and print a report."""
    if "source" not in config or "card" not in config:
        raise ValueError("config: --mode=convert needs --config=convert")
    if not config.source:
        raise ValueError("source: give a file, a folder or hf:owner/name")
    use_cache(config.cache)
    options = {name: value for name, value in plain(config).items() if name != "cache"}
    source = options.pop("source")
    options["architecture"] = options["architecture"] or None
    options |= {"overwrite": target.overwrite, "resume": target.resume}
    report = convert_checkpoint(source, target.folder, **options)
    if not report.made:
        print(f"finished  {report.folder} holds this conversion, nothing is left to do")
        return 0
    for line in summary(report):
        print(line)
    if report.verdict is not None and not report.verdict.passed:
        warn(report.verdict.message)
    return 0


def summary(report: Report) -> Iterator[str]:
    """The lines that are printed after a conversion."""
    metadata, source = report.metadata, report.metadata["source"]
    side = "x".join(map(str, metadata["size"]))
    yield f"source    {source['file']}, family {source['family']}"
    yield f"weights   {EMA[source['ema']]}{averaging(source.get('averaging', {}))}"
    for name, why in source["left_out"].items():
        yield f"left out  {name}: {why}"
    yield f"network   {metadata['network']}, {side}, process {metadata['process']['name']}"
    for note in metadata.get("notes", ()):
        yield f"note      {note}"
    if report.verdict is not None:
        yield f"check     {report.verdict.message}"
    yield f"prior     {report.folder}"


def averaging(fields: Mapping[str, Any]) -> str:
    """How averages were made, where the source states it."""
    if not fields:
        return ""
    step, decay = fields.get("optimization_step"), decay_of(fields)
    return f", decay {decay:.6g} at step {step}" if decay else f", equal to the raw at step {step}"
