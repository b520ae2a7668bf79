"""EDM pickles from the file to the prediction, against NVlabs/edm; and that no file runs code.

The oracle is the original's output on seeded random weights (edm_goldens.py). The pickles are
written here in the layout of the original's, name by name, without torch and without its source.
"""

import functools
import hashlib
import json
import os
import pickle
import struct
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from edm_goldens import CASES, RELEASED, asked, digest, inputs, is_weight, numbers, read_case

from sdedit_jax import registry
from sdedit_jax.nets import edm_blocks as blocks
from sdedit_jax.nets.edm_dhariwal import DhariwalConfig
from sdedit_jax.nets.edm_song import SongConfig
from sdedit_jax.nets.functional import network
from sdedit_jax.priors import adapters
from sdedit_jax.weights import conversion, readers, store
from sdedit_jax.weights.families import edm, family_of
from sdedit_jax.weights.readers import edm_pickle, edm_unpickler
from sdedit_jax.weights.source import Source

FIELDS = ("class_name", "init_kwargs", "model_class", "model_kwargs")

# --- a pickle in the layout of the original's -----------------------------------------------------


class Name(NamedTuple):
    """A class or function by its name."""

    module: str
    name: str

    def __call__(self):
        raise TypeError("only written, never called")


class Call(NamedTuple):
    """The result of a call of `name`, with a state if there is one."""

    name: Name
    args: tuple
    state: object = None


class New(NamedTuple):
    """An object of the class `name` with a state."""

    name: Name
    state: object


class Pickler(pickle._Pickler):
    """Writes `Name`, `Call` and `New` as what they stand for."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_name(self, value):
        self.save(value.module)
        self.save(value.name)
        self.write(pickle.STACK_GLOBAL)

    def save_call(self, value):
        self.save_name(value.name)
        self.save(value.args)
        self.write(pickle.REDUCE)
        self.save_state(value.state)

    def save_new(self, value):
        self.save_name(value.name)
        self.write(pickle.EMPTY_TUPLE + pickle.NEWOBJ)
        self.save_state(value.state)

    def save_state(self, state):
        if state is not None:
            self.save(state)
            self.write(pickle.BUILD)

    dispatch[Name] = save_name
    dispatch[Call] = save_call
    dispatch[New] = save_new


RECONSTRUCT = Name("torch_utils.persistence", "_reconstruct_persistent_obj")
REBUILD = Name("torch._utils", "_rebuild_tensor_v2")
LOAD = Name("torch.storage", "_load_from_bytes")
ORDERED = Name("collections", "OrderedDict")


def storage(a, kind=b"FloatStorage", count=None):
    """A tensor's storage as torch.save wrote it before 1.6."""
    key, count = b"X\x01\x00\x00\x000", a.size if count is None else count
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    head += pickle.dumps({"protocol_version": 1001, "little_endian": True}, 2)
    head += b"\x80\x02(X\x07\x00\x00\x00storagectorch\n" + kind + b"\n"
    head += key + b"X\x03\x00\x00\x00cpu" + b"J" + struct.pack("<i", count) + b"NtQ."
    head += b"\x80\x02]" + key + b"a." + struct.pack("<q", a.size)
    return Call(LOAD, (head + a.tobytes(),))


