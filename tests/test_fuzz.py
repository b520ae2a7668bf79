"""Malformed and hostile input of every kind ends in one clear line, see fuzz/execute.py.

The cases are generated; a case is made again from its kind and seed. More of them:
python -m pytest -m fuzz tests/test_fuzz.py, with the number of cases in FUZZ_CASES, the first seed
in FUZZ_SEED, or one case in FUZZ_CASE, such as FUZZ_CASE=zips:7.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import kinds
from fuzz.case import KINDS
from program import ROOT

EACH = 4
"""Cases of each kind in an ordinary run: seeds 0 to 3."""


def command(*arguments):
    """A run of cases, in a process that forks one for each: it has started no backend of JAX."""
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    line = [sys.executable, "-m", "fuzz", *map(str, arguments)]
    return subprocess.run(line, env=env, capture_output=True, text=True, errors="replace")


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory):
    """The outcomes of the kinds whose tests run, by kind."""
    wanted = [i.callspec.params["kind"] for i in request.session.items if hasattr(i, "callspec")
              and i.path == Path(__file__)]  # fmt: skip
    lines = tmp_path_factory.mktemp("fuzz") / "lines.jsonl"
    done = command(",".join(wanted), "--cases", EACH * len(wanted), "--lines", lines)
    assert lines.is_file(), done.stderr
    found = {kind: [] for kind in wanted}
    for line in lines.read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        found[one["kind"]].append(one)
    counts = {kind: len(range(0, EACH, kinds.LONG.get(kind, 1))) for kind in wanted}
    assert {kind: len(ones) for kind, ones in found.items()} == counts, done.stderr
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_input_of_each_kind_ends_in_one_line(kind, outcomes):
    broken = [told(one) for one in outcomes[kind] if one["sort"]]
    if broken:
        pytest.fail("\n".join(broken), pytrace=False)


def told(one):
    head = f"python -m fuzz {one['kind']} {one['seed']}: {one['sort']}: {one['frame']}"
    return f"{head}\n    {one['note']}\n    {one['stderr'][-600:]}"


def test_a_case_is_made_again_from_its_kind_and_seed(tmp_path, monkeypatch):
    """The same files and arguments, whatever ran before."""
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        case = kinds.KINDS["safetensors_files"](kinds.Random("safetensors_files", 3))
        made.append((case.argv, Path("a.safetensors").read_bytes()))
    assert made[0] == made[1]


@pytest.mark.fuzz
def test_many():
    kind, _, seed = os.environ.get("FUZZ_CASE", "").partition(":")
    if kind:
        done = command(kind, seed)
    else:
        count, first = os.environ.get("FUZZ_CASES", "3000"), os.environ.get("FUZZ_SEED", "1000")
        done = command("--cases", count, "--first", first)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
