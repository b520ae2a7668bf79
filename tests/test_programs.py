"""What compiled edits have inside: no communication between devices and no calls of the host. One
program serves all strengths, seeds, masks, guides, classes and texts."""

import functools
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from program import ROOT, SIZE, four_devices, tiny_prior
from test_executor import PRIOR, ledits_case
from test_guidance import class_prior
from test_train import TINY, VE80, fresh, predict
from text_prior import text_prior

import sdedit_jax as sj
from sdedit_jax import devices as parallel
from sdedit_jax.pipeline import executor
from sdedit_jax.pipeline.ledits import LEDITSPipeline
from sdedit_jax.pipeline.recent import Recent
from sdedit_jax.training.loss import Objective, denoising_loss
from sdedit_jax.training.step import init, make_step, transformation

MOVES = ("all-reduce", "all-gather", "all-to-all", "ragged-all-to-all", "collective-permute")
MOVES += ("collective-broadcast", "reduce-scatter", "send", "recv", "infeed", "outfeed")
MOVE = re.compile(rf" ({'|'.join(MOVES)})(?:-start|-done)?\(")
CALLBACK = re.compile(r'custom_call_target="[^"]*(callback)')
PARTS = {"prepare", "init", "advance", "finish"}


def leaving(text):
    """The operations of a compiled program by which data leave a device."""
    return set(MOVE.findall(text)) | set(CALLBACK.findall(text))


# --- programs that have them ----------------------------------------------------------------------


@four_devices
@pytest.mark.parametrize(
    ("name", "fn"),
    [
        ("all-reduce", lambda x: jax.lax.psum(x, "data")),
        ("all-gather", lambda x: jax.lax.all_gather(x, "data", tiled=True)),
        ("all-to-all", lambda x: jax.lax.all_to_all(x, "data", 0, 0, tiled=True)),
        ("collective-permute", lambda x: jax.lax.ppermute(x, "data", [(0, 1), (1, 0)])),
        ("reduce-scatter", lambda x: jax.lax.psum_scatter(x, "data", tiled=True)),
    ],
)
def test_communication_is_found(name, fn):
    rows = PartitionSpec("data")
    shared = jax.shard_map(
        fn, mesh=parallel.mesh(4), in_specs=rows, out_specs=rows, check_vma=False
    )
    assert leaving(jax.jit(shared).lower(jnp.ones(16)).compile().as_text()) == {name}
    if name == "all-reduce":
        mapped = jax.pmap(fn, "data").lower(jnp.ones((4, 4))).compile()
        assert leaving(mapped.as_text()) == {name}


def test_calls_of_the_host_are_found():
    def called(x):
        jax.debug.callback(lambda _: None, x)
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct((3,), jnp.float32), x)

    for fn in (called, lambda x: jax.debug.print("{}", x)):
        assert leaving(jax.jit(fn).lower(jnp.ones(3)).compile().as_text()) == {"callback"}
    assert leaving(jax.jit(jnp.sin).lower(jnp.ones(3)).compile().as_text()) == set()


# --- edits ----------------------------------------------------------------------------------------

ALL = jax.local_device_count()
LOADED = functools.cache(sj.load_prior)


