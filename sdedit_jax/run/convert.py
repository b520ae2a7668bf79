"""--mode=convert: a released checkpoint in, a prior's folder out."""

import sys
from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from sdedit_jax.convert import Report
from sdedit_jax.convert import convert as bring
from sdedit_jax.run.session import plain, use_cache

EMA = {True: "averaged (EMA)", False: "raw, the file has no averaged ones", None: "as they are"}


def convert(config: ConfigDict, workdir: Path, overwrite: bool) -> int:
    """Bring config.source into the prior's folder workdir, and tell what was found."""
    if "source" not in config or "card" not in config:
        raise ValueError("config: --mode=convert needs --config=configs/convert.py")
    if not config.source:
        raise ValueError("source: give a file, a folder or hf:owner/name")
    use_cache(config.cache)
    options = {name: value for name, value in plain(config).items() if name != "cache"}
    source = options.pop("source")
    options["architecture"] = options["architecture"] or None
    report = bring(source, workdir, **options, overwrite=overwrite)
    for line in told(report):
        print(line)
    if report.verdict is not None and not report.verdict.passed:
        print(f"warning: {report.verdict.message}", file=sys.stderr)
    return 0


def told(report: Report) -> Iterator[str]:
    """What the user reads after an import."""
    card, source = report.card, report.card["source"]
    side = "x".join(map(str, card["size"]))
    yield f"source    {source['file']}, family {source['family']}"
    yield f"weights   {EMA[source['ema']]}"
    for name, why in source["left_out"].items():
        yield f"left out  {name}: {why}"
    yield f"network   {card['network']}, {side}, process {card['process']['name']}"
    for note in card.get("notes", ()):
        yield f"note      {note}"
    if report.verdict is not None:
        yield f"check     {report.verdict.message}"
    yield f"prior     {report.folder}"