def tensor(a):
    stride = tuple(n // a.itemsize for n in a.strides)
    return Call(REBUILD, (storage(a), 0, a.shape, stride, False, Call(ORDERED, ())))


def parameter(a):
    name = Name("torch._utils", "_rebuild_parameter")
    return Call(name, (tensor(a), False, Call(ORDERED, ())))


def persistent(class_name, state):
    meta = {"type": "class", "version": 6, "module_src": "raise SystemExit"}
    return Call(RECONSTRUCT, ({**meta, "class_name": class_name, "state": state},))


def module(tree, wrap):
    """A module out of nested dicts of arrays; `wrap` makes it of its state."""
    leaves = {k: v for k, v in tree.items() if not isinstance(v, dict)}
    buffers = {k: tensor(v) for k, v in leaves.items() if not is_weight(k) or k == "freqs"}
    state = {
        "training": False,
        "_parameters": {k: parameter(v) for k, v in leaves.items() if k not in buffers},
        "_buffers": buffers,
        "_non_persistent_buffers_set": set(),
        "_modules": {k: wrapped(k, v) for k, v in tree.items() if isinstance(v, dict)},
    }
    return wrap(state)


def wrapped(name, tree):
    if name in ("enc", "dec"):
        kind = Name("torch.nn.modules.container", "ModuleDict")
        return module(tree, lambda state: New(kind, state))
    return module(tree, lambda state: persistent("Layer", state | {"_init_kwargs": SCALE}))


def dtype(code):
    state = (3, "<", None, None, None, -1, -1, 0)
    return Call(Name("numpy", "dtype"), (code, False, True), state)


SCALAR = Name("numpy._core.multiarray", "scalar")
SCALE = {"skip_scale": Call(SCALAR, (dtype("f8"), struct.pack("<d", 0.5)))}
"""A number of numpy's among the arguments, as the original's layers have it."""


def snapshot(case, tensors):
    """The dict that the original pickles."""
    tree = {}
    for name, value in tensors.items():
        *head, last = name.split(".")
        at = tree
        for part in head:
            at = at.setdefault(part, {})
        at[last] = value
    tree.setdefault("model", {})
    model = tree.pop("model")
    kwargs = {"_init_args": (), "_init_kwargs": case["model_kwargs"]}
    inner = module(model, lambda state: persistent(case["model_class"], state | kwargs))
    kwargs = {"_init_args": (), "_init_kwargs": case["init_kwargs"]}

    def outer(state):
        return persistent(case["class_name"], state | kwargs | {"_modules": {"model": inner}})

    data = {"class_name": "training.dataset.ImageFolderDataset"}
    return {
        "ema": module(tree, outer),
        "loss_fn": persistent("EDMLoss", {}),
        "dataset_kwargs": data,
    }


def write(path, value):
    with path.open("wb") as file:
        Pickler(file, 4).dump(value)
    return path


def tensors_of(case):
    """The case's state dict: seeded weights, and the constants computed here."""
    weights = numbers([pair for pair in case["state"] if is_weight(pair[0])], case["seed"])
    assert digest(weights) == case["weights_sha256"]
    row = np.asarray(case["model_kwargs"].get("resample_filter", [1, 1]), np.float32)
    row /= row.sum()
    made = {"u": adapters.iddpm_sigmas().astype(np.float32)}
    return {
        name: weights.get(name, made.get(name, np.outer(row, row)[None, None]))
        for name, _ in case["state"]
    }


@functools.cache
def small_case(name="edm_ddpmpp"):
    """(case, tensors) of a case of which only the file is looked at: two of its layers."""
    folder = Path(__file__).parent / "goldens" / name
    case, _ = read_case(folder)
    tensors = tensors_of(case)
    kept = [n for n in tensors if "map_layer" in n or "8x8_down.conv0" in n]
    return case, {n: tensors[n] for n in kept}


# --- the whole path -------------------------------------------------------------------------------


ALSO = ("edm_ddpmpp", "edm_ncsnpp", "edm_adm_cond", "edm_adm_ve")
MORE = dict.fromkeys(ALSO, pytest.mark.long)
"""Cases whose networks and preconditionings the others have too, in another pairing."""


class Identity(NamedTuple):
    """A process whose time is sigma."""

    def alpha(self, t):
        return jnp.ones_like(t)

    def sigma(self, t):
        return t


@pytest.mark.parametrize("name", [pytest.param(n, marks=MORE.get(n, ())) for n in CASES])
def test_predictions(name, golden, tmp_path):
    """File -> tensors -> card -> params -> D(x, sigma) and F, with and without labels."""
    case, arrays = read_case(golden(name))
    source = readers.read(write(tmp_path / "snapshot.pkl", snapshot(case, tensors_of(case))))
    family = family_of(source)
    card = json.loads(json.dumps(family.describe(source, {})))
    made = registry.prior_of(card)
    names, unused = family.names(source, card, made.params), family.unused(source, card)
    params = conversion.fill(made.params, source, names, unused)
    check_sigma_range(card["process"], case)

    kind, kwargs = CASES[name]
    x, sigmas, y = inputs(kind, kwargs)
    x = x.transpose(0, 2, 3, 1)
    labels = np.zeros(len(x), int) if y is None else y
    null = kwargs.get("label_dim", 0)
    run = predictor(card, params)
    # labels of VP are large: one in the last place moves F by 1e-5, so F is compared at equal ones
    same = arrays["label"] if kind == "VPPrecond" else None
    eps, raw, label = run(x, sigmas, labels if null else None, same)
    np.testing.assert_allclose(label, arrays["label"], rtol=3e-7)
    compare(raw, channels_last(arrays["raw"]))
    compare(eps, eps_of(kind, card, x, sigmas, channels_last(arrays["raw"])))
    check_denoised(x, sigmas, eps, channels_last(arrays["denoised"]))
    if null:
        eps, _, _ = run(x, sigmas, np.full(len(x), null), same)
        check_denoised(x, sigmas, eps, channels_last(arrays["denoised_null"]))


def predictor(card, params):
    """(x, sigma, y, label) -> (eps, F, label) by the card's adapter, its time being sigma.

    A label that is given goes to the network instead of the adapter's own, which is returned.
    """
    net = network(registry.NETS[card["network"]], card["config"])
    values = {k: v for k, v in card["prediction"].items() if k != "name"}

    @jax.jit
    @jax.vmap
    def run(x, sigma, y, label):
        heard = []

        def listening(params, x, own, y, key):
            out = net.apply(params, x, own if label is None else label[None], y=y)
            heard.extend([out[0], own[0]])
            return out

        make = registry.PRIORS[card["prediction"]["name"]]
        return make(listening, Identity(), **values)(params, x, sigma, y).eps, *heard

    return lambda *args: [np.asarray(a, np.float64) for a in run(*args)]


def check_denoised(x, sigmas, eps, theirs):
    """D = x - sigma eps, to what eps can tell of it in float32 where sigma is large."""
    noise = sigmas[:, None, None, None].astype(np.float64)
    room = 2e-7 * noise[:, 0, 0, 0] * np.abs(eps).max((1, 2, 3)) / np.abs(theirs).max((1, 2, 3))
    compare(x - noise * eps, theirs, 1e-5 + room)


def eps_of(kind, card, x, sigmas, raw):
    """(x - D) / sigma in float64 from the original's raw F (table 1 of the paper)."""
    n = sigmas[:, None, None, None].astype(np.float64)
    if kind == "EDMPrecond":
        d = card["prediction"]["sigma_data"]
        return n / (n**2 + d**2) * x - d / np.sqrt(n**2 + d**2) * raw
    return -raw if kind == "VEPrecond" else raw[..., :3]


def channels_last(a):
    return a.transpose(0, 2, 3, 1).astype(np.float64)


def compare(ours, theirs, within=1e-5):
    """Each sample within a part of its largest absolute value."""
    largest = np.abs(theirs).max((1, 2, 3))
    worst = np.abs(ours - theirs).max((1, 2, 3)) / largest
    assert (worst < within).all(), worst


def check_sigma_range(process, case):
    """The process ends where the original's network says, or where its sampler stops."""
    low, high = case["sigma_range"] or (0.002, 80)
    high = min(high, 80) if case["class_name"] == "iDDPMPrecond" else high
    found = process["sigma_min"], process["sigma_max"]
    # float32 in the original: 1 + sigma^2 is rounded, and so are the steps of iDDPM's table
    np.testing.assert_allclose(found, (low, high), rtol=0.05 if low < 0.002 else 1e-3)


def test_levels_of_iddpm(golden):
    """The table in closed form against the original's float32 recursion."""
    _, arrays = read_case(golden("edm_adm_iddpm"))
    ours, theirs = adapters.iddpm_sigmas(), arrays["u"]
    large = theirs > 0.1  # below, 1 + u^2 in float32 leaves few digits
    np.testing.assert_allclose(ours[large], theirs[large], rtol=1e-4)
    np.testing.assert_allclose(ours, theirs, rtol=2e-3)


@pytest.mark.parametrize("name", RELEASED)
def test_released_networks(name, golden):
    """Names, shapes and parameters of full-size networks are the original's."""
    wanted = json.loads((golden("edm_released") / "shapes.json").read_text())[name]
    config = {"class_name": "EDMPrecond", "init_kwargs": wanted["init_kwargs"]}
    source = Source(Path(name), {}, config=config)
    card = edm.describe(source, {})
    shapes = registry.prior_of(card).params
    names = edm.names(source, card, shapes)
    state = sorted((names[path], torch_shape(leaf.shape)) for path, leaf in store.leaves(shapes))
    assert len(state) == wanted["tensors"]
    assert hashlib.sha256(json.dumps(state).encode()).hexdigest() == wanted["sha256"]
    trained = (shape for name, shape in state if not name.endswith("freqs"))
    assert sum(int(np.prod(shape)) for shape in trained) == wanted["parameters"]


def torch_shape(shape):
    return [shape[i] for i in {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(shape), range(len(shape)))]


# --- the reader -----------------------------------------------------------------------------------


def test_reader(golden, tmp_path):
    """Every tensor by its name and in the original's order; what else the file holds."""
    case, _ = read_case(golden("edm_ncsnpp"))
    tensors = tensors_of(case)
    file = write(tmp_path / "a.pkl", snapshot(case, tensors))
    source = readers.read(file)
    assert [[n, list(a.shape)] for n, a in source.tensors.items()] == case["state"]
    for name, values in tensors.items():
        np.testing.assert_array_equal(source.tensors[name], values)
    assert source.layout == "torch" and source.ema is True
    assert set(source.left_out) == {"loss_fn", "dataset_kwargs"}
    assert source.config == {field: case[field] for field in FIELDS}


def test_layout_is_the_originals(golden, tmp_path):
    """The files written here ask for the names that the original's own file asks for."""
    case, tensors = small_case()
    file = write(tmp_path / "a.pkl", snapshot(case, tensors))
    assert asked(file.read_bytes()) == case["asked"]
    assert {tuple(name.split()) for name in case["asked"]} <= set(edm_unpickler.NAMES)


VIEW = np.arange(12, dtype=np.float32)
STORED = storage(VIEW)


@pytest.mark.parametrize(
    ("offset", "shape", "stride", "wanted"),
    [
        (0, (3, 4), (4, 1), VIEW.reshape(3, 4)),
        (0, (4, 3), (1, 4), VIEW.reshape(3, 4).T),
        (5, (2, 2), (3, 2), [[5, 7], [8, 10]]),
        (3, (), (), 3),
        (12, (0, 4), (4, 1), np.zeros((0, 4))),
    ],
)
def test_views(offset, shape, stride, wanted, tmp_path):
    """A tensor is the part of its storage that its offset and strides say."""
    made = Call(REBUILD, (STORED, offset, shape, stride, False, {}))
    state = {"_parameters": {"a": made}, "_init_kwargs": {}}
    file = write(tmp_path / "a.pkl", {"ema": persistent("Net", state)})
    np.testing.assert_array_equal(edm_pickle.read_edm(file).tensors["a"], wanted)


BAD_TENSORS = {
    "past the end": Call(REBUILD, (STORED, 1, (3, 4), (4, 1), False, {})),
    "long steps": Call(REBUILD, (STORED, 0, (3, 4), (4, 2), False, {})),
    "backwards": Call(REBUILD, (STORED, 11, (12,), (-1,), False, {})),
    "negative offset": Call(REBUILD, (STORED, -1, (3,), (1,), False, {})),
    "other rank": Call(REBUILD, (STORED, 0, (3, 4), (4,), False, {})),
    "no storage": Call(REBUILD, (b"0000", 0, (1,), (1,), False, {})),
    "no number": Call(REBUILD, (STORED, 0, (3.5,), (1,), False, {})),
    "other length": Call(REBUILD, (storage(VIEW, count=13), 0, (3,), (1,), False, {})),
    "unknown type": Call(REBUILD, (storage(VIEW, b"ComplexFloatStorage"), 0, (3,), (1,), 0, {})),
    "no tensor": "text",
}


@pytest.mark.parametrize("name", BAD_TENSORS)
def test_bad_tensors(name, tmp_path):
    """Nothing outside of a storage is ever looked at."""
    state = {"_parameters": {"a": BAD_TENSORS[name]}}
    file = write(tmp_path / "a.pkl", {"ema": persistent("Net", state)})
    with pytest.raises(ValueError, match=r"source: .*a\.pkl"):
        edm_pickle.read_edm(file)


class Made:
    """Makes a folder as soon as it is unpickled by the ordinary means."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def places(evil):
    """Snapshots with the object in each of the places where the reader looks."""
    state = {"_parameters": {"a": evil}}
    yield {"ema": persistent("Net", state)}
    yield {"ema": persistent("Net", {"_init_kwargs": {"a": evil}})}
    yield {"ema": persistent("Net", {}), "dataset_kwargs": evil}
    inner = Call(LOAD, (pickle.dumps(evil),)) if isinstance(evil, Made) else evil
    yield {"ema": persistent("Net", {"_buffers": {"a": inner}})}


def test_no_code_is_run(tmp_path):
    """Files that make a folder when unpickled are refused by name, and make none."""
    target = tmp_path / "made"
    pickle.loads(pickle.dumps(Made(target)))
    target.rmdir()  # it does what it says
    for snapshot_dict in places(Made(target)):
        file = write(tmp_path / "a.pkl", snapshot_dict)
        with pytest.raises(ValueError, match=r"refers to (posix|nt|os)\.mkdir.*no code was run"):
            readers.read(file)
        assert not target.exists()


STRANGERS = [
    *[("builtins", name) for name in ("eval", "exec", "getattr", "open", "__import__", "type")],
    ("os", "system"),
    ("subprocess", "Popen"),
    ("collections", "OrderedDict.fromkeys"),
    ("torch_utils.persistence", "persistent_class"),
    ("torch", "load"),
    ("torch.storage", "FloatStorage"),
    ("numpy", "fromfile"),
    ("sdedit_jax.weights.readers.edm_unpickler", "NAMES"),
]


@pytest.mark.parametrize(("module_name", "name"), STRANGERS)
def test_other_names_are_refused(module_name, name, tmp_path):
    file = write(tmp_path / "a.pkl", {"ema": Call(Name(module_name, name), ())})
    with pytest.raises(ValueError, match=f"refers to {module_name}.{name}"):
        edm_pickle.read_edm(file)


class Poke(NamedTuple):
    """A name of the file's with a state set on what it stands for."""

    name: Name
    state: object


def save_poke(self, value):
    self.save_name(value.name)
    self.save_state(value.state)


Pickler.dispatch[Poke] = save_poke


@pytest.mark.parametrize("state", [{"__setstate__": 1}, (None, {"__call__": 1, "code": "O"})])
def test_names_cannot_be_changed(state, tmp_path):
    """A file cannot alter the functions and classes that it is read with."""
    case, tensors = small_case()
    good = write(tmp_path / "good.pkl", snapshot(case, tensors))
    before = dict(edm_unpickler.NAMES)
    for name in edm_unpickler.NAMES:
        file = write(tmp_path / "a.pkl", {"ema": Poke(Name(*name), state)})
        with pytest.raises(ValueError, match=r"source: .*a\.pkl"):
            edm_pickle.read_edm(file)
    assert edm_unpickler.NAMES == before
    for name, values in edm_pickle.read_edm(good).tensors.items():
        np.testing.assert_array_equal(values, tensors[name])


def test_damaged_files(tmp_path):
    """A file that is cut off anywhere is one clear error; so is one with another byte in front."""
    case, tensors = small_case()
    data = write(tmp_path / "good.pkl", snapshot(case, tensors)).read_bytes()
    file = tmp_path / "cut.pkl"
    for end in [2, 3, 11, 50, 200, len(data) // 3, len(data) // 2, len(data) - 100, len(data) - 1]:
        file.write_bytes(data[:end])
        with pytest.raises(ValueError, match=r"source: .*cut\.pkl .*cut off or damaged"):
            readers.read(file)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"G_ema": 1, "D": 2}, r"'ema' is missing, found \['D', 'G_ema'\]"),
        ({"ema": None}, "'ema'"),
        ([1, 2], "list"),
        ({"ema": persistent("Net", {})}, "no tensors"),
    ],
)
def test_other_pickles(value, found, tmp_path):
    file = write(tmp_path / "a.pkl", value)
    with pytest.raises(ValueError, match=found):
        edm_pickle.read_edm(file)


