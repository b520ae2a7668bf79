"""Files of weights: torch's two formats, EDM's pickles, safetensors, msgpack, orbax, diffusers."""

import json
import os
import pickletools
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np

from fuzz import torch_files
from fuzz.case import Case, edit, kind, program
from fuzz.execute import MARK
from fuzz.folders import argv_for, copied
from fuzz.mutate import EXTREMES, damaged, json_bytes
from fuzz.special import base_fields
from fuzz.torch_files import Call, Name, Outside, Raw, tensor


def convert(rng, data, name, note):
    """A conversion of the file; or it is given as weights of a measure."""
    Path(name).write_bytes(data)
    fields = {"source": name, "architecture": "stock/arch.json"}
    if rng.chance(0.2):
        fields = {"source": name}
    argv = program("convert", "convert", "./out/prior", **fields, check=False, cache="")
    if rng.chance(0.2):
        field = rng.choice(("features__inception", "features__lpips_alex", "features__lpips_vgg"))
        fields = base_fields("measure") | {field: name, "features__lpips_heads": "stock/lpips"}
        argv = program("measure", "measure", **fields)
    return Case(argv, (name, "source", "architecture", "features"), note)


# --- torch ----------------------------------------------------------------------------------------

HOSTILE_CALLS = (
    *(("os", "system"), ("posix", "system"), ("builtins", "exec"), ("builtins", "eval")),
    *(("builtins", "open"), ("subprocess", "Popen"), ("torch", "load"), ("builtins", "getattr")),
    *(("torch.storage", "_load_from_bytes"), ("numpy", "load"), ("pickle", "loads")),
    *(("torch.hub", "load"), ("shutil", "rmtree"), ("pathlib", "Path"), ("collections", "Counter")),
    *(("torch._utils", "_rebuild_tensor"), ("torch", "Size"), ("builtins", "bytearray")),
    *(("_codecs", "encode"), ("numpy.core.multiarray", "_reconstruct"), ("operator", "attrgetter")),
)


def call(rng):
    """A call that would write the marker file, or use all memory."""
    name = Name(*rng.choice(HOSTILE_CALLS))
    texts = (f"touch {MARK}", f"open('{MARK}', 'w')", f"{MARK}", 10**12)
    arguments = (rng.choice(texts), *rng.choice(((), ("w",))))
    return Call(name, arguments)


def bomb(rng):
    """Opcodes that use much: depth, memo doubling, long texts that are not there."""
    how = rng.choice(("depth", "doubling", "length", "memo", "tuples", "long", "frame", "dup"))
    made = {
        "depth": b"(" * 100_000 + b"N" + b"t" * 100_000,
        "doubling": b"]q\0" + b"(h\0h\0lq\0" * 60,
        "length": b"\x8e" + struct.pack("<Q", 2**62),
        "memo": b"Nr" + struct.pack("<I", 2**32 - 1),
        "tuples": b"N" + b"\x86" * 3 if rng.chance(0.5) else b"N" + b"\x85" * 200_000,
        "long": b"\x8b" + struct.pack("<i", 2**31 - 1),
        "frame": b"\x95" + struct.pack("<Q", 2**63 - 1) + b"N",
        "dup": b"X\x04\0\0\0aaaa" + b"2\x86" * 60,
    }
    return Raw(made[how]), how


