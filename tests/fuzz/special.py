"""Files that are not regular, in the place of every text field of every config."""

import functools
import importlib
import os
import pkgutil
import socket
from pathlib import Path

from ml_collections import ConfigDict

from fuzz.case import EXACT, FEW, PHOTO, Case, kind, program

CONFIGS = "sdedit_jax.configs"
WRITTEN = ("publish", "cache")
"""Fields with folders that are written: they get links alone, never devices by their names."""
SKIPPED = ("web.host", "web.password", "cluster.coordinator", "cluster.use")
PROMPTS = ("prompt", "negative_prompt", "source_prompt", "concepts")


@functools.cache
def configs():
    """The configs by name."""
    package = importlib.import_module(CONFIGS)
    names = [one.name for one in pkgutil.iter_modules(package.__path__) if one.name != "base"]
    found = {}
    for name in names:
        module = importlib.import_module(f"{CONFIGS}.{name}")
        if hasattr(module, "get_config"):
            found[name] = module.get_config()
    return found


def fields(config, start=""):
    """(dotted name, value) of the fields of a config."""
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from fields(value, f"{start}{name}.")
        else:
            yield f"{start}{name}", value


def mode_of(name):
    """The mode that a config is for."""
    start = name.partition("_")[0]
    return start if start in ("train", "evaluate", "measure", "convert") else "edit"


TEXT = FEW | {"prior": "stock/text", "input": PHOTO}
TRAIN = {"data__source": "stock/photos", "data__split": "a", "data__held_out": "b", "cache": ""}
TRAIN |= {"run__steps": 1, "run__batch": 2, "run__held_out": 2}


def with_prompts(name, file, words):
    """An edit by a config that reads prompts from a file."""
    fields = TEXT | {"prompts": file}
    fields |= {"steps": 2} if name == "ledits" else {"sampler__steps": 2}
    return Case(program("edit", name, **fields), (), words)


def base_fields(name, mode=""):
    """Few and small steps for a config."""
    mode = mode or mode_of(name)
    config = configs()[name]
    if mode == "train":
        small = {"net__image_size": 16, "net__nf": 8, "net__ch_mult": "(1,1)"}
        small |= {"net__attn_resolutions": "()"}
        given = TRAIN | (small if name in ("train", "train_flowers") else {})
        return given | (
            {"net__num_classes": 2, "data__split": ""} if name == "train_flowers" else {}
        )
    if mode == "convert":
        return {"source": "stock/tiny.msgpack", "architecture": "stock/arch.json", "cache": ""}
    if mode == "measure":
        return {"a": "stock/photos/a", "b": "stock/photos/b", "features__prior": "", "cache": ""}
    if "method" in config:
        base = TEXT | {"steps": 2, "concepts": "+red:5"}
    elif name == "img2img":
        base = TEXT | {"sampler__steps": 2, "prompt": "red"}
    else:
        base = EXACT | {"input": PHOTO}
    if mode == "evaluate":
        base |= {"features__prior": "", "input": "stock/photos", "samples": 1}
    elif mode == "replay":
        return {"input": "stock/edited/photo_0.png"}
    elif mode == "calibrate":
        return {"prior": "stock/exact", "cache": ""}
    if mode in ("sweep", "search"):
        base = {field: value for field, value in base.items() if field != "samples"}
    return base


def strings(name):
    """The fields of a config that hold a text, without those that never are a path."""
    return [
        field
        for field, value in fields(configs()[name])
        if isinstance(value, str)
        and field not in SKIPPED
        and field not in PROMPTS
        and not field.startswith("example")
    ]


def odd(rng, written=False):
    """The name of a file that is not regular, laid down if needed."""
    if written or rng.chance(0.7):
        return rng.choice(MADE)()
    return rng.choice(SYSTEM)


SYSTEM = ("/dev/zero", "/dev/full", "/dev/stdin", "/dev/random", "/proc/self/mem", "/dev/null")
SYSTEM += ("/proc/self/environ", "/etc", "/", "/proc/self/fd/0", "/dev/fd/0", "/proc/kmsg", "/dev")
SYSTEM += ("//", "~nobody", "/proc/self/root/etc/passwd", "/proc/1/mem", "/**/*", "/dev/tty")


def folder():
    os.mkdir("odd.png")
    return "odd.png"


def pipe():
    os.mkfifo("pipe.png")
    return "pipe.png"


def unix_socket():
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket.png")
    return "socket.png"