def test_loops(tmp_path):
    """What holds itself ends in an error, not in an endless walk."""
    file = tmp_path / "a.pkl"
    state = {}
    state["_modules"] = {"a": New(Name("torch.nn.modules.container", "ModuleDict"), state)}
    write(file, {"ema": persistent("Net", state)})
    with pytest.raises(ValueError, match="deeper"):
        edm_pickle.read_edm(file)
    loop = []
    loop.append(loop)
    state = {"_parameters": {"a": tensor(VIEW)}, "_init_kwargs": {"a": loop}}
    write(file, {"ema": persistent("Net", state)})
    with pytest.raises(ValueError, match="deeper"):
        edm_pickle.read_edm(file)
    state = {"_parameters": [1]}
    write(file, {"ema": persistent("Net", state)})
    with pytest.raises(ValueError, match="_parameters is of type list"):
        edm_pickle.read_edm(file)


# --- the family -----------------------------------------------------------------------------------


def described(given=None, tensors=None, **changes):
    case, held = small_case()
    config = {field: case[field] for field in FIELDS} | changes
    source = Source(Path("a.pkl"), held if tensors is None else tensors, config=config)
    return edm.describe(source, given or {})


def test_given_must_agree():
    """What the file says of itself is not overruled; what changes nothing may differ."""
    case, _ = small_case()
    given = {"family": "edm", "class_name": "EDMPrecond", "init_kwargs": case["init_kwargs"]}
    assert described(given) == described()
    other = {**given, "init_kwargs": case["init_kwargs"] | {"dropout": 0.5, "use_fp16": True}}
    assert described(other) == described()
    other = {**given, "init_kwargs": case["init_kwargs"] | {"num_blocks": 3}}
    with pytest.raises(ValueError, match="num_blocks is 3 in what was given"):
        described(other)


