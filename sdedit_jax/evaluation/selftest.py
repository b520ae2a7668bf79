"""Stored activations of the original program, which a loaded network must give again.

NAME.selftest.json beside the weights NAME (a file or a folder) holds

    {"rule": "leaves-1", "program": "pytorch-fid 0.3.0 with torch 2.8", "sha256": "...",
     "outputs": {"pool3": {"shape": [4, 2048], "norms": [...], "first": [[...], ...]}}}

with the rule of the test pictures (selftest_rule.py), the sha256 of the weights, and of each row of
each output its norm and first values. experiments/recognition/selftest.py writes it with the
original PyTorch program on the user's machine.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sdedit_jax.evaluation import selftest_rule
from sdedit_jax.files import json_file

TOLERANCE = 1e-3
"""Largest difference, relative to the root mean square of the row."""


def file_of(weights: str | Path) -> Path:
    """The file of the self-test of a file or folder of weights."""
    path = Path(weights)
    return path.with_name(path.name + selftest_rule.ENDING)


def check(weights: str | Path, sha256: str, outputs: Mapping[str, np.ndarray]) -> str:
    """Compare outputs with the stored ones, if there is a file of them.

    Args:
        weights: the file or folder of weights.
        sha256: of the weights.
        outputs: of the loaded network on the test pictures, name -> [B, ...].

    Returns:
        for the facts: "passed (PROGRAM)", or "no file".

    Raises:
        ValueError: the file is damaged, of other weights, of another rule or network, or the
            outputs differ.
    """
    file = file_of(weights)
    if not file.is_file():
        return "no file"
    stored = _read(file)
    if stored["sha256"] != sha256:
        _refuse(file, f"it is of weights with sha256 {stored['sha256']}, these have {sha256}")
    if stored["outputs"].keys() != outputs.keys():
        _refuse(file, f"it holds {sorted(stored['outputs'])}, needed are {sorted(outputs)}")
    for name, found in selftest_rule.summary(outputs).items():
        if reason := _difference(found, stored["outputs"][name]):
            _refuse(file, f"{name} {reason} ({stored['program']})")
    return f"passed ({stored['program']})"


def _read(file: Path) -> dict[str, Any]:
    stored = json_file.read_object(file, "selftest")
    texts = [isinstance(stored.get(name), str) for name in ("rule", "program", "sha256")]
    if not all(texts) or not isinstance(stored.get("outputs"), dict):
        _refuse(file, "it must hold rule, program, sha256 (texts) and outputs (an object)")
    if stored["rule"] != selftest_rule.RULE:
        _refuse(file, f"its pictures are {stored['rule']}, ours {selftest_rule.RULE}")
    return stored


def _difference(found: Mapping[str, Any], stored: Any) -> str:
    """What differs, as the end of a sentence; "" if nothing does."""
    try:
        shape = list(stored["shape"])
        wanted = [np.array(stored[part], np.float64) for part in ("norms", "first")]
    except (KeyError, TypeError, ValueError):
        return "must hold shape, norms [B] and first [B, n]"
    got = [np.array(found[part]) for part in ("norms", "first")]
    if shape != found["shape"] or [a.shape for a in got] != [a.shape for a in wanted]:
        return f"has shape {found['shape']}, stored is {shape}"
    norms = np.maximum(wanted[0], np.finfo(np.float32).tiny)
    spread = norms / np.sqrt(max(np.prod(shape[1:]), 1))
    worst = max(
        np.max(np.abs(got[0] - wanted[0]) / norms),
        np.max(np.abs(got[1] - wanted[1]) / spread[:, None]),
    )
    if worst <= TOLERANCE:
        return ""
    return f"differs from the stored one by {worst:.2g} of its size, allowed is {TOLERANCE:g}"


def _refuse(file: Path, reason: str) -> None:
    raise ValueError(f"selftest: {file} does not fit the loaded network: {reason}")