def link(name, target):
    os.symlink(target, name)
    return name


def dangling():
    return link("dangling.png", "nowhere")


def loop():
    link("loop2.png", "loop.png")
    return link("loop.png", "loop2.png")


def to_zero():
    return link("zero.png", "/dev/zero")


def to_stdin():
    return link("stdin.png", "/dev/stdin")


def outside():
    return link("outside.png", "/etc/passwd")


def up():
    return link("up.png", "..")


def own():
    os.mkdir("own")
    link("own/own", ".")
    return "own"


def sparse():
    with open("sparse.png", "wb") as file:
        file.truncate(2**40)
    return "sparse.png"


def large():
    with open("large.png", "wb") as file:
        file.write(Path(PHOTO).read_bytes())
        file.truncate(5 * 2**30)
    return "large.png"


def void():
    Path("empty.png").touch()
    return "empty.png"


def closed():
    Path("closed.png").write_bytes(Path(PHOTO).read_bytes())
    os.chmod("closed.png", 0)
    return "closed.png"


def inside_file():
    Path("file").write_text("x")
    return "file/within.png"


def long_name():
    return "x" * 300 + ".png"


def long_path():
    return "a/" * 1500 + "x.png"


def no_text():
    Path(os.fsdecode(b"name\xff.png")).write_bytes(b"")
    return os.fsdecode(b"name\xff.png")


def full_of_odd():
    """A folder that holds odd files."""
    os.mkdir("mixed")
    os.mkfifo("mixed/pipe.png")
    link("mixed/zero.png", "/dev/zero")
    link("mixed/gone.png", "nowhere")
    os.mkdir("mixed/folder.png")
    return "mixed"


MADE = (folder, pipe, unix_socket, dangling, loop, to_zero, to_stdin, outside, up, own, sparse)
MADE += (large, void, closed, inside_file, long_name, long_path, no_text, full_of_odd)


@kind
def special_files(rng):
    """In each text field of each config."""
    name = rng.choice(configs())
    known = dict(fields(configs()[name]))
    likely = [f for f in strings(name) if not known[f] or "/" in known[f]]
    field = rng.choice(likely if likely and rng.chance(0.8) else strings(name))
    path = odd(rng, field in WRITTEN)
    mode = mode_of(name)
    if mode == "edit" and name != "ledits" and field in ("input", "prior") and rng.chance(0.3):
        mode = rng.choice(("replay", "calibrate"))
    given = base_fields(name, mode) | {field: path}
    workdir = {"calibrate": "", "convert": "./out/prior"}.get(mode, "out")
    argv = program(mode, name, workdir, **given)
    return Case(argv, (), f"{field}={path[:40]}")


@kind
def special_flags(rng):
    """As config file, flag file or workdir."""
    path = odd(rng, True)
    flag = rng.choice(("config", "flagfile", "workdir", "workdir", "mode"))
    argv = program("edit", "strokes", **(EXACT | {"input": PHOTO}))
    argv = [one for one in argv if not one.startswith(f"--{flag}=")]
    writes = (path,) if flag == "workdir" else ()
    return Case([*argv, f"--{flag}={path}"], (), f"--{flag}={path[:40]}", writes)


INSIDE = ("exact/prior.json", "exact/known.png", "tiny/prior.json", "tiny/params/_METADATA")
INSIDE += ("tiny/params/manifest.ocdbt", "tiny/params/_sharding", "edited/record.json")
INSIDE += ("text/tokenizer/vocab.json", "text/tokenizer/merges.txt", "text_source/unet/config.json")
INSIDE += ("text_source/model_index.json", "text_source/vae/diffusion_pytorch_model.safetensors")
INSIDE += ("text_source/scheduler/scheduler_config.json", "text_source/tokenizer/vocab.json")
INSIDE += ("unet2d/config.json", "captioned/captions.csv", "captioned/metadata.jsonl")


@kind
def special_inside(rng):
    """In the place of a file inside a folder that is read."""
    from fuzz.folders import argv_for, copied

    name = rng.choice(INSIDE)
    top, _, inner = name.partition("/")
    copied(top)
    path = odd(rng)
    target = Path(top, inner)
    if target.is_dir():
        target.rename("aside")
    else:
        target.unlink(missing_ok=True)
    target.symlink_to(path if path.startswith(("/", "~")) else Path.cwd() / path)
    return Case(argv_for(rng, top), (), f"{name} -> {path[:40]}")