def test_given_serves_where_the_file_is_silent():
    """Bare tensors with the original's arguments beside them."""
    case, held = small_case()
    given = {"family": "edm", "class_name": "EDMPrecond", "init_kwargs": case["init_kwargs"]}
    source = Source(Path("a.pth"), held)
    assert family_of(source).name == "edm"
    assert edm.describe(source, given) == described()
    with pytest.raises(ValueError, match=r"\['class_name', 'img_channels', 'img_resolution'\]"):
        edm.describe(source, {})


def test_edm2_is_told_apart(tmp_path):
    state = {"_parameters": {"out_gain": tensor(np.ones((), np.float32))}, "_init_kwargs": {}}
    file = write(tmp_path / "a.pkl", {"ema": persistent("Precond", state), "encoder": None})
    source = readers.read(file)
    with pytest.raises(ValueError, match="EDM2"):
        family_of(source).describe(source, {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_name": "OtherPrecond"}, "class_name must be one of .*'OtherPrecond'"),
        ({"model_class": "OtherUNet"}, "model_type must be one of .*'OtherUNet'"),
        ({"model_kwargs": {"resample_filter": [1, 3, 3, 1]}}, "is not the filter"),
    ],
)
def test_unknown_networks(changes, message):
    with pytest.raises(ValueError, match=message):
        described(**changes)