def odd_tensor(rng, size):
    """A tensor that claims what its storage of `size` floats lacks, and words."""
    n = rng.choice((*EXTREMES, -1, size, size + 1, 10**9, 10**20))
    how = rng.choice(
        (
            "shape",
            "stride",
            "offset",
            "count",
            "rank",
            "zero stride",
            "zeros",
            "type",
            "sparse",
            "key",
            "bits",
            "quantized",
            "meta",
            "parameter",
        )
    )
    made = {
        "shape": lambda: tensor("0", (n,), (1,), count=size),
        "stride": lambda: tensor("0", (4, 4), (n, 1), count=size),
        "offset": lambda: tensor("0", (4,), (1,), n, size),
        "count": lambda: tensor("0", (4,), (1,), count=n),
        "rank": lambda: tensor("0", (2,) * 70, (1,) * rng.choice((70, 3)), count=size),
        "zero stride": lambda: tensor("0", (60_000, 60_000), (0, 0), count=size),
        "zeros": lambda: tensor("0", (0, 10**12), (10**12, 1), count=size),
        "type": lambda: tensor("0", (4,), count=size, kind=rng.choice(TYPES)),
        "key": lambda: tensor(rng.choice(("1", "../0", "", 0, None, "x" * 10**5)), (4,)),
        "bits": lambda: tensor("0", (4,), count=size, rest=({"conj": True, "neg": True},)),
    }  # fmt: skip
    if how in made:
        return made[how](), f"{how} {n}"
    storage = Outside(("storage", Name("torch", "FloatStorage"), "0", "cpu", size))
    function = {
        "sparse": ("_rebuild_sparse_tensor", (Name("torch", "sparse_coo"), (storage, storage))),
        "quantized": ("_rebuild_qtensor", (storage, 0, (4,), (1,), (1.0, 0), False, {})),
        "meta": ("_rebuild_meta_tensor_no_storage", (Name("torch", "float32"), (4,), (1,), False)),
        "parameter": ("_rebuild_parameter", (rng.choice((None, "x", [])), False, {})),
    }[how]
    return Call(Name("torch._utils", function[0]), function[1]), how


TYPES = ("QInt8Storage", "ComplexFloatStorage", "BoolStorage", "UntypedStorage", "Nothing", "nn")
TYPES += ("BFloat16Storage", "ByteStorage", "LongStorage", "FloatTensor", "DoubleStorage")
KEYS = (
    "module.all_modules.99999999999.weight",
    "blocks.-1.weight",
    "a" * 10**5,
    "",
    ".",
    "x\0y",
    5,
)
KEYS += (
    "input_blocks.99999999999.0.weight",
    "model.diffusion_model.x",
    "down.0.block.9999.w",
    None,
)
KEYS += (
    "a.b.c." * 1000,
    "\ud800",
    "module.",
    "_orig_mod.module.",
    "all_modules.1e9.W",
    "a/b",
    "é\n",
)


def content(rng, size):
    """What a torch file holds, with something hostile in it, and words."""
    good = tensor("0", (min(4, size),), count=size)
    odd, told = odd_tensor(rng, size)
    how = rng.choice(("tensor", "tensor", "tensor", "name", "ema", "call", "bomb", "top", "many"))
    if how == "name":
        key = rng.choice(KEYS)
        return {key: good, "module.all_modules.0.W": good}, f"name {key!r:.40}"
    if how == "ema":
        lists = ([None], [odd] * 3, good)
        made = ({}, [], 5, good, {"x": odd}, *({"shadow_params": one} for one in lists))
        ema = rng.choice(made)
        return {"model": {"module.a": good}, "ema": ema, "step": 1}, "ema"
    if how == "call":
        made = call(rng)
        return rng.choice(({"a": good, "b": made}, made, {"model": {"a": made}})), str(made)[:80]
    if how == "bomb":
        made, more = bomb(rng)
        return rng.choice(({"a": made, "b": good}, made)), more
    if how == "top":
        value = rng.choice(
            (None, 5, "x", [], {}, [good], (good, good), [{}, {}], good, {"state": {}})
        )
        return value, "another object"
    if how == "many":
        return {f"a{i}": good for i in range(50_000)}, "50,000 names for a storage"
    return {"module.all_modules.0.W": good, "module.x": odd}, f"tensor {told}"


@kind
def torch_zip(rng):
    """The zip format: contents, storages that unpack to much, and damaged bytes."""
    how = rng.choice(("bytes", "content", "content", "content", "expanded", "archive"))
    if how == "bytes":
        data, words = damaged(rng, Path("stock/tiny.pth").read_bytes())
    elif how == "expanded":
        count = 3 * 10**8  # 1.2 GB of zeros
        words = "expanded"
        data = expanded(rng, count)
    elif how == "archive":
        data, words = odd_archive(rng)
    else:
        size = rng.choice((4, 16, 1000))
        value, words = content(rng, size)
        floats = np.zeros(size, np.float32).tobytes()
        packing = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        data = torch_files.zipped(torch_files.pickled(value), {"0": floats}, packing)
    return convert(rng, data, rng.choice(("a.pth", "a.pt", "a.ckpt", "a.bin")), words)


