"""Hostile weights: each is one line that names the file, within seconds and a bounded memory."""

import io
import json
import os
import pickle
import resource
import shutil
import struct
import zipfile

import msgpack
import numpy as np
import pytest
import test_edm
from program import ROOT, tiny_params, tiny_prior
from safetensors.numpy import save

from sdedit_jax.files import zstd_size
from sdedit_jax.nets.adm import ADMConfig
from sdedit_jax.nets.functional import network
from sdedit_jax.registry.priors import NETS
from sdedit_jax.weights import load, readers, store
from sdedit_jax.weights.convert import convert
from sdedit_jax.weights.readers import averages, hub, pickles, tensors

MORE = 400 * 2**10
"""KiB by which the largest memory of the process may grow."""


def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def refused(call, *args, starts="source: ", **options):
    """The one line by which a call refuses its input."""
    before = memory()
    with pytest.raises(ValueError) as caught:
        call(*args, **options)
    text = str(caught.value)
    assert text.startswith(starts) and "\n" not in text and len(text) < 1000, text
    assert memory() - before < MORE
    return text


def file_of(folder, data):
    (folder / "hostile").write_bytes(data)
    return folder / "hostile"


# --- kinds of files -------------------------------------------------------------------------------

STRANGE = {
    "zeros": lambda path: path.symlink_to("/dev/zero"),
    "nothing": lambda path: path.symlink_to("/dev/null"),
    "pipe": os.mkfifo,
    "loop": lambda path: path.symlink_to(path),
    "dangling": lambda path: path.symlink_to(path.with_name("none")),
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_sources_and_architectures_are_regular_files(kind, tmp_path):
    path = tmp_path / "strange"
    STRANGE[kind](path)
    assert "strange" in refused(readers.read, path)
    good = file_of(tmp_path, save({"w": np.ones(3, np.float32)}))
    line = refused(convert, good, tmp_path / "new", architecture=path, starts="architecture: ")
    assert "strange" in line
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("head", [b"", b"junk" * 100, save({"w": np.ones(3, np.float32)})])
@pytest.mark.parametrize("folder", [False, True])
def test_a_large_file_of_nothing_is_not_read(head, folder, tmp_path):
    path = tmp_path / "source"
    if folder:
        shutil.copytree(ROOT / "checkpoints" / "fruits64-text", path)
        path = path / "more.bin"
    path.write_bytes(head)
    os.truncate(path, 2**42)
    line = refused(convert, tmp_path / "source", tmp_path / "new", check=False)
    assert ("more.bin: of its" in line) == folder and not (tmp_path / "new").exists()


@pytest.mark.parametrize("kind", [*STRANGE, "folder", "outside"])
def test_files_of_a_folder_stay_in_it(kind, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "checkpoints" / "fruits64-text", source)
    path = source / "tokenizer" / "special_tokens_map.json"
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    path.unlink(missing_ok=True)
    own = {"folder": lambda path: path.mkdir(), "outside": lambda path: path.symlink_to(secret)}
    (STRANGE | own)[kind](path)
    if kind == "folder":
        return
    line = refused(convert, source, tmp_path / "new", check=False, starts="")
    assert "special_tokens_map.json" in line
    assert sorted(p.name for p in tmp_path.iterdir()) == ["secret.json", "source"]


def test_links_of_a_hub_cache_and_of_the_user_are_followed(tmp_path):
    home = tmp_path / "models--owner--name"
    snapshot = home / "snapshots" / "abc"
    (home / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    data = save({"w": np.arange(3, dtype=np.float32)})
    (home / "blobs" / "sha").write_bytes(data)
    (home / "blobs" / "config").write_text("{}")
    (snapshot / "diffusion_pytorch_model.safetensors").symlink_to("../../blobs/sha")
    (snapshot / "config.json").symlink_to("../../blobs/config")
    (tmp_path / "mine").symlink_to(snapshot)
    for path in (snapshot, tmp_path / "mine"):
        assert readers.read(path).tensors["w"].tolist() == [0, 1, 2]
    (home / "blobs").rename(tmp_path / "elsewhere")
    (home / "blobs").symlink_to(tmp_path / "elsewhere")
    assert "outside of" in refused(readers.read, snapshot)


# --- safetensors ----------------------------------------------------------------------------------


def header(entries, size=None, data=b"\0" * 16):
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def entry(**changes):
    return {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} | changes}


TWICE = json.dumps(entry())[:-1].encode() + b"," + json.dumps(entry())[1:].encode()
SAFETENSORS = {
    "long header": header(entry(), size=2**31),
    "longest header": header(entry(), size=2**39),
    "cut header": header(entry(), size=5),
    "no header": header(entry(), size=0),
    "deep": header(b'{"w":' + b"[" * 100_000),
    "twice": header(TWICE),
    "overlap": header({**entry(), "v": entry()["w"]}),
    "outside": header(entry(shape=[10**9], data_offsets=[0, 4 * 10**9])),
    "negative": header(entry(data_offsets=[-1, 15])),
    "swapped": header(entry(data_offsets=[16, 0])),
    "huge": header(entry(shape=[2**40, 2**40])),
    "overflow": header(entry(shape=[2**63, 2])),
    "many axes": header(entry(shape=[1] * 70 + [4])),
    "zero axis": header(entry(shape=[0, 2**62], data_offsets=[0, 0]), data=b""),
    "no list": header(entry(shape="x")),
    "dtype": header(entry(dtype="F99")),
    "complex": header(entry(dtype="C64", shape=[2])),
    "float8": header(entry(dtype="F8_E4M3", shape=[16])),
    "no entry": header({"w": None}),
    "a list": header(b"[]"),
    "line break": header({"a\nb": entry()["w"]}),
    "no name": header({"": entry()["w"]}),
    "large number": header({"down.99999999999.conv": entry()["w"]}),
}


@pytest.mark.parametrize("kind", SAFETENSORS)
def test_safetensors(kind, tmp_path):
    refused(readers.read, file_of(tmp_path, SAFETENSORS[kind]))


# --- msgpack --------------------------------------------------------------------------------------


def packed(shape, dtype, data=b"abcd", kind=1):
    return msgpack.ExtType(kind, msgpack.packb((shape, dtype, data)))


def params(value):
    return msgpack.packb({"params": {"a": value}})


def chunked(shape, chunks):
    return params({"__msgpack_chunked_array__": True, "shape": shape, "chunks": chunks})


DTYPES = ("O", ">f4", "U100000000", "f4,f4", "V8", "M8", "void", "object", "", "S4", 3, None)
MSGPACK = {
    **{f"dtype {dtype}": params(packed((1,), dtype)) for dtype in DTYPES},
    **{
        f"shape {shape}": params(packed(shape, "float32"))
        for shape in ((-1,), (10**12,), "ab", [[1]], [1.0], None, (2**40, 2**40), (1,) * 50)
    },
    "complex": params(packed((1,), "complex64", b"\0" * 8)),
    "deep maps": b"\x81\xa1a" * 100_000 + b"\x01",
    "deep lists": b"\x81\xa1a" + b"\x91" * 100_000 + b"\x01",
    "long list": b"\x81\xa1a\xdd\xff\xff\xff\xff",
    "long map": b"\xdf\xff\xff\xff\xff\xa1a\x01",
    "long text": b"\x81\xa1a\xdb\xff\xff\xff\xff",
    "long bytes": b"\x81\xa1a\xc6\xff\xff\xff\xff",
    "long array": b"\x81\xa1a\xc9\xff\xff\xff\xff\x01",
    "another kind": params(packed((1,), "float32", kind=2)),
    "no three": params(msgpack.ExtType(1, msgpack.packb((1, 2)))),
    "empty array": params(msgpack.ExtType(1, b"")),
    "number as name": b"\x82\xa1a\x01\x01\x02",
    "twice": b"\x82\xa1a\x01\xa1a\x02",
    "more after it": params(packed((1,), "float32")) + b"\x01",
    "large chunks": chunked({"0": 10**12}, {"0": packed((1,), "float32")}),
    "text in chunks": chunked({"0": "x"}, {"0": packed((1,), "float32")}),
    "other numbers": chunked({"1": 1}, {"7": packed((1,), "float32")}),
    "no chunks": chunked({}, {}),
    "a number": chunked(3, {}),
    "a list": msgpack.packb({"params": [1, 2]}),
    "line break": msgpack.packb({"params": {"a\nb": packed((1,), "float32")}}),
    "optimizer": msgpack.packb({"optimizer": {"target": packed((1,), "float32")}, "b": 1}),
}


@pytest.mark.parametrize("kind", MSGPACK)
def test_msgpack(kind, tmp_path):
    refused(readers.read, file_of(tmp_path, MSGPACK[kind]))


# --- pickles --------------------------------------------------------------------------------------


def tuples(levels=40, each=10):
    """Tuples of tuples, which take forever to hash."""
    made = b"(K\x01K\x02t"
    for i in range(levels):
        made += b"q" + bytes([i]) + b"(" + (b"h" + bytes([i])) * each + b"t"
    return made


BOMBS = {
    "key": b"\x80\x02}" + tuples() + b"K\x01s.",
    "set": b"\x80\x04\x8f(" + tuples() + b"\x90.",
    "index": b"\x80\x02}r\xff\xff\xff\xff.",
    "text index": b"\x80\x02}p99999999999\n.",
    "deep key": b"\x80\x02})" + b"\x85" * 300_000 + b"K\x01s.",
    "long number": b"\x80\x02\x8b\xff\xff\xff\x7fabc.",
    "long bytes": b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.",
    "long text": b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f.",
    "long bytearray": b"\x80\x05\x96" + b"\xff" * 7 + b"\x7f.",
    "nothing on the stack": b"\x80\x02.",
    "no mark": b"\x80\x02K\x01t.",
    "a mark as value": b"\x80\x02(K\x01\x86.",
    "unknown opcode": b"\x80\x02\xff.",
}
CODE = {
    "global": b"\x80\x02cos\nsystem\n(X\x02\x00\x00\x00lstR.",
    "stack": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R.",
    "inst": b"\x80\x02(X\x02\x00\x00\x00lsios\nsystem\n.",
    "obj": b"\x80\x02(cbuiltins\neval\nX\x01\x00\x00\x001o.",
    "extension": b"\x80\x02\x82\x01.",
    "storage": b"\x80\x02(X\x07\x00\x00\x00storageK\x01K\x02K\x03K\x04tQ.",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_pickles_are_counted_before_they_are_read(kind, tmp_path):
    with pytest.raises(ValueError):
        pickles.check(io.BytesIO(BOMBS[kind]))
    refused(readers.read, file_of(tmp_path, BOMBS[kind]))


@pytest.mark.parametrize("kind", CODE)
def test_pickles_run_no_code(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("code was run"))
    refused(readers.read, file_of(tmp_path, CODE[kind]))


@pytest.mark.parametrize("value", [{}, [], None, 3, {"ema": 3}, {"ema": {}}, {(1, 2): 3}])
def test_pickles_without_a_network(value, tmp_path):
    refused(readers.read, file_of(tmp_path, pickle.dumps(value)))


def states():
    """Attributes of a network in an EDM pickle, none of which is a network's."""
    deep, wide, laughs = {}, {"_parameters": {}}, [1]
    for _ in range(50):
        deep = {"_modules": {"a": test_edm.persistent("Layer", deep)}}
    for _ in range(18):  # the pickle holds each once, as a tree they are 4^18
        wide = {"_modules": {name: test_edm.persistent("Layer", wide) for name in "abcd"}}
    for _ in range(40):
        laughs = [laughs] * 10
    ones = np.ones(3, np.float32)
    view = (test_edm.storage(ones), 0, (10**6, 10**6), (0, 0), False, {})
    short = test_edm.storage(ones, count=-1)
    known = {"_parameters": {"w": test_edm.tensor(ones)}}
    return {
        "deep": deep,
        "wide": wide,
        "laughs": {**known, "_init_kwargs": {"a": laughs}},
        "expanded": {"_parameters": {"w": test_edm.Call(test_edm.REBUILD, view)}},
        "negative": {"_parameters": {"w": test_edm.Call(test_edm.REBUILD, (short, *view[1:]))}},
        "no modules": {**known, "_modules": [1]},
        "no parameters": {"_parameters": 3},
        "no tensor": {"_parameters": {"w": 3}},
        "number as name": {"_parameters": {3: test_edm.tensor(ones)}},
        "line break": {"_parameters": {"a\nb": test_edm.tensor(ones)}},
        "arguments": {**known, "_init_args": (1, 2)},
        "arguments of numbers": {**known, "_init_kwargs": {3: 4}},
        "no arguments": {**known, "_init_kwargs": 3},
        "nothing": {},
    }


@pytest.mark.parametrize("kind", states())
def test_networks_of_edm(kind, tmp_path):
    with (tmp_path / "hostile").open("wb") as file:
        pickler = test_edm.Pickler(file, 4)
        pickler.dump({"ema": test_edm.persistent("EDMPrecond", states()[kind])})
    refused(readers.read, tmp_path / "hostile")


def test_ordinary_pickles_pass():
    state = {"a": [1, (2, 3), {"b": {4}}], "c": "text", "d": 2.5, "e": b"1" * 1000, "f": (1,) * 500}
    for protocol in range(6):
        stream = io.BytesIO(pickle.dumps(state, protocol) + b"rest")
        pickles.check(stream)
        assert stream.read() == b"rest"


# --- torch ----------------------------------------------------------------------------------------


def zipped(method=zipfile.ZIP_STORED, **members):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, content in {"data.pkl": b"\x80\x02}.", "version": b"3\n", **members}.items():
            archive.writestr(f"archive/{name}", content)
    return data.getvalue()


@pytest.mark.parametrize("kind", BOMBS)
def test_pickles_of_torch(kind, tmp_path):
    pytest.importorskip("torch")
    refused(readers.read, file_of(tmp_path, zipped(**{"data.pkl": BOMBS[kind]})))


def test_zips_of_torch_are_stored(tmp_path):
    pytest.importorskip("torch")
    big = zipped(zipfile.ZIP_DEFLATED, **{"data/0": bytes(10**8)})
    assert "compressed" in refused(readers.read, file_of(tmp_path, big))


def strange_tensors(torch):
    ones = torch.ones(3)
    return {
        "expanded": {"w": torch.zeros(1).expand(10**5, 10**5)},
        "no strides": {"w": torch.zeros(10).as_strided((10**5, 10**5), (0, 0))},
        "overlap": {"w": torch.zeros(100).as_strided((50, 50), (1, 1))},
        "meta": {"w": torch.empty(10**6, 10**6, device="meta")},
        "sparse": {"w": torch.eye(3).to_sparse()},
        "complex": {"w": torch.zeros(3, dtype=torch.complex64)},
        "float8": {"w": ones.to(torch.float8_e4m3fn)},
        "a tensor": ones,
        "averages are a tensor": {"model": {"a": ones}, "ema": ones},
        "averages are a number": {"model": {"a": ones}, "ema": 0.99},
        "averages are a list": {"model": {"a": ones}, "ema": [1, 2]},
        "other averages": {"model": {"a": ones}, "ema": {"b": ones}},
        "other shapes": {"model": {"a": ones}, "ema": {"shadow_params": [torch.ones(2)]}},
        "a line break": {"a\nb": ones},
        "a long name": {"a" * 10**5: ones},
        "a large number": {"input_blocks.99999999999.0.weight": ones},
        "many axes": {"w": torch.ones((1,) * 7)},
        "nothing": {},
        "a number": 3,
    }


@pytest.mark.parametrize("old", [False, True])
def test_strange_tensors_of_torch(old, tmp_path):
    torch = pytest.importorskip("torch")
    for content in strange_tensors(torch).values():
        torch.save(content, tmp_path / "hostile", _use_new_zipfile_serialization=not old)
        refused(readers.read, tmp_path / "hostile")


def test_storages_that_are_shorter_than_they_claim(tmp_path):
    torch = pytest.importorskip("torch")
    whole, short = io.BytesIO(), io.BytesIO()
    torch.save({"a": torch.ones(8), "b": torch.ones(4)}, whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(short, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data[:4] if "/data/" in name else data)
    assert "bytes" in refused(readers.read, file_of(tmp_path, short.getvalue()))


def test_one_rule_for_storages():
    """Against numpy: a view is allowed where it holds no element twice and ends in its storage."""
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(500):
        shape, stride = rng.integers(1, 4, 2).tolist(), rng.integers(-1, 5, 2).tolist()
        offset = int(rng.integers(0, 4))
        places = [offset + i * stride[0] + j * stride[1] for i in range(shape[0])
                  for j in range(shape[1])]  # fmt: skip
        inside = min(places) >= 0 and max(places) < 12
        allowed = min(stride) >= 0 and inside and len(places) <= 12
        seen.add(allowed)
        if allowed:
            tensors.check_storage(shape, stride, offset, 12, "a")
        else:
            with pytest.raises(ValueError, match="storage has 12"):
                tensors.check_storage(shape, stride, offset, 12, "a")
    assert seen == {True, False}


# --- flips and cuts -------------------------------------------------------------------------------


def real_files():
    named = {f"w.{i}": np.full((4, 4), i, np.float32) for i in range(5)}
    flax = {"params": {n: packed((4, 4), "float32", a.tobytes()) for n, a in named.items()}}
    return {"safetensors": save(named), "msgpack": msgpack.packb(flax)}


@pytest.mark.parametrize("kind", real_files())
def test_flips_and_cuts_are_refused_or_harmless(kind, tmp_path):
    whole, rng = real_files()[kind], np.random.default_rng(0)
    for _ in range(150):
        data = bytearray(whole[: rng.integers(len(whole))] if rng.random() < 0.3 else whole)
        for _ in range(rng.integers(1, 4)):
            if data:
                data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            found = readers.read(file_of(tmp_path, bytes(data)))
            assert sum(a.nbytes for a in found.tensors.values()) <= len(data)
        except ValueError as error:
            assert str(error).startswith("source: ") and "\n" not in str(error)


# --- our own folders ------------------------------------------------------------------------------


@pytest.fixture
def prior(tmp_path):
    shutil.copytree(tiny_prior(), tmp_path / "prior")
    return tmp_path / "prior"


def damages(rng):
    return {
        "removed": lambda path: path.unlink(),
        "empty": lambda path: path.write_bytes(b""),
        "junk": lambda path: path.write_bytes(rng.bytes(300)),
        "deep": lambda path: path.write_bytes(b"[" * 100_000),
        "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        "zeros": lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
        "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
        "outside": lambda path: (path.unlink(), path.symlink_to("/etc/passwd")),
        "folder": lambda path: (path.unlink(), path.mkdir()),
    }


def test_damaged_folders_of_weights(prior, tmp_path, capfd):
    rng = np.random.default_rng(0)
    wanted = store.digest(tiny_params())
    for file in sorted(p.relative_to(prior) for p in prior.rglob("params/**/*") if p.is_file()):
        for damage in damages(rng).values():
            shutil.rmtree(tmp_path / "bad", ignore_errors=True)
            shutil.copytree(prior, tmp_path / "bad")
            damage(tmp_path / "bad" / file)
            try:  # an older node, or orbax's own notes
                assert store.digest(load.load_prior(tmp_path / "bad").params) == wanted
            except ValueError as error:
                assert str(error).startswith("prior: ") and "\n" not in str(error)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("value", [None, 3, [], {}, "x", {"a": 1}, {"a": {"key_metadata": 3}}])
def test_metadata_of_weights(prior, value):
    file = prior / "params" / "_METADATA"
    file.write_text(json.dumps({**json.loads(file.read_text()), "tree_metadata": value}))
    refused(load.load_prior, prior, starts="prior: ")


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a/b", "", "..", "a\0b", 3, None])
def test_names_of_weights_are_no_paths(prior, name):
    file = prior / "params" / "_METADATA"
    found = json.loads(file.read_text())
    first = next(iter(found["tree_metadata"].values()))
    first["key_metadata"][0]["key"] = name
    file.write_text(json.dumps(found))
    assert "tensor in _METADATA" in refused(load.load_prior, prior, starts="prior: ")


def test_a_database_that_names_files_elsewhere(prior):
    """The nodes are those of a database that was moved below another folder."""
    params, secret = prior / "params", prior / "secret"
    shutil.move(params / "ocdbt.process_0", secret)
    (params / "ocdbt.process_0").symlink_to(secret)
    refused(load.load_prior, prior, starts="prior: ")
    (params / "ocdbt.process_0").unlink()
    assert "no file in it" in refused(load.load_prior, prior, starts="prior: ")


def test_shapes_claim_what_is_on_disk(tmp_path):
    import tensorstore as ts

    params = tmp_path / "params"
    params.mkdir()
    keys = [{"key": "w", "key_type": 2}]
    entries = {"('w',)": {"key_metadata": keys, "value_metadata": {"value_type": "np.ndarray"}}}
    (params / "_METADATA").write_text(json.dumps({"tree_metadata": entries, "use_zarr3": False}))
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": f"{params}/w/"}}
    ts.open(spec, create=True, dtype=ts.float32, shape=[10**12]).result()
    shapes = {"w": np.broadcast_to(np.float32(0), (10**12,))}
    assert "claim" in refused(store.load, tmp_path, shapes, starts="prior: ")


def block(size, kind, content=b"", last=False):
    """A block of zstandard: kind 0 is raw, 1 one byte many times, 2 compressed."""
    return (last | kind << 1 | size << 3).to_bytes(3, "little") + content


def zstd(*blocks):
    """A frame of zstandard with a window of 128 KiB."""
    return b"\x28\xb5\x2f\xfd\x00\x38" + b"".join(blocks)


def repeated(times):
    """A frame of `times` * 128 KiB zeros in 4 bytes each."""
    zeros = [block(2**17, 1, b"\0") for _ in range(times - 1)]
    return zstd(*zeros, block(2**17, 1, b"\0", last=True))


def test_the_size_of_zstandard_data_is_their_content_or_more(tmp_path):
    """Against tensorstore, which has the compressor."""
    import tensorstore as ts

    for i, size in enumerate((0, 1, 1000, 2**17, 2**17 + 1, 10**6)):
        for a in (np.zeros(size, np.uint8), np.random.default_rng(0).bytes(size)):
            metadata = {"compressor": {"id": "zstd", "level": 1}, "chunks": [max(size, 1)]}
            place = {"driver": "file", "path": f"{tmp_path}/{i}{type(a).__name__}/"}
            spec = {"driver": "zarr", "kvstore": place, "metadata": metadata}
            options = {"store_data_equal_to_fill_value": True}
            stored = ts.open(spec | options, create=True, dtype=ts.uint8, shape=[size]).result()
            stored.write(np.frombuffer(a, np.uint8)).result()
            for key in stored.kvstore.list().result():
                if key == b"0":
                    found = zstd_size.expanded(stored.kvstore.read(key).result().value)
                    assert size <= found <= size + 2**17
    assert zstd_size.expanded(repeated(1000)) == 1000 * 2**17
    assert zstd_size.expanded(b"\x50\x2a\x4d\x18\x03\0\0\0abc" + repeated(1)) == 2**17
    for bad in (b"a", b"abcd", repeated(3)[:-1], repeated(3)[:7], zstd(), zstd(block(5, 0, b"a"))):
        with pytest.raises(ValueError, match="zstandard data are"):
            zstd_size.expanded(bad)


def folder_of(params, metadata, chunk, shape=(4,), key="0"):
    """An orbax folder of one tensor "w" without a database."""
    keys = [{"key": "w", "key_type": 2}]
    value = {"value_type": "np.ndarray", "skip_deserialize": False}
    entries = {"('w',)": {"key_metadata": keys, "value_metadata": value}}
    (params / "w").mkdir(parents=True)
    (params / "_METADATA").write_text(json.dumps({"tree_metadata": entries, "use_zarr3": False}))
    zarray = {"zarr_format": 2, "shape": shape, "chunks": shape, "dtype": "<f4", "order": "C"}
    zarray |= {"compressor": {"id": "zstd", "level": 1}, "fill_value": None, "filters": None}
    (params / "w" / ".zarray").write_text(json.dumps(zarray | metadata))
    (params / "w" / key).write_bytes(chunk)
    return {"w": np.zeros(shape, np.float32)}


GOOD = zstd(block(16, 0, np.arange(4, dtype=np.float32).tobytes(), last=True))
CHUNKS = {
    "bomb": ({}, repeated(100_000)),
    "bombs in a row": ({}, repeated(50_000) + repeated(50_000)),
    "compressed bomb": ({}, zstd(*[block(1, 2, b"\0")] * 100_000, block(0, 0, last=True))),
    "cut off": ({}, GOOD[:-1]),
    "larger file": ({"compressor": None}, bytes(10**8)),
    "blosc": ({"compressor": {"id": "blosc"}}, GOOD),
    "zlib": ({"compressor": {"id": "zlib", "level": 1}}, GOOD),
    "bz2": ({"compressor": {"id": "bz2", "level": 1}}, GOOD),
    "large chunk": ({"chunks": [2**31]}, repeated(65536)),
    "no chunk": ({"chunks": [0]}, GOOD),
    "complex": ({"dtype": "<c8"}, GOOD),
    "texts": ({"dtype": "|S4"}, GOOD),
    "flags": ({"dtype": "|b1"}, GOOD),
    "large description": ({"a": "b" * 10**6}, GOOD),
}


@pytest.mark.parametrize("kind", CHUNKS)
def test_chunks_expand_to_their_tensors(kind, tmp_path):
    shapes = folder_of(tmp_path / "params", *CHUNKS[kind])
    refused(store.load, tmp_path, shapes, starts="prior: ")


def test_chunks_are_few(tmp_path):
    shapes = folder_of(tmp_path / "params", {"chunks": [1]}, GOOD, shape=(2**25,))
    assert "chunks" in refused(store.load, tmp_path, shapes, starts="prior: ")


def test_an_ordinary_chunk_is_read(tmp_path):
    shapes = folder_of(tmp_path / "params", {}, GOOD)
    assert store.load(tmp_path, shapes)["w"].tolist() == [0, 1, 2, 3]


def node_of(content, version=b"\0", compression=b"\1", magic=b"\x0c\xdb\x3a\x2a"):
    size = 4 + 8 + 2 + len(content) + 4
    return magic + size.to_bytes(8, "little") + version + compression + content + bytes(4)


@pytest.mark.parametrize(
    "node",
    [
        node_of(repeated(100_000)),
        node_of(repeated(1), version=b"\x80\0"),
        node_of(repeated(1), compression=b"\2"),
        node_of(b"abc"),
        node_of(b""),
        b"",
        b"\x0c",
    ],
    ids=range(7),
)
def test_nodes_of_the_database_expand_to_little(node, prior):
    (prior / "params" / "manifest.ocdbt").write_bytes(node)
    refused(load.load_prior, prior, starts="prior: ")


@pytest.mark.parametrize("key", [b"all_modules.0.W/0", b"all_modules.0.W/.zarray"])
def test_values_of_a_database_expand_to_their_tensors(key, prior):
    import tensorstore as ts

    place = {"driver": "file", "path": f"{prior}/params/"}
    data = ts.KvStore.open({"driver": "ocdbt", "base": place}).result()
    data.write(key, repeated(100_000)).result()
    assert "bytes" in refused(load.load_prior, prior, starts="prior: ")


@pytest.mark.parametrize("name", ["_sharding", "_CHECKPOINT_METADATA", "manifest.ocdbt", "x/y"])
def test_large_descriptions_are_not_read(name, prior):
    file = prior / "params" / name
    file.parent.mkdir(exist_ok=True)
    with open(file, "wb") as stream:
        stream.truncate(2**40)
    assert "bytes" in refused(load.load_prior, prior, starts="prior: ")


# --- configurations -------------------------------------------------------------------------------

BAD = (None, -1, 10**9, 10**30, 1.5, "x", [], {}, [[1]], [10**9], ["x"] * 4, [1] * 10**5, 1e308)
CONFIGS = {
    "ncsnpp": {"image_size": 16, "nf": 8, "ch_mult": [1, 1], "num_res_blocks": 1},
    "ddpm_unet": {"image_size": 16, "ch": 32, "ch_mult": [1, 1], "num_res_blocks": 1},
    "unet2d": {"block_out_channels": [32], "down_block_types": ["DownBlock2D"]}
    | {"up_block_types": ["UpBlock2D"], "layers_per_block": 1, "sample_size": 16},
    "edm_song": {"img_resolution": 16, "model_channels": 8, "channel_mult": [1], "num_blocks": 1},
    "edm_dhariwal": {"img_resolution": 16, "model_channels": 64, "channel_mult": [1]},
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_fields_of_networks(kind):
    network(NETS[kind], CONFIGS[kind])
    for field in CONFIGS[kind]:
        for bad in BAD:
            values = {**CONFIGS[kind], field: bad}
            try:
                network(NETS[kind], values)
            except ValueError as error:
                assert "\n" not in str(error) and len(str(error)) < 500
            else:  # what a field allows: no attention, no size, a default
                assert bad is None or bad == [] or isinstance(bad, float)


@pytest.mark.parametrize("field", ["ch_mult", "num_res_blocks", "nf"])
def test_large_networks_are_refused_before_they_are_built(field):
    large = {"ch_mult": [2**20] * 32, "num_res_blocks": 128, "nf": 2**20}
    values = {**CONFIGS["ncsnpp"], "ch_mult": [2**10] * 30, field: large[field]}
    assert "config: " in refused(network, NETS["ncsnpp"], values, starts="network")


def test_values_of_released_networks_are_allowed():
    values = {"image_size": 64, "model_channels": 32, "out_channels": 6, "num_res_blocks": 1}
    values |= {"attention_resolutions": [], "channel_mult": [1, 1.5], "num_head_channels": -1}
    made = ADMConfig.from_mapping(values)
    assert made.channel_mult == (1, 1.5) and made.attention_resolutions == ()


@pytest.mark.parametrize("field", averages.FIELDS)
def test_fields_of_averages(field, tmp_path):
    for bad in (-1, "x", [], {}, 1e300):
        refused(averages.check, {field: bad}, tmp_path / "config.json")
    averages.check({field: 0.5}, tmp_path / "config.json")


@pytest.mark.parametrize(
    "name",
    ["../..", "a/..", "a", "a/b/c", "a/b@", "a/b@../x", "a/b@/etc", "a/b@-x", "a\0/b", "a /b", "/b"]
    + ["a/b@" + "x" * 300, "a" * 200 + "/b", "a/b@x@y", "a/b@x..y", "\u00e4/b", "-a/b", "a/b\n"],
)
def test_names_on_a_hub(name):
    assert "must be hf:owner/name" in refused(hub.local, f"hf:{name}")


def test_sources_with_names_that_no_file_has(tmp_path):
    for name in ("a\0b", "a" * 300, "\udcff", "a/" * 300):
        refused(readers.read, tmp_path / name)