def test_arguments_without_names(tmp_path):
    kwargs = {"_init_args": (16,), "_init_kwargs": {}}
    state = {"_parameters": {"a": tensor(VIEW)}, **kwargs}
    file = write(tmp_path / "a.pkl", {"ema": persistent("EDMPrecond", state)})
    with pytest.raises(ValueError, match="positional arguments"):
        edm_pickle.read_edm(file)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (SongConfig, {"encoder_type": "other"}, "encoder_type must be one of"),
        (SongConfig, {"resample_filter": [1, 2, 1]}, "even length"),
        (SongConfig, {"model_channels": 18}, "multiple of 4"),
        (SongConfig, {"img_resolution": 12}, "multiple of 8"),
        (DhariwalConfig, {"num_blocks": 0}, "num_blocks must be at least 1"),
        (DhariwalConfig, {"num_block": 1}, "unknown network fields"),
    ],
)
def test_bad_configurations(kind, values, message):
    with pytest.raises(ValueError, match=message):
        kind.from_mapping({"img_resolution": 16, **values})


def test_labels():
    """No label and the label past the last class are the zeros of the original's "no class"."""
    at = jnp.zeros(3)
    hot = blocks.one_hot(jnp.array([1, 0, 2]), at, 2)
    np.testing.assert_array_equal(hot, [[0, 1], [1, 0], [0, 0]])
    np.testing.assert_array_equal(blocks.one_hot(None, at, 2), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="no class labels"):
        blocks.one_hot(jnp.array([1, 0, 2]), at, 0)
    case, _ = read_case(Path(__file__).parent / "goldens" / "edm_ddpmpp_cond")
    source = Source(Path("a.pkl"), {}, config={field: case[field] for field in FIELDS})
    assert registry.classes(registry.prior_of(edm.describe(source, {}))) == (10, 10, ())
    assert registry.classes(registry.prior_of(described())) == (None, None, ())
