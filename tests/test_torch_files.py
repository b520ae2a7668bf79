"""Files of torch.save: goldens, the layouts people have, damage, code in a file, memory."""

import os
import subprocess
import sys
import textwrap
from collections import OrderedDict
from pathlib import Path

import flax.serialization
import ml_dtypes
import numpy as np
import pytest
from nets_goldens import SCORE_SDE
from readers_files import (
    Evaluates,
    Opens,
    Runs,
    golden_file,
    modules_of,
    refuse_each_cut,
    same,
    torch_shapes,
)
from safetensors.numpy import save_file

from sdedit_jax.weights import conversion, readers

torch = pytest.importorskip("torch")

PLAIN = {
    "sdedit_ddpm_unet": "checkpoint.pth",
    "sdedit_ddpm_unet_legacyfile": "checkpoint.pth",
    "guided_unet_classcond": "checkpoint.pt",
}


@pytest.mark.parametrize("case", SCORE_SDE)
def test_score_sde_pth_gives_the_averages_under_the_models_names(case):
    file, modules = golden_file(case, "checkpoint.pth"), modules_of(case)
    source = readers.read(file)
    assert source.layout == "torch" and source.ema is True
    assert {"optimizer", "model", "step"} == set(source.left_out)
    names = [name.removeprefix("module.") for name in modules["parameter_order"]]
    assert list(source.tensors) == ["sigmas", *names]
    shapes = torch_shapes(modules)
    assert {n: source.tensors[n].shape for n in names} == {n: shapes[n] for n in names}
    original = torch.load(file, weights_only=True)
    order = [name.removeprefix("module.") for name in modules["shadow_params_order"]]
    for name, average in zip(order, original["ema"]["shadow_params"], strict=True):
        assert np.array_equal(source.tensors[name], average.numpy()), name
    for name in {"sigmas", *names} - set(order):
        assert np.array_equal(source.tensors[name], original["model"]["module." + name].numpy())


@pytest.mark.parametrize("case", PLAIN)
def test_plain_state_dicts_are_read_from_both_torch_formats(case):
    file = golden_file(case, PLAIN[case])
    original = torch.load(file, weights_only=True)
    source = readers.read(file)
    assert source.layout == "torch" and source.ema is None and not source.left_out
    same(source.tensors, {name: a.numpy() for name, a in original.items()})


def test_example_pictures_of_sdedit_are_no_weights():
    file = golden_file("traj_sdedit_vp_mask_k1", "example.pth")
    with pytest.raises(ValueError, match="list of 2 .*not weights .*example pictures"):
        readers.read(file)


# what torch files hold ------------------------------------------------------------------


def tensors(seed=0, prefix=""):
    """A small state dict of torch tensors."""
    draw = torch.Generator().manual_seed(seed)
    shapes = {"conv_in.weight": (4, 3, 3, 3), "conv_in.bias": (4,), "out.weight": (3, 4)}
    return OrderedDict((prefix + n, torch.randn(s, generator=draw)) for n, s in shapes.items())


def saved(path, content, **options):
    torch.save(content, path, **options)
    return path


def adam(state):
    """The state of an optimizer after a step."""
    weights = [torch.nn.Parameter(a.clone()) for a in state.values()]
    optimizer = torch.optim.Adam(weights)
    sum(a.sum() for a in weights).backward()
    optimizer.step()
    return optimizer.state_dict()


def as_numpy(state):
    return {name: a.numpy() for name, a in state.items()}


