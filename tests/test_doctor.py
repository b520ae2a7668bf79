"""--mode=doctor: what it finds wrong, its known answers, and the memory of an edit."""

import json
import re
import shutil
import socket

import jax
import numpy as np
import pytest
from program import config_of, exact_prior, home, refused, run, small, tiny_prior

from sdedit_jax import devices, modes
from sdedit_jax.modes import doctor, files, jobs, kinds, running
from sdedit_jax.modes.files import list_inputs
from sdedit_jax.modes.session import Job
from sdedit_jax.pipeline import executor, known_answer
from sdedit_jax.pipeline.memory import MEASURED, needs, of_rows
from sdedit_jax.priors.analytic import GaussianPredictor
from sdedit_jax.text.spelling import bytes_text
from sdedit_jax.weights import load

NAMES = {
    *("input", "versions", "platform", "device", "precision", "cache", "disk", "answer", "task"),
    *("prior", "process", "strength", "sampler", "class", "memory", "batch", "edit", "result"),
}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The user's folder with one prior, beside no included ones."""
    monkeypatch.setenv("SDEDIT_PRIORS", str(tmp_path / "priors"))
    monkeypatch.setattr(doctor.included, "folder", lambda kind, path=tmp_path: path / kind)
    shutil.copytree(tiny_prior(), tmp_path / "priors" / "mine")
    return tmp_path / "priors" / "mine"


@pytest.fixture
def answered(monkeypatch):
    """The known answers are right, and cost no time."""
    right = [known_answer.Answer("probability flow", 0.0, 0.005)]
    monkeypatch.setattr(known_answer, "answers", lambda count: iter(right))


def looked(capsys, **changes):
    """(exit code, lines, lines of errors) of the mode with an example picture and a small prior."""
    config = small("strokes", **{"input": "examples/strokes/cherry.png", **changes})
    code = run(config, None, "doctor")
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


def value(lines, name):
    found = [line.removeprefix(name).strip() for line in lines if line.split(" ")[0] == name]
    assert len(found) == 1, (name, lines)
    return found[0]


def state(lines, name):
    """The state and the rest of a prior's line."""
    return next(line for line in lines if line.startswith(f"  {name} ")).split(maxsplit=2)[1:]


# --- a machine that is in order -------------------------------------------------------------------


def test_all_is_well_and_every_line_parses(own, capsys, monkeypatch):
    """Without a network, and with the answers through the loop itself."""

    def refuse(*_):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    code, lines, errors = looked(capsys)
    assert (code, errors, lines[-1]) == (0, [], "result    all is well")
    for line in lines:
        text = line.startswith(" ") or line == "priors, --config.prior=NAME:"
        assert text or (line[:10].split()[0] in NAMES and line[10] != " "), line
    assert value(lines, "cache") == "none"
    assert f"python {'.'.join(map(str, __import__('sys').version_info[:3]))}" in lines[0]
    assert value(lines, "precision") == "compute float32, matmul default, x64 off"
    assert value(lines, "task") == "strokes, 16x16"
    found = load.stored(own)
    assert state(lines, "mine") == [
        "ok", f"ncsnpp, 16x16 RGB, {bytes_text(found.bytes)}, sha256 {found.sha256[:16]}"
    ]  # fmt: skip
    assert found.sha256 == json.loads((own / "prior.json").read_text())["sha256"]
    assert found.bytes == sum(a.nbytes for a in jax.tree.leaves(load.load_prior(own).params))
    assert re.fullmatch(r"ok, the same bits twice, \d+\.\d\d s", value(lines, "edit"))


def test_a_workdir_and_other_configs_are_refused(tmp_path):
    assert "workdir: --mode=doctor writes no files" in refused(small("strokes"), tmp_path, "doctor")
    assert "needs a config that edits pictures" in refused(config_of("convert"), None, "doctor")


# --- priors ---------------------------------------------------------------------------------------


def test_a_cut_off_prior_is_damaged(own, answered, capsys):
    for file in (own / "params").rglob("d/*"):
        file.write_bytes(file.read_bytes()[:-50])
    code, lines, errors = looked(capsys)
    assert code == 1 and state(lines, "mine")[0] == "damaged"
    assert state(lines, tiny_prior())[0] == "ok"  # the config's own
    assert len(errors) == 1 and errors[0].startswith("error: prior: cannot read")
    assert str(own) in errors[0] and lines[-1] == "result    1 check failed"


def test_another_sha256_differs(own, answered, capsys):
    card = json.loads((own / "prior.json").read_text())
    (own / "prior.json").write_text(json.dumps({**card, "sha256": "0" * 64}))
    code, lines, errors = looked(capsys, prior="mine")
    assert code == 1 and state(lines, "mine")[0] == "differs"
    assert state(lines, "mine")[1].endswith(
        f"sha256 {card['sha256'][:16]}, prior.json has {'0' * 16}"
    )
    [error] = errors  # though it is the prior of the edit too, and fails there
    assert "0" * 64 in error and card["sha256"] in error
    assert not [line for line in lines if line.startswith("edit ")]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"network": "none"}', "{" * 5000])
