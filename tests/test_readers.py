"""Foreign checkpoint files: what they are, flax and safetensors files, damage, code, the one rule.

Files of torch.save have tests of their own.
"""

import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import flax.serialization
import ml_dtypes
import numpy as np
import pytest
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
from safetensors.numpy import load_file, save_file

from sdedit_jax.weights import conversion, readers, store, whole_folder
from sdedit_jax.weights.source import Source

FLAX = [
    "jax_ddpmpp_vp_discrete_resblockddpm",
    "jax_ncsnpp_ddpmres_firconv_outskip",
    "jax_ncsnpp_residual_fir",
    "jax_ncsnpp_residual_nofir_elu",
    "ncsnpp_ve_celebahq256",
]
DIFFUSERS = ["uncond_ddpm_tiny", "uncond_ncsnpp_tiny"]


def flax_shape(shape, transform):
    """Where a torch tensor of this shape ends up in flax 0.3."""
    return {
        "id": lambda s: s,
        "lin": lambda s: s[::-1],
        "conv": lambda s: (s[2], s[3], s[1], s[0]),
        "gn": lambda s: (1, 1, 1, *s),
    }[transform](shape)


# the goldens ----------------------------------------------------------------------------


@pytest.mark.parametrize("case", FLAX)
def test_flax_state_gives_params_ema(case):
    file, modules = golden_file(case, "flax/checkpoint_12"), modules_of(case)
    source = readers.read(file)
    assert source.layout == "flax" and source.ema is True
    assert "raw weights" in source.left_out["optimizer.target"]
    shapes = torch_shapes(modules)
    assert {n: a.shape for n, a in source.tensors.items()} == {
        path: flax_shape(shapes[name], turned) for name, path, turned in modules["torch_to_flax"]
    }
    original = flax.serialization.msgpack_restore(file.read_bytes())["params_ema"]
    for name, tensor in source.tensors.items():
        leaf = original
        for part in name.split("/"):
            leaf = leaf[part]
        assert np.array_equal(tensor, leaf), name


@pytest.mark.parametrize("case", DIFFUSERS)
def test_safetensors_are_read(case):
    file = golden_file(case, "diffusion_pytorch_model.safetensors")
    source = readers.read(file)
    original = load_file(file)
    assert source.layout == "torch" and source.tensors.keys() == original.keys()
    for name, tensor in original.items():
        assert np.array_equal(source.tensors[name], tensor), name


def test_safetensors_in_half_precision_are_kept_as_they_are(tmp_path, rng):
    """The package writes no bfloat16 from numpy: this header is by hand."""
    numbers = rng.normal(size=(3, 2)).astype(ml_dtypes.bfloat16)
    half = rng.normal(size=3).astype(np.float16)
    header = (
        b'{"module.a":{"dtype":"BF16","shape":[3,2],"data_offsets":[0,12]},'
        b'"module.b":{"dtype":"F16","shape":[3],"data_offsets":[12,18]}}'
    )
    file = tmp_path / "x"
    data = len(header).to_bytes(8, "little") + header + numbers.tobytes() + half.tobytes()
    file.write_bytes(data)
    source = readers.read(file)
    same(source.tensors, {"a": numbers, "b": half})
    file.write_bytes(data.replace(b'"F16","shape":[3]', b'"U16","shape":[3]'))
    with pytest.raises(ValueError, match="tensor 'module.b' in .* has dtype U16"):
        readers.read(file)


# flax files -----------------------------------------------------------------------------


def test_flax_arrays_of_every_kind(tmp_path, monkeypatch, rng):
    """Against flax's own writer: chunked and empty arrays, scalars, half precision."""
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 200)
    params = {
        "large": {"kernel": rng.normal(size=(7, 5, 3)).astype(np.float32)},
        "half": rng.normal(size=(3,)).astype(np.float16),
        "brain": rng.normal(size=(3, 2)).astype(ml_dtypes.bfloat16),
        "scalar": np.float32(2.5),
        "empty": np.zeros((0, 3), np.float32),
    }
    file = tmp_path / "checkpoint_3"
    file.write_bytes(flax.serialization.msgpack_serialize({"params": params, "step": 3}))
    source = readers.read(file)
    assert source.ema is None and source.left_out == {"step": "no weights (3)"}
    flat = {("large/kernel" if n == "large" else n): a for n, a in params.items()}
    flat["large/kernel"] = params["large"]["kernel"]
    assert source.tensors.keys() == flat.keys()
    for name, wanted in flat.items():
        assert source.tensors[name].dtype == wanted.dtype
        assert np.array_equal(source.tensors[name], wanted), name


