"""main.py as a user starts it: flags, exit codes, one line for each error."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest
from absl import flags
from ml_collections import config_flags
from program import ROOT, config_of, exact_prior, names, refused

from sdedit_jax import images, modes
from sdedit_jax.modes import check, command_line, files, running
from sdedit_jax.modes.files import Target
from sdedit_jax.tasks.common import read_options
from sdedit_jax.tasks.recolor import Options


def start(*arguments):
    """(exit code, stdout, stderr) of main.py in a process of its own."""
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "main.py", *map(str, arguments)],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


def test_an_edit_from_the_command_line(tmp_path):
    out = tmp_path / "a" / "new" / "folder"
    code, told, wrong = start(
        "--config=configs/strokes.py",
        f"--workdir={out}",
        f"--config.prior={exact_prior()}",
        "--config.input=examples/strokes/cherry.png",
        "--config.sampler.steps=3",
        "--config.t0=0.4",
        "--config.samples=1",
        f"--config.cache={tmp_path / 'cache'}",
    )
    assert code == 0, wrong
    wanted = ["cherry_0.png", "cherry_guide.png", "cherry_mask.png", "record.json", "sheet.png"]
    assert names(out) == wanted
    for line in ("device    ", "sha256", "t0 0.4 | sigma", "dB | DDPM step", "= 3 evaluations"):
        assert line in told
    for line in ("compiled  ", "max change outside the mask 0", "L2 "):
        assert line in told


def test_a_wrong_command_line_is_one_line_and_exit_code_1():
    code, out, wrong = start("--config=configs/strokes.py", "--config.foo=1")
    assert (code, out) == (1, "")
    assert wrong == "error: --config.foo: the config has no such field\n"


CLOSED = {"closed": ">&-", "all closed": ">&- 2>&- <&-", "full": "> /dev/full"}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
@pytest.mark.parametrize("to", CLOSED)
@pytest.mark.parametrize("flag", ["--list", "--help"])
def test_a_stdout_that_cannot_be_written_is_no_traceback(flag, to):
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" main.py {flag} {CLOSED[to]}', sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    wrong = "error: stdout: it cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == ((1, wrong) if to == "full" else (0, ""))


@pytest.mark.parametrize(
    ("cores", "given", "options", "devices"),
    [
        (1, None, "", "1"),
        (6, None, "", "4"),
        (8, None, "", "8"),
        (8, "3", "", "3"),
        (8, None, "--xla_force_host_platform_device_count=2", None),
    ],
)
def test_a_cpu_is_a_device_for_each_core(cores, given, options, devices, monkeypatch):
    """The power of two below their number; who sets a number gets it."""
    own = {"XLA_FLAGS": options} | ({command_line.NUMBER_OF_DEVICES: given} if given else {})
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    monkeypatch.setattr(os, "environ", own)
    command_line.share_cores()
    assert own.get(command_line.NUMBER_OF_DEVICES) == devices


def test_a_name_on_the_screen_moves_no_cursor(tmp_path):
    for name in ("a\x1b[2Jb", "\u202eb", "é"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "prior.json").write_text("{}")
    env = {**os.environ, "SDEDIT_PRIORS": str(tmp_path), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "main.py", "--list"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, timeout=300)
    text = done.stdout.decode()
    assert done.returncode == 0 and all(line.isprintable() for line in text.splitlines())
    assert "a\\x1b[2Jb" in text and "é" in text


def test_help_is_no_error():
    code, out, wrong = start("--help")
    assert code == 0 and "--workdir" in out and not wrong


# --- the same in this process, without the seconds of a start -------------------------------------


@pytest.fixture
def parsed(monkeypatch, capsys):
    """Parse a command line with fresh flags: the one line of its error, or ""."""

    def parse(*arguments):
        argv = ["main.py", *arguments]
        fresh = flags.FlagValues()
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.setattr(flags, "FLAGS", fresh)
        config_flags.DEFINE_config_file("config", None, "", flag_values=fresh, lock_config=True)
        flags.DEFINE_string("workdir", "", "", flag_values=fresh)
        flags.DEFINE_integer("verbosity", -1, "", flag_values=fresh)
        flags.DEFINE_string("mode", "edit", "", flag_values=fresh)
        try:
            command_line.parse(argv)
        except SystemExit as stopped:
            assert stopped.code == 1
            (line,) = capsys.readouterr().err.splitlines()
            return line, None
        return "", fresh.config

    return parse


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("--config.sampler.foo=1", "--config.sampler.foo: the config has no such field"),
        ("--config.foo.bar=1", "--config.foo.bar: the config has no such field"),
        ("--config.options.foo=red", "--config.options.foo: the config has no such field"),
        ("--config.t0=high", "--config.t0=high: could not convert string to float: 'high'"),
        ("--config.samples=2.5", "--config.samples=2.5"),
        ("--config.sampler.steps=x", "--config.sampler.steps=x"),
        ("--config.sampler.clip_x0=True", "--config.sampler.clip_x0: the config has no such field"),
        ("--config=configs/none.py", "config: there is no file 'configs/none.py'"),
        ("--config=a\nb", "config: there is no file "),
        ("--config=none", "config: there is no file 'none'; a config is a file, or one of the"),
        ("--config.prio=x", "has no such field; did you mean '--config.prior'?"),
        ("--config.sampler.step=9", "such field; did you mean '--config.sampler.steps'?"),
        ("--config.steps=9", "such field; did you mean '--config.sampler.steps'?"),
        ("--config=configs/stroke.py", "did you mean 'configs/strokes.py'?"),
        ("--config=stroke", "did you mean 'strokes'?"),
        ("--wordir=out", "unknown flag --wordir; did you mean '--workdir'?"),
        ("--sampels=3", "unknown flag --sampels; did you mean '--config.samples'?"),
    ],
)
def test_a_wrong_flag_is_one_line_that_names_it(argument, told, parsed, monkeypatch):
    monkeypatch.chdir(ROOT)
    line, _ = parsed(argument)
    assert line.startswith("error: ") and told in line


def test_values_reach_the_config(parsed, monkeypatch):
    monkeypatch.chdir(ROOT)
    arguments = ["--config=configs/recolor.py", "--config.t0=0.25", "--config.sigma=2"]
    arguments += ["--config.sampler.steps=7", "--config.options.palette=('red','#00ff00')"]
    line, config = parsed(*arguments, "--config.sweep.t0=(0.1,0.2)")
    assert line == ""
    assert (config.t0, config.sigma, config.sampler.steps) == (0.25, 2.0, 7)
    options = read_options(Options, config.options.to_dict())
    assert options.palette == ("red", "#00ff00") and options.reference == ""
    assert tuple(config.sweep.t0) == (0.1, 0.2)


def test_a_strength_to_be_found_is_named_as_in_a_config(parsed, monkeypatch):
    monkeypatch.chdir(ROOT)
    line, _ = parsed("--config=strokes", "--config.t0=map")
    assert line.endswith("; did you mean --config.auto_t0=map?")


@pytest.mark.parametrize("named", [["--config=strokes"], ["--config", "strokes"]])
def test_fields_may_come_before_the_config(named, parsed, monkeypatch):
    monkeypatch.chdir(ROOT)
    line, config = parsed("--config.t0=0.25", *named, "--config.samples=3")
    assert (line, config.t0, config.samples) == ("", 0.25, 3) and config.task == "strokes"


@pytest.mark.parametrize(
    ("mode", "arguments", "told"),
    [
        ("edit", ["t0=0.3", "sigma=2.0"], "the strength is given twice, t0 0.3 and sigma 2"),
        ("edit", ["sampler.grid=diffusers_ddim", "t0=0.3"], 'sampler.grid "diffusers_ddim" has no'),
        ("edit", ["preset=paper-ve", "sampler.hold=level"], "sampler.hold: preset 'paper-ve' has"),
        ("edit", ["preset=diffusers", "t0=0.3"], 't0: preset "diffusers" takes strength'),
        ("edit", ["options.opaque=True"], "opaque is for output 'original', got output 'prior'"),
        ("sweep", ["seed=3"], "seed: a sweep takes sweep.seeds instead, got 3"),
        ("sweep", ["samples=2"], "samples: a sweep takes sweep.seeds instead, got 2"),
        ("sweep", ["t0=0.3"], "t0: a sweep takes sweep.t0 instead, got 0.3"),
        ("replay", ["t0=0.3"], "t0: is the recipe's in a replay, got 0.3"),
        ("web", ["t0=0.3"], "t0: has no effect in --mode=web, got 0.3"),
        ("doctor", ["sweep.t0=0.3"], "sweep.t0: has no effect in --mode=doctor, got"),
        ("doctor", ["samples=2"], "samples: has no effect in --mode=doctor, got 2"),
        ("doctor", ["t0=0.3", "sigma=2.0"], "the strength is given twice"),
        ("edit", ["web.port=80"], "web.port: is for --mode=web, got 80"),
        (
            "evaluate",
            ["configs/evaluate.py", "sweep.t0=0.3"],
            "sweep.t0: has no effect in --mode=ev",
        ),
        ("evaluate", ["configs/evaluate.py", "report=True"], "report: has no effect in --mode=eva"),
        ("evaluate", ["configs/evaluate.py", "t0=0.3", "sigma=2.0"], "the strength is given twice"),
        ("edit", ["configs/evaluate.py", "limit=3"], "limit: is for --mode=evaluate, got 3"),
        ("sweep", ["configs/evaluate.py", "data.split=test"], "data.split: is for --mode=evaluate"),
        ("edit", ["configs/ledits.py", "scale=3.0"], "scale: it has no effect without concepts"),
        ("edit", ["configs/ledits.py", "prompt=a", "source_scale=3.0"], "without source_prompt"),
    ],
)
def test_fields_without_effect_are_refused(mode, arguments, told, parsed, monkeypatch):
    monkeypatch.chdir(ROOT)
    file = [f"--config={argument}" for argument in arguments if argument.endswith(".py")]
    fields = [argument for argument in arguments if not argument.endswith(".py")]
    _, config = parsed(*file, *(f"--config.{field}" for field in fields))
    given = config_flags.get_override_values(flags.FLAGS["config"])
    assert len(given) == len(fields)
    with pytest.raises(ValueError, match=re.escape(told)):
        check.check(mode, config, given)


@pytest.mark.parametrize(
    ("mode", "given"),
    [
        ("edit", {"t0": 0.3}),
        ("edit", {"sigma": 2.0}),
        ("edit", {"preset": "paper-ve", "sampler.steps": 9, "sampler.hold": "paper"}),
        ("edit", {"preset": "diffusers", "strength": 0.5}),
        ("sweep", {"sweep.seeds": (1, 2)}),
        ("replay", {"input": "a.png", "prior": "old", "devices": 1}),
        ("train", {"t0": 0.3}),
        ("web", {"prior": "flowers64", "web.host": "0.0.0.0", "web.password": "a"}),
    ],
)
def test_fields_with_an_effect_are_allowed(mode, given):
    config = config_of("base")
    config.update_from_flattened_dict(given)
    check.check(mode, config, given)


@pytest.mark.parametrize(
    "given",
    [
        "red,#00ff00",
        "#ff0000,#00ff00",
        "'#ff0000','#00ff00'",
        "[red, #00ff00]",
        "('red','#00ff00')",
    ],
)
def test_a_palette_is_given_in_any_usual_form(given, parsed, monkeypatch):
    monkeypatch.chdir(ROOT)
    line, config = parsed("--config=configs/recolor.py", f"--config.options.palette={given}")
    assert line == ""
    options = read_options(Options, config.options.to_dict())
    assert [images.color(one) for one in options.palette] == [(255, 0, 0), (0, 255, 0)]


@pytest.mark.parametrize("last", [["--config=inpaint"], ["--config", "inpaint"], ["--flagfile=f"]])
def test_the_last_config_counts_wherever_it_stands(last, parsed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").write_text("--config=inpaint\n")
    line, config = parsed("--config=strokes", *last, "--config.t0=0.25")
    assert line == "" and (config.task, config.t0) == ("inpaint", 0.25)


def test_without_a_config_the_base_is_taken(parsed):
    line, config = parsed("--mode=replay", "--config.input=out/x.png")
    assert line == "" and config.input == "out/x.png" and config.task == "strokes"


def test_a_workdir_that_is_a_file(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OSError, match=r"workdir: .*out is not a folder"):
        running.make_folder(tmp_path / "out")
    with pytest.raises(OSError, match=r"workdir: cannot make the folder .*: Not a directory"):
        running.make_folder(tmp_path / "out" / "deeper")


def test_a_workdir_that_cannot_be_written(tmp_path, monkeypatch):
    def full(**options):  # root may write anywhere
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(files.tempfile, "TemporaryFile", full)
    with pytest.raises(OSError, match="cannot be written"):
        running.make_folder(tmp_path)


@pytest.fixture
def started(capsys):
    """Parse and run in this process: (exit code, the lines of stderr)."""

    def start(*arguments):
        argv = ["main.py", *map(str, arguments)]
        flags.FLAGS.unparse_flags()
        rest = command_line.parse(argv)
        return command_line.main(rest), capsys.readouterr().err.splitlines()

    yield start
    for name in ("config", "workdir", "mode", "overwrite", "keep", "list"):
        flags.FLAGS[name].unparse()
    flags.FLAGS.unparse_flags()


def test_flags_reach_the_mode(started, tmp_path, monkeypatch):
    seen = []

    def run_in(where, config, mode):
        seen.append((where, mode))
        return 7

    monkeypatch.setattr(modes, "run_in", run_in)
    assert started(f"--workdir={tmp_path}", "--keep", "--mode=sweep") == (7, [])
    assert started(f"--workdir={tmp_path}", "--overwrite") == (7, [])
    assert started(f"--workdir={tmp_path}", "--resume") == (7, [])
    assert seen == [
        (Target(tmp_path, overwrite=False, resume=False), "sweep"),
        (Target(tmp_path, overwrite=True, resume=False), "edit"),
        (Target(tmp_path, overwrite=False, resume=True), "edit"),
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--keep", "--overwrite", "--workdir=x"], "error: keep, overwrite: give one of them"),
        (["--keep", "--mode=convert", "--workdir=x"], "error: keep: is for the modes"),
        (["more", "--workdir=x"], "error: unknown argument 'more'; flags start with --"),
        ([], "error: workdir: give a folder for the results, e.g. --workdir=out"),
    ],
)
def test_an_expected_failure_is_one_line(arguments, told, started):
    code, (line,) = started(*arguments)
    assert code == 1 and line.startswith(told)


def test_an_interruption_before_any_work(started, tmp_path, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(modes, "run_in", interrupted)
    wanted = (130, ["error: interrupted; finished results are kept"])
    assert started(f"--workdir={tmp_path}") == wanted


@pytest.mark.parametrize(
    ("mode", "config", "told"),
    [
        ("train", "base", "config: --mode=train needs"),
        ("edit", "train", "config: this one edits no pictures"),
        ("replay", "train", "config: --mode=replay needs"),
        ("sweep", "train", "config: this one has no sweep"),
        ("web", "train", "config: --mode=web needs"),
    ],
)
def test_a_config_of_another_mode(mode, config, told, tmp_path):
    assert told in refused(config_of(config), None if mode == "web" else tmp_path, mode)


def test_a_page_needs_gradio_and_writes_nothing(tmp_path, monkeypatch):
    assert "workdir: --mode=web writes no files" in refused(config_of("base"), tmp_path, "web")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert 'pip install ".[web]"' in refused(config_of("base"), None, "web")


# --- config files of users ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("def get_config():\n    return foo\n", "line 2: NameError: name 'foo' is not defined"),
        ("def get_config(:\n    pass\n", "line 1: invalid syntax"),
        ("import nothere\n", "line 1: ModuleNotFoundError: No module named 'nothere'"),
        ("def get():\n    pass\n", "has no function get_config()"),
        ("def get_config():\n    return 3\n", "get_config() must return a ConfigDict, got 3"),
        ("raise ValueError('one\\ntwo')\n", "line 1: ValueError: one two"),
        ("import sys\nsys.exit(0)\n", "line 2: SystemExit: 0"),
        ("def get_config():\n    raise SystemExit\n", "line 2: SystemExit:"),
        ("def f():\n    f()\nf()\n", "RecursionError: "),
        ("class X(BaseException):\n    pass\nraise X('a')\n", "line 3: X: a"),
        ("x = 1\0\n", "mine.py: source code string cannot contain null bytes"),
        ("def get_config(a, b):\n    pass\n", "get_config() missing 2 required"),
        ("get_config = 3\n", "'int' object is not callable"),
        ("", "has 0 bytes, a config file has 1 to 1048576"),
        ("#" * 2**21, "has 2097152 bytes, a config file has 1 to 1048576"),
    ],
)
def test_a_mistake_in_a_config_file_is_one_line(body, told, started, tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(body)
    sys.modules.pop("config_config", None)  # the loader runs a file in the module of the last one
    try:
        code, (line,) = started(f"--config={file}", f"--workdir={tmp_path / 'out'}")
    except SystemExit as stopped:
        code, (line,) = stopped.code, capsys.readouterr().err.splitlines()
    assert code == 1 and line.startswith("error: config: ") and told in line
    assert not (tmp_path / "out").exists()


def test_a_mistake_in_a_locked_config_does_not_print_the_whole_config(parsed, tmp_path):
    body = "from sdedit_jax.configs import strokes\n\ndef get_config():\n"
    body += "    config = strokes.get_config().lock()\n    config.foo = 3\n    return config\n"
    (tmp_path / "mine.py").write_text(body)
    line, _ = parsed(f"--config={tmp_path / 'mine.py'}")
    assert "line 5: AttributeError" in line and '"foo" does not exist' in line
    assert len(line) < 400


@pytest.mark.parametrize("package", ["configs", "sdedit_jax.configs"])
def test_a_config_of_a_user_may_import_the_included_ones(package, tmp_path):
    """In a process of its own, in a folder that has no configs."""
    (tmp_path / "mine.py").write_text(
        f"from {package} import strokes\n\ndef get_config():\n"
        "    config = strokes.get_config()\n    config.t0 = 3.0\n    return config\n"
    )
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "from sdedit_jax.modes import command_line as c; c.start()"]
    command += ["--config=mine.py", "--workdir=out"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "error: t0 must be in [0, 1], got 3.0\n"
