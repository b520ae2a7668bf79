"""main.py as a user starts it: flags, exit codes, one line for each error."""

import os
import re
import subprocess
import sys

import pytest
from absl import flags
from ml_collections import config_flags
from program import ROOT, config_of, exact_prior, names, refused

from sdedit_jax import modes
from sdedit_jax.modes import check
from sdedit_jax.tasks.common import read_options
from sdedit_jax.tasks.recolor import Options

sys.path.insert(0, str(ROOT))
import main  # noqa: E402


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
            main.parse(argv)
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
        ("--config.prio=x", "has no such field; did you mean '--config.prior'?"),
        ("--config.sampler.step=9", "such field; did you mean '--config.sampler.steps'?"),
        ("--config.steps=9", "such field; did you mean '--config.sampler.steps'?"),
        ("--config=configs/stroke.py", "did you mean 'configs/strokes.py'?"),
        ("--config=strokes", "did you mean 'configs/strokes.py'?"),
        ("--wordir=out", "wordir"),
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
    line, config = parsed(*arguments, "--config.options.reference=", "--config.sweep.t0=(0.1,0.2)")
    assert line == ""
    assert (config.t0, config.sigma, config.sampler.steps) == (0.25, 2.0, 7)
    assert tuple(config.options.palette) == ("red", "#00ff00") and config.options.reference == ""
    assert tuple(config.sweep.t0) == (0.1, 0.2)


@pytest.mark.parametrize(
    ("mode", "arguments", "told"),
    [
        ("edit", ["t0=0.3", "sigma=2.0"], "the strength is given twice, t0 0.3 and sigma 2"),
        ("edit", ["preset=paper-ve", "sampler.hold=level"], "sampler.hold: preset 'paper-ve' has"),
        ("edit", ["preset=diffusers", "t0=0.3"], 't0: preset "diffusers" takes strength'),
        ("sweep", ["seed=3"], "seed: a sweep takes sweep.seeds instead, got 3"),
        ("sweep", ["samples=2"], "samples: a sweep takes sweep.seeds instead, got 2"),
        ("sweep", ["t0=0.3"], "t0: a sweep takes sweep.t0 instead, got 0.3"),
        ("replay", ["t0=0.3"], "t0: is the recipe's in a replay, got 0.3"),
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
    ],
)
def test_fields_with_an_effect_are_allowed(mode, given):
    config = config_of("base")
    config.update_from_flattened_dict(given)
    check.check(mode, config, given)


def test_a_palette_is_given_with_commas(parsed, monkeypatch):
    monkeypatch.chdir(ROOT)
    fields = ["--config=configs/recolor.py", "--config.options.palette=red,#00ff00"]
    line, config = parsed(*fields)
    assert line == ""
    options = read_options(Options, config.options.to_dict())
    assert options.palette == ("red", "#00ff00")


def test_without_a_config_the_base_is_taken(parsed):
    line, config = parsed("--mode=replay", "--config.input=out/x.png")
    assert line == "" and config.input == "out/x.png" and config.task == "strokes"


def test_a_workdir_that_is_a_file(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OSError, match=r"workdir: cannot make the folder .*out: File exists"):
        modes.make_folder(tmp_path / "out")
    with pytest.raises(OSError, match=r"workdir: cannot make the folder .*: Not a directory"):
        modes.make_folder(tmp_path / "out" / "deeper")


def test_a_workdir_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *args: False)  # root may write anywhere
    with pytest.raises(OSError, match="cannot be written"):
        modes.make_folder(tmp_path)


@pytest.fixture
def started(capsys):
    """Parse and run in this process: (exit code, the lines of stderr)."""

    def start(*arguments):
        argv = ["main.py", *map(str, arguments)]
        flags.FLAGS.unparse_flags()
        rest = main.parse(argv)
        return main.main(rest), capsys.readouterr().err.splitlines()

    yield start
    for name in ("config", "workdir", "mode", "overwrite", "keep"):
        flags.FLAGS[name].unparse()
    flags.FLAGS.unparse_flags()


def test_flags_reach_the_mode(started, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(main, "run", lambda *args, **options: seen.append((args[1:], options)) or 7)
    assert started(f"--workdir={tmp_path}", "--keep", "--mode=sweep") == (7, [])
    assert seen == [((str(tmp_path), "sweep"), {"overwrite": False, "keep": True})]


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

    monkeypatch.setattr(main, "run", interrupted)
    wanted = (130, ["error: interrupted; finished results are kept"])
    assert started(f"--workdir={tmp_path}") == wanted


@pytest.mark.parametrize(
    ("mode", "config", "told"),
    [
        ("train", "base", "config: --mode=train needs"),
        ("edit", "train", "config: this one edits no pictures"),
        ("replay", "train", "config: --mode=replay needs"),
        ("sweep", "train", "config: this one has no sweep"),
    ],
)
def test_a_config_of_another_mode(mode, config, told, tmp_path):
    assert told in refused(config_of(config), tmp_path, mode)