@pytest.mark.parametrize(
    "content, ema",
    [
        ({"optimizer": {"target": {"a": np.ones(2)}, "state": {}}, "step": 1}, False),
        ({"params": {"a": np.ones(2)}, "opt_state": {"0": {}}}, False),
        ({"a": np.ones(2)}, None),
    ],
    ids=["optimizer.target", "train state", "bare"],
)
def test_flax_files_without_averages_say_so(tmp_path, content, ema):
    file = tmp_path / "f"
    file.write_bytes(flax.serialization.msgpack_serialize(content))
    source = readers.read(file)
    assert source.ema is ema and list(source.tensors) == ["a"]


def test_flax_files_without_parameters_are_refused(tmp_path):
    file = tmp_path / "f"
    for content, words in (
        ({"step": 3}, "without params_ema, optimizer.target or params; it has .*step"),
        ({"params": {"a": "text"}}, "no arrays of parameters, but .*a"),
        ({"params": {"a": 1j}}, "ext type 2 is no array"),
    ):
        file.write_bytes(flax.serialization.msgpack_serialize(content))
        with pytest.raises(ValueError, match=words):
            readers.read(file)


def test_views_of_the_file_survive_the_store(tmp_path, rng):
    """Arrays in flax files stand at any byte; what reads numbers from them must not mind."""
    params = {f"{'n' * i}": rng.normal(size=(3, 5)).astype(np.float32) for i in range(1, 6)}
    file = tmp_path / "f"
    file.write_bytes(flax.serialization.msgpack_serialize({"params": params}))
    source = readers.read(file)
    assert not all(a.flags.aligned for a in source.tensors.values())
    filled = conversion.fill(params, source)
    store.save(tmp_path / "prior", filled, {})
    back = store.load(tmp_path / "prior", params)
    assert all(np.array_equal(back[name], params[name]) for name in params)


# files that are none --------------------------------------------------------------------


def archive(name, text=b"x"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, text)
    return buffer.getvalue()


def tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.addfile(tarfile.TarInfo("a"))
    return buffer.getvalue()


def npz():
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(2))
    return buffer.getvalue()


STRANGERS = {
    "empty": (b"", "an empty file"),
    "zeros": (b"\0" * 64, "a file of zeros"),
    "page": (b"\n<!DOCTYPE html><html><head>Not found", "a web page"),
    "denied": (b'<?xml version="1.0"?><Error><Code>AccessDenied', "a web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab", "git-lfs pointer"),
    "json": (b'{"error": "gated"}', "JSON text: .*gated"),
    "text": (b"name: celeba\n", "text: 'name: celeba"),
    "gzip": (b"\x1f\x8b\x08\0", "gzip data: unpack"),
    "tar": (tar(), "a tar archive: unpack"),
    "hdf5": (b"\x89HDF\r\n", "an HDF5 file"),
    "picture": (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    "npy": (b"\x93NUMPY\1\0", "a numpy array"),
    "npz": (npz(), "numpy .npz archive"),
    "zip": (archive("model/params/_METADATA"), "a zip archive of .'model/params/_METADATA'"),
    "noise": (b"\xfe\xdc\xba\x98", "unknown that starts with fe dc ba 98"),
}


@pytest.mark.parametrize("kind", STRANGERS)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ""])
def test_other_files_are_told_apart_by_content(tmp_path, kind, suffix):
    data, words = STRANGERS[kind]
    file = tmp_path / f"model{suffix}"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=words) as caught:
        readers.read(file)
    assert str(file) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="none.pth: no such file"):
        readers.read(tmp_path / "none.pth")


def test_torchscript_is_refused(tmp_path):
    file = tmp_path / "x.pt"
    with zipfile.ZipFile(file, "w") as made:
        for name in ("x/data.pkl", "x/constants.pkl", "x/code/__torch__.py"):
            made.writestr(name, b"")
    with pytest.raises(ValueError, match="TorchScript"):
        readers.read(file)


# damage and code ------------------------------------------------------------------------