RAW, MEAN = tensors(0), tensors(1)
LAYOUTS = {
    "plain": (RAW, RAW, None),
    "parallel": (tensors(0, "module."), RAW, None),
    "compiled": (tensors(0, "_orig_mod.module."), RAW, None),
    "wrapped": ({"state_dict": RAW, "epoch": 3}, RAW, None),
    "with optimizer": ({"model": RAW, "optimizer": adam(RAW), "step": torch.tensor(5)}, RAW, False),
    "named averages": ({"model": RAW, "ema": MEAN, "optimizer": adam(RAW)}, MEAN, True),
    "averages alone": ({"ema": MEAN}, MEAN, True),
    "module of averages": (
        {
            "model": RAW,
            "opt": adam(RAW),
            "ema": tensors(0, "online_model.")
            | tensors(1, "ema_model.")
            | {"step": torch.tensor([5]), "initted": torch.tensor([True])},
            "step": 10,
        },
        MEAN,
        True,
    ),
    "run": ([tensors(0, "module."), adam(RAW), 4, 1000], RAW, False),
    "run with averages": ([tensors(0, "module."), adam(RAW), 4, 1000, MEAN], MEAN, True),
    "listed averages": (
        {"model": RAW, "ema": {"decay": 0.9, "shadow_params": list(MEAN.values())}, "step": 1},
        MEAN,
        True,
    ),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_torch_layouts(tmp_path, layout, zipped):
    content, wanted, ema = LAYOUTS[layout]
    file = saved(tmp_path / "named.jpg", content, _use_new_zipfile_serialization=zipped)
    source = readers.read(file)
    same(source.tensors, as_numpy(wanted))
    assert source.ema is ema
    if ema and layout != "averages alone":
        assert any("raw weights" in why for why in source.left_out.values())
    if ema is False:
        assert any("optimizer" in why for why in source.left_out.values())


def test_frequencies_are_taken_from_the_model_only_where_the_counts_say_so(tmp_path):
    """score_sde's list has no W when W is not trained, and has it where somebody trained it."""
    raw = {"sigmas": torch.ones(9).double(), "all_modules.0.W": torch.ones(4), **RAW}
    untrained = {"model": raw, "ema": {"shadow_params": list(MEAN.values())}}
    source = readers.read(saved(tmp_path / "a", untrained))
    same(source.tensors, as_numpy({**raw, **MEAN}))
    assert "['sigmas', 'all_modules.0.W']" in source.left_out["model"]
    trained = {"model": raw, "ema": {"shadow_params": [torch.zeros(4), *MEAN.values()]}}
    source = readers.read(saved(tmp_path / "b", trained))
    same(source.tensors, as_numpy({**raw, "all_modules.0.W": torch.zeros(4), **MEAN}))


REFUSED = {
    "holds an optimizer's state": (adam(RAW), {"optimizer": adam(RAW), "step": 2}),
    "holds no weights: it has": ({"epoch": 3}, {}),
    "holds a int, not weights": (3,),
    "holds a list of 2 ": ([torch.ones(3), torch.ones(3)], [3, RAW]),
    "lists 2 averages .* for the 3 trained": (
        {"model": RAW, "ema": {"shadow_params": list(MEAN.values())[1:]}},
    ),
    "average of conv_in.weight in .* has shape": (
        {"model": RAW, "ema": {"shadow_params": list(MEAN.values())[::-1]}},
    ),
    "averages extra.weight, which its model lacks": (
        {"model": RAW, "ema": {**MEAN, "extra.weight": torch.ones(2, 2)}},
    ),
    "has no average of .*out.weight": (
        {"model": RAW, "ema": {"conv_in.weight": MEAN["conv_in.weight"]}},
    ),
    "averages .ema. in an unknown layout": (
        {"model": RAW, "ema": {"decay": 0.9}},
        {"model": RAW, "ema": {"shadow_params": "none"}},
    ),
    "conv_in.weight in .* is sparse": ({"conv_in.weight": torch.ones(2, 2).to_sparse()},),
}


@pytest.mark.parametrize("words", REFUSED)
def test_torch_files_without_usable_weights_are_refused(tmp_path, words):
    for content in REFUSED[words]:
        with pytest.raises(ValueError, match=f"^source: .*{words}"):
            readers.read(saved(tmp_path / "x.pth", content))


def test_half_precision_is_kept_as_it_is(tmp_path):
    kinds = {torch.float16: "float16", torch.bfloat16: "bfloat16", torch.float64: "float64"}
    content = {str(kind): RAW["out.weight"].to(kind).T for kind in kinds}
    source = readers.read(saved(tmp_path / "x.pth", content))
    for kind, name in kinds.items():
        tensor = source.tensors[str(kind)]
        assert tensor.dtype == np.dtype(getattr(ml_dtypes, name, name))
        assert np.array_equal(tensor.astype(np.float64), content[str(kind)].double().numpy())


def test_without_torch_its_installation_is_named(tmp_path, monkeypatch):
    file = saved(tmp_path / "x.pth", RAW)
    monkeypatch.setitem(sys.modules, "torch", None)
    told = 'x.pth is a torch file; to read it: pip install "torch>=2.6"'
    with pytest.raises(ValueError, match=told):
        readers.read(file)


def test_a_torch_that_would_run_code_is_not_used(tmp_path, monkeypatch):
    file = saved(tmp_path / "x.pth", RAW)
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(ValueError, match='torch 2.5.1.* to read it: pip install "torch>=2.6"'):
        readers.read(file)


# damage, code, memory -------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_file_cut_off_anywhere_is_refused(tmp_path, zipped):
    file = saved(tmp_path / "x", {"model": RAW}, _use_new_zipfile_serialization=zipped)
    refuse_each_cut(file, tmp_path)


@pytest.mark.parametrize("code", [Opens, Runs, Evaluates])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_code_in_a_torch_file_is_not_run(tmp_path, code, zipped):
    made = tmp_path / "made"
    for content in ({**RAW, "x": code(made)}, [RAW, code(made)], code(made)):
        file = tmp_path / "x.pth"
        torch.save(content, file, _use_new_zipfile_serialization=zipped)
        with pytest.raises(ValueError, match="is refused: .*code or obj.*no code was run"):
            readers.read(file)
        assert not made.exists()
    torch.load(file, weights_only=False)
    assert made.exists(), "the file was harmless, and this test says nothing"


def test_fill_finds_nan_in_a_file(tmp_path):
    file = saved(tmp_path / "x.pth", {"dense.weight": torch.full((2, 4), torch.nan)})
    with pytest.raises(ValueError, match="dense.weight in .*x.pth holds .* not finite"):
        conversion.fill({"dense": {"kernel": np.empty((4, 2))}}, readers.read(file))


MEASURE = """
    import sys
    from pathlib import Path
    import flax, ml_dtypes, msgpack, numpy as np, safetensors, torch
    from sdedit_jax.weights import readers

    def memory(what):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(what)) * 1024

    def measure(file):
        readers.read(file.with_suffix(".small"))  # what the first reading of any file costs
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
        before = memory("VmRSS")
        source = readers.read(file)
        for tensor in source.tensors.values():
            assert np.isfinite(tensor).all()
        return (memory("VmHWM") - before) / sum(a.nbytes for a in source.tensors.values())

    for name in sys.argv[1:]:
        print(measure(Path(name)))
"""


def training_state(leaves, width, rng):
    """What a run of score_sde saves, of `leaves` arrays [width, width]: torch and flax."""
    made = [
        {f"all_modules.{i}.weight": rng.random((width, width), np.float32) for i in range(leaves)}
        for _ in range(4)
    ]
    trees = [{name.replace(".", "_"): {"kernel": a} for name, a in m.items()} for m in made]
    moments = {"grad_ema": trees[1], "grad_sq_ema": trees[2]}
    state = {"optimizer": {"target": trees[0], "state": moments}, "params_ema": trees[3]}
    raw, first, second, mean = ({n: torch.from_numpy(a) for n, a in m.items()} for m in made)
    adam = [{"exp_avg": first[n], "exp_avg_sq": second[n]} for n in raw]
    return {
        "optimizer": {"state": dict(enumerate(adam)), "param_groups": []},
        "model": {"module." + name: a for name, a in raw.items()},
        "ema": {"decay": 0.9, "shadow_params": list(mean.values())},
        "step": 1,
    }, state


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux counts peak memory")
def test_reading_takes_the_memory_of_the_weights_it_gives(tmp_path, rng):
    """Training states of 100 MB, a quarter of it averages: at most 2.5 times the averages."""
    for suffix, size in ((".small", (2, 8)), (".large", (25, 500))):
        pytorch, state = training_state(*size, rng)
        torch.save(pytorch, tmp_path / f"zip{suffix}")
        raw = {name: a.numpy() for name, a in pytorch["model"].items()}
        save_file(raw, tmp_path / f"safetensors{suffix}")
        data = flax.serialization.msgpack_serialize(state)
        (tmp_path / f"msgpack{suffix}").write_bytes(data)
    kinds = ["zip", "safetensors", "msgpack"]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURE), *(tmp_path / f"{k}.large" for k in kinds)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    times = dict(zip(kinds, map(float, done.stdout.split()), strict=True))
    assert max(times.values()) <= 2.5, times