def pictures(count=4, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def half():
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:, : SIZE // 2] = True
    return mask


def sdedit(n):
    """With a mask, repeats and previews."""
    few = {"steps": 2, "repeats": 2, "devices": n, "preview_every": 1}
    list(sj.stream(sj.edit, LOADED(tiny_prior()), pictures(), half(), **few))


def adaptive(n):
    """With a corrector and a map of strengths."""
    few = {"rule": "adaptive", "steps": 20, "corrector": "langevin", "devices": n}
    prior = sj.gaussian(sj.VP(), np.zeros((SIZE, SIZE, 3)), 0.5)
    sj.edit(prior, pictures(), strength_map=half(), **few)


def inverted(n, run=("invert",)):
    """Of four photos, to their noise maps or through all stages of LEDITS."""
    plan, request, *_ = ledits_case()
    rows, keys = parallel.stack([request] * 4), jax.random.split(jax.random.key(0), 4)
    pipeline = LEDITSPipeline(plan, run=run)
    executor.finish(executor.run(pipeline, PRIOR.params, rows, keys, devices=n))


def ledits(n):
    inverted(n, ("invert", "edit", "reconstruct"))


def guided(n):
    """A class away from another one, inside a mask."""
    return sj.edit(LOADED(class_prior()), **CLASSES, devices=n, steps=2)


def prompted(n):
    """A text away from another one, inside a mask."""
    return sj.text_edit(LOADED(text_prior()), **TEXTS, devices=n, steps=2)


def by_concepts(n):
    """LEDITS with concepts and prompts, with the reconstruction and the masks."""
    return sj.ledits(LOADED(text_prior()), **CONCEPTS, devices=n, steps=2)


CLASSES = {"image": pictures(), "cond": 3, "against": 1, "scale": 2.0, "t0": 0.9, "mask": half()}
TEXTS = {"image": pictures(), "prompt": "a cat", "negative_prompt": "a dog", "mask": half()}
CONCEPTS = {"image": pictures(), "concepts": "+cat:7:0", "prompt": "a cat", "slots": 2}
CONCEPTS |= {"source_prompt": "a", "mask": half(), "details": True}
EDITS = [(edit, n) for edit in (sdedit, adaptive, inverted, ledits, guided) for n in (1, 2, 4)]
EDITS += [(edit, ALL) for edit in (prompted, by_concepts)]


@pytest.fixture(autouse=True, scope="module")
def programs():
    """The programs of this file alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor, "PROGRAMS", Recent(1000))
        yield executor.PROGRAMS.kept


@pytest.mark.filterwarnings("ignore::UserWarning")  # words that the tiny prior has never seen
@pytest.mark.parametrize(("edit", "devices"), EDITS)
def test_an_edit_neither_communicates_nor_calls_the_host(edit, devices, programs):
    if devices > ALL:
        pytest.skip("this machine has fewer devices of its kind")
    before = set(programs)
    edit(devices)
    texts = {key: program.as_text() for key, program in programs.items() if key not in before}
    assert {key[1] for key in texts} >= PARTS
    assert {spans(text) for text in texts.values()} == {devices}
    assert set().union(*map(leaving, texts.values())) == set()


def spans(text):
    """The number of devices of a program, from the first line of its text."""
    found = re.findall(r"(?:replica_count|num_partitions)=(\d+)", text.splitlines()[0])
    return int(np.prod([int(n) for n in found]))


WHOLE = """
import jax, jax.numpy as jnp, numpy as np
import sdedit_jax as sj
from sdedit_jax import devices

prior = sj.mixture(sj.VP(), np.zeros((2, 8, 8, 3)), 0.5)
images = np.zeros((4, 8, 8, 3), np.uint8)
for rule, steps in (("ancestral", 2), ("adaptive", 20)):
    few = {"rule": rule, "steps": steps, "preview_every": 1, "devices": 4}
    list(sj.stream(sj.edit, prior, images, **few))


@jax.jit
def communicates(x):
    return jnp.sum(x)


communicates(devices.spread(np.ones((4, 2), np.float32), 4))
"""


def test_nothing_that_a_process_compiles_for_an_edit_communicates(tmp_path):
    """Between the parts of an edit too, where an adaptive solver looks whether it may stop."""
    flags = f"--xla_dump_to={tmp_path} --xla_dump_hlo_as_text"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    env |= {"JAX_NUM_CPU_DEVICES": "4", "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}"}
    subprocess.run([sys.executable, "-c", WHOLE], env=env, check=True)
    files = list(tmp_path.glob("*after_optimizations.txt"))
    found = [(file.name.split(".")[1], leaving(file.read_text())) for file in files]
    assert len(found) > 10
    assert [one for one in found if one[1]] == [("jit_communicates", {"all-reduce"})]


@four_devices
def test_training_communicates_its_gradient_alone(rng):
    """Each parameter is summed over the devices once, and the loss: no more numbers than that."""
    tx, rows = transformation(TINY, 30), rng.uniform(-1, 1, (8, 4, 4, 3)).astype(np.float32)
    step = make_step(denoising_loss(VE80, predict, Objective()), tx, TINY.ema)
    split, whole = parallel.placement(len(rows))
    state = jax.device_put(init(fresh(), tx), whole)
    batch = {"image": jax.device_put(rows, split)}
    text = step.lower(state, batch, jax.random.key(0)).compile().as_text()
    assert leaving(text) == {"all-reduce"}
    parameters = sum(leaf.size for leaf in jax.tree.leaves(fresh()))
    assert sum(map(numbers, re.findall(r"= (.*) all-reduce(?:-start)?\(", text))) == parameters + 1


def numbers(shapes):
    """How many numbers the arrays of a type in HLO have: (f32[3,8]{1,0}, f32[]) has 25."""
    sides = re.findall(r"\w+\[([\d,]*)\]", shapes)
    return sum(int(np.prod([int(n) for n in side.split(",") if n])) for side in sides)


# --- one program for all --------------------------------------------------------------------------


COMPILED = []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, *_, **__: COMPILED.append(name) if name.endswith("backend_compile_duration") else 0
)

OTHERS = [
    {"t0": 0.3},
    {"t0": 1.0},
    {"seed": 5},
    {"seed": 2**40},
    {"id": "x", "sample": 3},
    {"mask": ~half()},
    {"mask": np.float32(half()) / 3},
    {"image": pictures(seed=1)},
    {"image": pictures(seed=2)[:, :9, :12], "mask": half()[:9, :12]},
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("edit", "given", "others"),
    [
        (guided, CLASSES, [{"cond": 0}, {"against": 5}, {"scale": -1.0}]),
        (
            prompted,
            TEXTS,
            [{"prompt": "b"}, {"negative_prompt": ""}, {"scale": 3.0}, {"prompt": "a, b, c!"}],
        ),
        (
            by_concepts,
            CONCEPTS,
            [
                {"prompt": "b"},
                {"source_prompt": "a dog"},
                {"negative_prompt": "c"},
                {"concepts": "-b:3:1:0.5,+a dog"},
                {"target_scale": 3.0, "source_scale": 2.0},
            ],
        ),
    ],
)
def test_one_executable_serves_all(edit, given, others, monkeypatch):
    """Not one program is compiled, of the edit or beside it, after a first call."""
    first, compiled = picture_of(edit(ALL)), len(COMPILED)
    assert compiled > 0
    for changes in [*OTHERS, *others]:
        with monkeypatch.context() as patch:
            for name, value in changes.items():
                patch.setitem(given, name, value)
            result = picture_of(edit(ALL))
        assert len(COMPILED) == compiled, changes
        assert np.any(result != first), changes


def picture_of(result):
    return getattr(result, "image", result)