def safe_and_flax(folder, rng):
    """The same weights in two formats: [file]."""
    arrays = {"a.weight": rng.normal(size=(64, 8)).astype(np.float32), "b": np.ones(5, np.float32)}
    save_file(arrays, folder / "safetensors")
    content = {"step": 1, "params_ema": arrays, "rng": np.zeros(2, np.uint32)}
    (folder / "msgpack").write_bytes(flax.serialization.msgpack_serialize(content))
    return [folder / "safetensors", folder / "msgpack"]


def test_a_file_cut_off_anywhere_is_refused(tmp_path, rng):
    for file in safe_and_flax(tmp_path, rng):
        refuse_each_cut(file, tmp_path)


def test_more_after_the_end_is_refused(tmp_path, rng):
    for file in safe_and_flax(tmp_path, rng):
        longer = tmp_path / "longer"
        longer.write_bytes(file.read_bytes() + b"\0\0\0\0")
        with pytest.raises(ValueError, match="longer"):
            readers.read(longer)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("code", [Opens, Runs, Evaluates])
def test_code_in_a_plain_pickle_is_not_run(tmp_path, code, protocol):
    made, file = tmp_path / "made", tmp_path / "x.pkl"
    for content in (code(made), {"ema": code(made)}):
        file.write_bytes(pickle.dumps(content, protocol))
        with pytest.raises(ValueError, match="^source: "):
            readers.read(file)
        assert not made.exists()
    pickle.loads(file.read_bytes())
    assert made.exists(), "the file was harmless, and this test says nothing"


# the one rule, on what readers give -----------------------------------------------------


def small():
    """(shapes of a network, a source that fills it)."""
    arrays = {"conv.weight": np.ones((4, 3, 3, 3), np.float32), "norm.weight": np.ones(4)}
    arrays |= {"conv.bias": np.ones(4, np.float16), "dense.weight": np.ones((2, 4))}
    shapes = {
        "conv": {"kernel": np.empty((3, 3, 3, 4)), "bias": np.empty(4)},
        "norm": {"scale": np.empty(4)},
        "dense": {"kernel": np.empty((4, 2))},
    }
    return shapes, arrays


def test_fill_turns_by_rank(rng):
    shapes, arrays = small()
    arrays = {name: rng.normal(size=a.shape).astype(a.dtype) for name, a in arrays.items()}
    params = conversion.fill(shapes, Source(Path("f"), arrays))
    assert np.array_equal(params["dense"]["kernel"], arrays["dense.weight"].T.astype(np.float32))
    turned = params["conv"]["kernel"]
    for o, i, h, w in np.ndindex(arrays["conv.weight"].shape):
        assert turned[h, w, i, o] == arrays["conv.weight"][o, i, h, w]
    assert params["conv"]["bias"].dtype == np.float32


@pytest.mark.parametrize(
    "change, names, words",
    [
        ({"norm.weight": None}, {}, "lacks the tensor norm.weight .for norm/scale"),
        ({"more": np.ones(3)}, {}, "tensors without use: .'more'"),
        ({"dense.weight": np.ones((3, 4))}, {}, "dense.weight .* shape .3, 4., dense/kernel needs"),
        ({"conv.weight": np.ones((3, 3, 3, 4))}, {}, "conv.weight .* conv/kernel needs"),
        ({"norm.weight": np.array([1, np.nan, 1, 1])}, {}, "norm.weight .* not finite"),
        ({"conv.bias": np.array([1, np.inf, 1, 1], np.float16)}, {}, "conv.bias .* not finite"),
        ({}, {"conv/bias": "norm.weight"}, "norm.weight is used for conv/bias and for norm"),
    ],
    ids=["missing", "extra", "misshapen", "transposed", "nan", "inf", "twice"],
)
def test_fill_names_the_tensor_that_does_not_fit(change, names, words):
    shapes, arrays = small()
    arrays = {n: a for n, a in (arrays | change).items() if a is not None}
    with pytest.raises(ValueError, match=f"^source: .*{words}"):
        conversion.fill(shapes, Source(Path("f"), arrays), names)


def test_fill_refuses_another_familys_tensors():
    shapes, _ = small()
    source = readers.read(golden_file("ncsnpp_ve_celebahq256", "flax/checkpoint_12"))
    with pytest.raises(ValueError, match="lacks the tensor conv/bias .for conv/bias"):
        conversion.fill(shapes, source)


def test_require_space(tmp_path, monkeypatch):
    whole_folder.require_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(ValueError, match="not/yet needs 1e.21 GB, its disk has .* GB free"):
        whole_folder.require_space(tmp_path / "not" / "yet", 10**30)