def expanded(rng, count):
    """A small file whose storage unpacks to 4 `count` bytes of zeros, or that only claims them."""
    value = {"module.all_modules.0.W": tensor("0", (count,))}
    if rng.chance(0.5):
        floats = np.zeros(1000, np.float32).tobytes()
        return torch_files.zipped(torch_files.pickled(value), {"0": floats}, zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile("made.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/data.pkl", torch_files.pickled(value))
        archive.writestr("archive/version", "3\n")
        with archive.open("archive/data/0", "w") as file:
            for _ in range(count * 4 // 10**7):
                file.write(bytes(10**7))
    data = Path("made.zip").read_bytes()
    Path("made.zip").unlink()
    return data


def odd_archive(rng):
    """An archive without a part of it, or with lies about its files."""
    from fuzz.zips import lying

    value = torch_files.pickled({"module.a": tensor("0", (4,))})
    how = rng.choice(("lies", "lies", "root", "no storage", "short storage", "big endian", "twice"))
    storages = {} if how == "no storage" else {"0": bytes(8 if how == "short storage" else 16)}
    root = rng.choice(("", "..", "/etc", "a/b", "archive")) if how == "root" else "archive"
    data = bytearray(torch_files.zipped(value, storages, root=root))
    if how == "lies":
        how = lying(rng, data)
    elif how == "big endian":
        data = data.replace(b"little", b"bigend")
    elif how == "twice":
        storages |= {"1": value}
        data = bytearray(torch_files.zipped(value, storages)).replace(b"data/1", b"data/0")
    return bytes(data), how


@kind
def torch_legacy(rng):
    """The format before torch 1.6."""
    size = 16
    value, words = content(rng, size)
    storages = {"0": np.zeros(size, np.float32).tobytes()}
    counts = None
    if rng.chance(0.3):
        counts = [rng.choice((0, -1, 2**31, 2**62, size + 1, 10**9))]
        words += f" count {counts[0]}"
    data = torch_files.legacy(value, storages, counts)
    if rng.chance(0.4):
        data, more = damaged(rng, data)
        words += f" {more}"
    return convert(rng, data, "a.pth", words)


# --- EDM ------------------------------------------------------------------------------------------

RECONSTRUCT = Name("torch_utils.persistence", "_reconstruct_persistent_obj")


def persistent(name, state, kind="class"):
    meta = {"type": kind, "version": 6, "module_src": f"open('{MARK}', 'w')"}
    return Call(RECONSTRUCT, (meta | {"class_name": name, "state": state},))


@kind
def edm_pickles(rng):
    """A network of EDM: damaged bytes, odd opcodes, calls, arguments and names."""
    data, words = Path("stock/edm.pkl").read_bytes(), "bytes"
    how = rng.choice(("bytes", "bytes", "opcode", "made", "made"))
    if how == "bytes":
        data, words = damaged(rng, data)
    elif how == "opcode":
        places = [at for _, _, at in pickletools.genops(data)]
        at, code = rng.choice(places), rng.choice(pickletools.opcodes)
        data, words = data[:at] + code.code.encode("latin-1") + data[at + 1 :], code.name
    else:
        state = {"_parameters": {}, "_buffers": {}, "_modules": {}, "_init_args": ()}
        state["_init_kwargs"] = {"img_resolution": 16, "img_channels": 3}
        field = rng.choice(sorted(state))
        made, words = bomb(rng) if rng.chance(0.3) else (call(rng), "call")
        plain = rng.choice(
            (None, 5, [], "x", {"a": 5}, {5: None}, {"model_type": {}}, {"x": 10**30})
        )
        state[field] = rng.choice((made, {"model": made}, plain, plain))
        top = rng.choice(({"ema": persistent("EDMPrecond", state)},) * 4 + ({"ema": made}, made))
        data, words = torch_files.pickled(top), f"{field} {words}"
    return convert(rng, data, "network.pkl", words)


# --- safetensors and msgpack ----------------------------------------------------------------------


def safetensors(header, body, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


@kind
def safetensors_files(rng):
    """Headers that lie about lengths, offsets, shapes and types."""
    header = {"all_modules.0.W": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}
    header["b"] = {"dtype": "F32", "shape": [2, 2], "data_offsets": [16, 32]}
    body, length = bytes(32), None
    how = rng.choice(("header", "header", "length", "offsets", "shape", "dtype", "bytes", "name"))
    words = how
    if how == "header":
        header, words = json_bytes(rng, header)
    elif how == "length":
        length = rng.choice((*EXTREMES, 100_000_001, len(json.dumps(header)) - 1))
        words += f" {length}"
    elif how == "offsets":
        header["b"]["data_offsets"] = rng.choice(
            (
                [0, 16],
                [8, 24],
                [32, 16],
                [-16, 0],
                [16, 2**63],
                [16],
                [16, 32, 48],
                [16.0, 32.0],
                "x",
            )
        )
        words += f" {header['b']['data_offsets']}"
    elif how == "shape":
        header["b"]["shape"] = rng.choice(
            ([2**31, 2**31, 4], [-2, -2], [0, 10**12], [4.0], [[4]], [], [2**64], [1] * 100, None)
        )
        words += f" {header['b']['shape']}"
    elif how == "dtype":
        header["b"]["dtype"] = rng.choice(("F4", "F8_E4M3", "U64", "BOOL", "", 5, "f32", "C64"))
        words += f" {header['b']['dtype']}"
    elif how == "name":
        header[str(rng.choice(KEYS))] = header.pop("b")
    if rng.chance(0.1):
        header = {
            f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(10**5)
        }
    data = safetensors(header, body, length)
    if how == "bytes":
        data, words = damaged(rng, data)
    return convert(rng, data, "a.safetensors", words)


@kind
def msgpack_files(rng):
    """Depth, lengths that lie, extensions of other types, and arrays that claim much."""
    whole = Path("stock/tiny.msgpack").read_bytes()
    how = rng.choice(("bytes", "bytes", "depth", "length", "array", "key", "top"))
    words, start = how, b"\x81\xabparams_ema"
    start = b"\x81" + bytes([0xA0 + 10]) + b"params_ema"
    if how == "bytes":
        data, words = damaged(rng, whole)
    elif how == "depth":
        one = rng.choice((b"\x81\xa1a", b"\x91"))
        data = start + one * rng.choice((600, 100_000, 10**6)) + b"\xc0"
    elif how == "length":
        code = rng.choice((b"\xdf", b"\xdd", b"\xc6", b"\xdb", b"\xc9"))
        data = start + code + struct.pack(">I", rng.choice((2**32 - 1, 2**31, 10**8))) + b"\xa1a"
    elif how == "array":
        shape = rng.choice(((2**31, 2**31), (-1,), (0, 2**40), (4,), (10**6,) * 3))
        facts = b"\x93" + b"\x92" + b"".join(b"\xd3" + struct.pack(">q", n) for n in shape[:2])
        facts = facts if len(shape) > 1 else b"\x93\x91\xd3" + struct.pack(">q", shape[0])
        name = rng.choice((b"float32", b"object", b"O", b"|V99", b"", b"complex64", b"f4,f4"))
        facts += bytes([0xA0 + len(name)]) + name + b"\xc4\x10" + bytes(16)
        code = rng.choice((1, 1, 1, 2, 3, 99, 255))
        data = b"\x81\xa1a\xc8" + struct.pack(">H", len(facts)) + bytes([code]) + facts
        data = start + data
        words += f" {shape} {name} ext {code}"
    elif how == "key":
        data = start + b"\x82" + rng.choice((b"\xc0", b"\x01", b"\x90", b"\xc3", b"\xa0")) * 4
    else:
        data = rng.choice((b"\x80", b"\x81\xa1a\xc0", b"\x90", start + b"\x80", start + b"\xc0"))
    return convert(rng, data, "checkpoint_1", words)


# --- folders --------------------------------------------------------------------------------------


@kind
def orbax_folders(rng):
    """The files of a prior's params/ damaged, removed, or linked elsewhere."""
    top = rng.choice(("tiny", "tiny", "text"))
    copied(top)
    files = sorted(one for one in Path(top).rglob("*") if one.is_file() and "params" in one.parts)
    file = rng.choice(files)
    how = rng.choice(("damage", "damage", "damage", "remove", "zero", "empty", "folder", "swap"))
    words = how
    if how == "damage":
        data, words = damaged(rng, file.read_bytes())
        file.write_bytes(data)
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "swap":
        file.write_bytes(rng.choice(files).read_bytes())
    else:
        file.unlink()
        if how == "zero":
            file.symlink_to(rng.choice(("/dev/zero", "/etc/passwd", "/dev/stdin", "..", file.name)))
        elif how == "folder":
            file.mkdir()
    argv = argv_for(rng, top)
    if rng.chance(0.15):
        shutil.rmtree(Path(top, "params"))
        words += ", all of params removed"
    return Case(argv, (), f"{file}: {words}")


@kind
def orbax_metadata(rng):
    """The JSON files of a prior's params/: each field replaced."""
    copied("tiny")
    names = ("_METADATA", "_CHECKPOINT_METADATA", "_sharding")
    files = [one for name in names for one in Path("tiny/params").rglob(name)]
    file = rng.choice(files)
    data, words = json_bytes(rng, json.loads(file.read_text()))
    file.write_bytes(data)
    return Case(edit(prior="tiny"), (), f"{file.name}: {words}")


LINKS = ("/etc/passwd", "/dev/zero", "/proc/self/environ", "../stock/photo.png", "..", "nowhere")


@kind
def diffusers_folders(rng):
    """Weights of a part damaged; files that are links out of the folder; parts that are missing."""
    top = rng.choice(("text_source", "text_source", "unet2d"))
    copied(top)
    files = sorted(one for one in Path(top).rglob("*") if one.is_file())
    file = rng.choice(files)
    how = rng.choice(("damage", "damage", "link", "remove", "part", "new", "tensor"))
    words = f"{how} {file}"
    if how == "damage":
        data, more = damaged(rng, file.read_bytes())
        file.write_bytes(data)
        words += f" {more}"
    elif how == "link":
        file.unlink()
        file.symlink_to(rng.choice(LINKS))
    elif how == "remove":
        file.unlink()
    elif how == "part":
        shutil.rmtree(
            rng.choice([one for one in Path(top).iterdir() if one.is_dir()] or [file.parent])
        )
    elif how == "new":
        name = rng.choice(("tokenizer/tokenizer.json", "unet/diffusion_pytorch_model.fp16.bin",
                           "tokenizer/added_tokens.json", "unet_ema/config.json"))  # fmt: skip
        new = Path(top, name)
        new.parent.mkdir(exist_ok=True, parents=True)
        new.unlink(missing_ok=True)
        if rng.chance(0.5):
            new.symlink_to(rng.choice(LINKS))
        else:
            new.write_bytes(rng.choice((b"", b"{}", b"[]", b"\0" * 100, b'{"model": null}')))
        words = f"new {name}"
    else:
        weights = rng.choice(sorted(Path(top).rglob("*.safetensors")))
        words = f"{weights} {odd_tensors(rng, weights)}"
    return Case(argv_for(rng, top), (), words)


def odd_tensors(rng, file):
    """Change a tensor of a safetensors file: what was done."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(file)
    name = rng.choice(sorted(tensors))
    a = tensors[name]
    how = rng.choice(("shape", "nan", "huge", "empty", "rank", "name", "type", "channels"))
    if how == "shape":
        tensors[name] = np.repeat(a, 2, axis=0)
    elif how in ("nan", "huge"):
        tensors[name] = np.full_like(a, np.nan if how == "nan" else np.finfo(a.dtype).max)
    elif how == "empty":
        tensors[name] = a[:0]
    elif how == "rank":
        tensors[name] = a.reshape(-1) if a.ndim > 1 else a[None]
    elif how == "name":
        key = rng.choice([key for key in KEYS if isinstance(key, str) and key.isprintable()])
        tensors[key] = tensors.pop(name)
    elif how == "type":
        tensors[name] = np.zeros(a.shape, rng.choice(("int8", "bool", "int64", "float64")))
    else:
        tensors = {n: t[:, :0] if t.ndim == 4 else t for n, t in tensors.items()}
    os.unlink(file)
    save_file({n: np.ascontiguousarray(t) for n, t in tensors.items()}, file)
    return f"{how} {name}"


@kind
def recognition(rng):
    """The weights of LPIPS of a target distance."""
    copied("lpips")
    file = rng.choice(sorted(Path("lpips").iterdir()))
    if rng.chance(0.5):
        data, words = damaged(rng, file.read_bytes())
        file.write_bytes(data)
    else:
        words = odd_tensors(rng, file)
    return Case(argv_for(rng, "lpips"), (), f"{file.name}: {words}")
