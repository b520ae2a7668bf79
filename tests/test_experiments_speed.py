"""The profile of an edit: FLOPs by closed forms, parts by construction, the plot."""

import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from program import SIZE, tiny_prior

from sdedit_jax.nets import layers
from sdedit_jax.weights import load

FOLDER = Path(__file__).parent.parent / "experiments" / "speed"
SPEC = importlib.util.spec_from_file_location("profile_edit", FOLDER / "profile_edit.py")
profile_edit = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(profile_edit)  # it puts its folder on the path of imports

import edit as speed_edit  # noqa: E402
import edit_parts  # noqa: E402
import networks  # noqa: E402
import peaks  # noqa: E402
from peaks import Convolution  # noqa: E402


@pytest.mark.parametrize("shape", [(2, 9, 7, 16, 24), (3, 4, 4, 32, 16), (1, 16, 16, 128, 128)])
def test_flops_of_a_convolution(shape):
    """2 FLOPs for each product of a pixel inside the picture: 3 n - 2 along a side of n.

    That of 128 channels takes fewer products on a CPU.
    """
    rows, height, width, inputs, outputs = shape
    found = peaks.convolution(Convolution(*shape), "float32")
    assert found.flop == 2 * rows * inputs * outputs * (3 * height - 2) * (3 * width - 2)
    assert found.run().shape == (rows, height, width, outputs)


def test_flops_of_a_matrix_product():
    a = jnp.ones((24, 24))
    program = peaks.compiled(lambda a, b: a @ b, "float32", a, a)
    assert peaks.product(24, "float32").flop == peaks.cost(program).flop == 2 * 24**3


def test_convolutions_are_found_inside_of_other_functions():
    def net(x, kernel, out):
        x = jax.lax.scan(lambda x, _: (layers.conv(x, kernel), None), x, length=3)[0]
        half = jax.jit(lambda x: layers.conv(x, kernel, stride=2, padding=((0, 1), (0, 1))))(x)
        return layers.conv(x, out), layers.conv(half, kernel[:1, :1])

    x, kernel, out = jnp.ones((5, 8, 6, 4)), jnp.ones((3, 3, 4, 4)), jnp.ones((3, 3, 4, 2))
    found = peaks.convolutions(jax.vmap(lambda x: net(x[None], kernel, out)), x)
    assert found == Counter([Convolution(5, 8, 6, 4, 4), Convolution(5, 8, 6, 4, 2)])
    assert peaks.levels(found) == [Convolution(5, 8, 6, 4, 4)]


def test_parts_of_an_edit_with_known_costs():
    costs = {"rule": 2.0, "mask": 0.5, "noise": 0.25, "to device": 0.125, "to host": 0.0625}
    ends = {"prepare": 1.0, "init": 3.0, "finish": 5.0}
    advance = {"no noise": costs["rule"]}
    advance["no mask"] = advance["no noise"] + costs["noise"]
    advance["no network"] = advance["no mask"] + costs["mask"]
    turn = {f"{form}/advance": seconds for form, seconds in advance.items()}
    turn |= {f"{form}/{end}": s for form in advance for end, s in ends.items()}
    turn |= {f"no network/{way}": costs[way] for way in ("to device", "to host")}
    turn |= {"evaluation": 10.0, "edit": 12 * 10.0 + sum(costs.values()) + 9.0 + 7.0}
    found = edit_parts.parts(turn, 12)
    assert found == costs | {"network": 120.0, "ends": 9.0, "rest": 7.0}
    assert set(found) == set(edit_parts.PARTS)


def flops_of_programs(prior, steps):
    """(FLOPs as the profile derives them, those of each program, those of the free steps)."""
    pipeline, request, keys = speed_edit.default_edit(prior, 2, steps)
    form = edit_parts.Form(pipeline, request)
    network = edit_parts.evaluation(pipeline, prior.params, request)
    free = edit_parts.without(form)["no network"]
    whole, rest = (edit_parts.staged(one, prior.params, keys) for one in (form, free))
    found = edit_parts.work(form, whole, rest, network)
    each = {part: peaks.cost(program).flop for part, program in whole.programs.items()}
    return found, each, peaks.cost(rest.programs["advance"]).flop


def test_flops_of_an_edit():
    """Four programs of one step each have the FLOPs of the edit; 20 steps, which run as loops of
    two, have five times those of the steps. Grids are computed outside of the loops. The compiler
    saves some of the elementwise operations of this small network: 6 % of its FLOPs."""
    prior = load.load_prior(tiny_prior())
    few, each, step = flops_of_programs(prior, 4)
    steps = 4 * each.pop("advance")
    assert (few["loop"], few["evaluations"]) == (1, 4)
    assert few["edit"]["flop"] == pytest.approx(steps + sum(each.values()), rel=0.08)
    many, _, _ = flops_of_programs(prior, 20)
    assert (many["loop"], many["evaluations"]) == (2, 20)
    assert many["rest"]["flop"] - few["rest"]["flop"] == pytest.approx(16 * step, rel=0.1)
    assert many["edit"]["flop"] == pytest.approx(5 * steps + sum(each.values()), rel=0.08)


def test_profile_and_plot(monkeypatch, tmp_path, capsys):
    out = tmp_path / "profile.jsonl"
    monkeypatch.setattr(peaks, "sides", lambda: (16, 32))
    monkeypatch.setattr(peaks, "LARGE", Convolution(1, 8, 8, 8, 8))
    monkeypatch.setattr(profile_edit.machine, "LEAST", 0.0)
    cache = jax.config.jax_enable_compilation_cache
    options = [f"--prior={tiny_prior()}", "--batch=2", "--steps=3", "--threads=0", "--runs=2"]
    monkeypatch.setattr(sys, "argv", ["profile_edit.py", *options, f"--out={out}"])
    try:
        profile_edit.main()
    finally:
        jax.config.update("jax_enable_compilation_cache", cache)
    (row,) = map(json.loads, out.read_text().splitlines())
    assert set(row["parts"]) == set(edit_parts.PARTS)
    shown = capsys.readouterr().out
    assert all(f"| {part} |" in shown for part in edit_parts.PARTS)
    first = row["first"]
    assert 0 < first["compile"] < first["compile"] + first["trace"] < first["call"]
    assert np.isfinite([*row["gflops"].values()]).all()
    widths = {tuple(name.split()[1:6:2]) for name in row["convolutions"]}
    assert ("2", str(SIZE), f"{SIZE},") in widths  # the full size, and two pictures
    monkeypatch.setattr(sys, "argv", ["profile_edit.py", "--plot", f"--out={out}"])
    profile_edit.main()
    with Image.open(out.with_suffix(".png")) as picture:
        assert len(picture.convert("RGB").getcolors(10**6)) > 10


def test_the_rates_of_networks_are_those_of_the_rows_with_a_rate_of_matrices(tmp_path):
    sides = {"ours": {"wall": 0.5, "memory": 1.0}, "theirs": {"wall": 1.0, "memory": 1.0}}
    row = {"name": "net", "compute": "float32", "batch": 4, "form": "eager", "compile": 2.0}
    file = tmp_path / "networks.jsonl"
    file.write_text(json.dumps(row | sides))
    assert len(networks.table(file)) == 3
    file.write_text(json.dumps(row | sides | {"gflop": 100.0, "matrix": 400.0}))
    assert networks.table(file)[-1] == "| net | float32 | 4 | 8 | 200 | 50% |"