def test_a_wrong_prior_json_is_damaged(own, answered, capsys, text):
    (own / "prior.json").write_text(text)
    code, lines, errors = looked(capsys)
    assert code == 1 and state(lines, "mine")[0] == "damaged" and len(errors) == 1


def test_a_prior_that_does_not_exist_is_missing(own, answered, capsys):
    code, lines, errors = looked(capsys, prior="nothing")
    assert code == 1 and state(lines, "nothing")[0] == "missing" and len(errors) == 1


def test_an_exact_prior_without_a_sha256_is_ok(own, answered, capsys):
    code, lines, _ = looked(capsys, prior=exact_prior())
    assert code == 0 and state(lines, exact_prior())[0] == "ok"


def test_a_foreign_prior_is_not_converted(own, answered, capsys, monkeypatch):
    """A folder in diffusers' layout is read at its first use, and not by this mode."""
    monkeypatch.setattr(load, "converted_priors", lambda: home() / "converted")
    foreign = own.with_name("foreign")
    foreign.mkdir()
    (foreign / "model_index.json").write_text("{}")
    code, lines, _ = looked(capsys)
    assert code == 0 and state(lines, "foreign")[0] == "unread"


# --- the known answer -----------------------------------------------------------------------------


class Perturbed(GaussianPredictor):
    """A score that is two percent too large."""

    def __call__(self, params, x, t, cond=None, key=None):
        found = super().__call__(params, x, t, cond, key)
        return found._replace(eps=1.02 * found.eps)


class Undefined(GaussianPredictor):
    """A score that is no number."""

    def __call__(self, params, x, t, cond=None, key=None):
        found = super().__call__(params, x, t, cond, key)
        return found._replace(eps=np.nan * found.eps)


@pytest.mark.parametrize("predictor", [Perturbed, Undefined])
def test_a_wrong_score_gives_a_wrong_answer(own, capsys, monkeypatch, predictor):
    gaussian = known_answer.gaussian

    def wrong(process, *given):
        static = jax.tree_util.register_static(type("Wrong", (predictor,), {}))
        return gaussian(process, *given).replace(predict=static(process))

    monkeypatch.setattr(known_answer, "gaussian", wrong)
    code, lines, errors = looked(capsys, prior=exact_prior())
    assert code == 1 and "answer    wrong, probability flow" in "\n".join(lines)
    assert any(line.startswith("error: sampler: the probability flow") for line in errors)


def test_a_wrong_loop_gives_a_wrong_answer(monkeypatch):
    """A kept region that is not put back."""
    made = known_answer.edit
    monkeypatch.setattr(known_answer, "edit", lambda *given: made(*given) + 1e-6)
    found = {one.name: one.right for one in known_answer.answers()}  # on all devices
    assert found == {"probability flow": True, "reverse SDE": True, "kept region": False}


def test_the_deviation_of_the_flow_falls_with_the_steps(monkeypatch):
    """What is compared with is the limit of many steps: Heun's error falls by four."""
    away = {}
    for steps in (20, 40, 80):
        monkeypatch.setattr(known_answer, "STEPS", steps)
        away[steps] = next(known_answer.answers(1)).deviation
    assert 3 < away[20] / away[40] < 6 and 3 < away[40] / away[80] < 6


# --- memory ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened():
    """(pipeline, params, request, key) of an edit."""
    config = small("strokes", input="examples/strokes/cherry.png")
    paths = list_inputs(config).inputs
    kind = kinds.open_kind(config, paths)
    job = Job(kind.read(paths[0], "cherry"), "_0", 0)
    return kind.pipeline({}), kind.prior.params, kind.request(job, {}), jobs.keys([job])[0]


def test_the_memory_of_larger_batches_is_that_of_their_programs(opened):
    """Within 20 %: of a network this small, the order of operations changes with the batch."""
    found = needs(*opened)
    assert found.measured == {rows: found.at(rows) for rows in MEASURED}
    for rows in (5, 8):
        assert found.at(rows) == pytest.approx(of_rows(*opened, rows), rel=0.2)


def test_the_parameters_are_in_the_memory(opened):
    weights = sum(a.nbytes for a in jax.tree.leaves(opened[1]))
    picture = sum(np.asarray(a).nbytes for a in jax.tree.leaves(opened[2]))
    found = needs(*opened)
    assert found.fixed >= weights and found.each >= picture


def test_the_shapes_compile_what_the_edit_runs(opened):
    """The programs of the measurement are those of the executor."""
    pipeline, params, request, key = opened
    of_rows(*opened, 1)
    before = set(executor.PROGRAMS.kept)
    made = executor.finish(
        executor.run(pipeline, params, devices.stack([request]), key[None], devices=1, listen=False)
    )
    assert set(executor.PROGRAMS.kept) == before and made.compile_seconds < 0.5


def test_the_most_rows_fit_and_one_more_does_not(opened):
    found = needs(*opened)
    for free in (10**8, 10**9):
        most = found.most(free)
        assert found.at(most) <= free < found.at(most + 1)
    assert found.most(found.fixed) == found.most(0) == 0


def test_a_compiler_and_a_device_that_tell_nothing(own, answered, capsys, monkeypatch):
    monkeypatch.setattr(devices, "memory", lambda count: None)
    code, lines, _ = looked(capsys)
    assert code == 0 and value(lines, "device").endswith("memory not known")
    assert value(lines, "batch") == "not known: the device does not tell its memory"
    monkeypatch.setattr("sdedit_jax.pipeline.memory.bytes_of", lambda program: None)
    code, lines, _ = looked(capsys)
    assert code == 0 and value(lines, "memory").startswith("not known")


def test_a_batch_that_does_not_fit_is_a_warning(own, answered, capsys, monkeypatch):
    monkeypatch.setattr(devices, "memory", lambda count: devices.Memory(10**6, 10**9))
    code, _, errors = looked(capsys, batch=60_000)
    assert code == 0 and [line[:30] for line in errors] == ["warning: batch: 60000 at a tim"]


class Device:
    platform = "gpu"

    def __init__(self, stats):
        self.stats = stats

    def memory_stats(self):
        return self.stats


def test_the_memory_of_devices_is_that_of_the_fullest(monkeypatch):
    own = [{"bytes_limit": 100, "bytes_in_use": used} for used in (10, 30, 20)]
    monkeypatch.setattr(jax, "local_devices", lambda: [Device(one) for one in own])
    assert devices.memory(3) == devices.Memory(70, 100) and devices.memory(1).free == 90
    for unknown in (None, {}, {"bytes_in_use": 1}):
        monkeypatch.setattr(jax, "local_devices", lambda one=unknown: [Device(one)])
        assert devices.memory(1) is None


def test_the_memory_of_the_host_is_that_of_its_container(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 600 kB\n")
    monkeypatch.setattr(devices, "MEMINFO", str(tmp_path / "meminfo"))
    monkeypatch.setattr(devices, "CONTROL_GROUP", str(tmp_path))
    whole = devices.Memory(600 * 1024, 1000 * 1024)
    assert devices.host_memory() == whole
    (tmp_path / "memory.current").write_text("300000\n")
    (tmp_path / "memory.stat").write_text("anon 100000\nfile 200000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert devices.host_memory() == whole
    (tmp_path / "memory.max").write_text("500000\n")
    assert devices.host_memory() == devices.Memory(400_000, 500_000)
    (tmp_path / "meminfo").unlink()
    assert devices.host_memory() is None


# --- the edit -------------------------------------------------------------------------------------


def test_other_bits_the_second_time_fail(own, answered, capsys, monkeypatch):
    whole, seen = doctor.bits, []
    monkeypatch.setattr(
        doctor, "bits", lambda result: [*whole(result), seen.append(0) or len(seen)]
    )
    code, lines, errors = looked(capsys)
    assert code == 1 and value(lines, "edit").startswith("other bits twice")
    assert errors == ["error: edit: the same edit gave other bits the second time"]


def test_an_edit_that_takes_long_is_left_out(own, answered, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "LONGEST", 0.0)
    code, lines, _ = looked(capsys)
    assert code == 0 and value(lines, "edit").startswith("left out, it would take")


def test_an_input_that_does_not_exist_fails_and_the_rest_is_checked(own, answered, capsys):
    code, lines, errors = looked(capsys, input="nowhere.png")
    assert code == 1 and state(lines, "mine")[0] == "ok" and "answer" in "\n".join(lines)
    assert len(errors) == 1 and "nowhere.png" in errors[0]


def test_a_cache_that_cannot_be_written_is_a_warning(own, answered, capsys, monkeypatch, tmp_path):
    def full(**_):
        raise OSError(30, "Read-only file system")

    cache = tmp_path / "cache"
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setattr(files.tempfile, "TemporaryFile", full)
    try:
        code, lines, errors = looked(capsys, cache=str(cache))
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert code == 0 and "0 files, 0 bytes, not writable" in value(lines, "cache")
    assert errors == [f"warning: cache: {cache} cannot be written: Read-only file system"]


def test_the_mode_is_one_of_the_program():
    assert "doctor" in modes.MODES and running.entry("doctor") is doctor.doctor
