"""The documents: examples run, commands name what exists, links lead somewhere."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    page
    for folder in (".", "docs", "checkpoints", "experiments", "experiments/*", "examples")
    for page in ROOT.glob(f"{folder}/*.md")
)


def blocks(page, language):
    """The fenced blocks of a page in one language, with the heading above each."""
    text = (ROOT / page).read_text()
    found = []
    for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        heading = re.findall(r"^#+ (.*)$", text[: match.start()], re.MULTILINE)[-1]
        found.append((heading, match[1]))
    return found


def commands():
    """Every call of main.py in a code block or code span, as (page, list of arguments)."""
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        for line in re.findall(r"(?:^|[`&] *)python main\.py ([^`\n|]*)", text, re.MULTILINE):
            yield page.name, shlex.split(line, comments=True)


@pytest.fixture
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))


EXAMPLES = blocks("docs/extending.md", "python")


@pytest.mark.parametrize("code", [b for _, b in EXAMPLES], ids=[h for h, _ in EXAMPLES])
def test_examples_of_extending_run(code, at_root):
    exec(compile(code, "docs/extending.md", "exec"), {"__name__": "example"})


def test_example_of_the_readme_runs(monkeypatch, tmp_path):
    ((_, code),) = blocks("README.md", "python")
    for name in ("checkpoints", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "example"})
    made = np.asarray(Image.open(tmp_path / "edited.png"))
    guide = np.asarray(Image.open(ROOT / "examples/strokes/red_apple.png").resize((64, 64)))
    assert made.shape == (64, 64, 3)
    # an edit at t0 = 0.5 follows its guide: near the stroke painting, yet not equal to it
    away = np.sqrt(np.mean((made.astype(float) - guide[..., :3]) ** 2))
    assert 2 < away < 80


def test_there_are_commands_to_check():
    assert len(list(commands())) >= 5


@pytest.mark.parametrize("page, args", list(commands()), ids=lambda v: v if type(v) is str else "")
def test_commands_name_existing_configs_and_fields(page, args, at_root):
    from importlib import import_module

    from sdedit_jax.run import MODES

    flags = dict(arg.removeprefix("--").split("=", 1) for arg in args if "=" in arg)
    assert set(flags.pop("mode", "edit").split(",")) <= set(MODES)
    flags.pop("workdir", None)
    file = flags.pop("config", None)
    if file is None:  # the first column of a table whose second column names the config
        return
    assert (ROOT / file).is_file()
    config = import_module(file.removesuffix(".py").replace("/", ".")).get_config()
    for name in flags:
        *folders, field = name.removeprefix("config.").split(".")
        place = config
        for folder in folders:
            place = place[folder]
        assert field in place, f"{page}: {file} has no {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_exist(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    here = [link.split("#")[0] for link in links if "://" not in link and link[0] != "#"]
    missing = [link for link in here if not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_in_code_spans_exist(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    shown = re.findall(
        r"`((?:configs|docs|tests|experiments|checkpoints|examples|sdedit_jax)/[\w./-]+)`", text
    )
    assert not [name for name in shown if not (ROOT / name).exists() and "NAME" not in name]


def test_configs_table_of_the_readme_is_complete():
    told = set(re.findall(r"configs/(\w+)\.py", (ROOT / "README.md").read_text()))
    there = {file.stem for file in (ROOT / "configs").glob("*.py")} - {"__init__"}
    assert told == there


def test_every_number_is_filled_in():
    unfinished = [str(p.relative_to(ROOT)) for p in PAGES if "MEASURE" in p.read_text()]
    assert not unfinished


def test_the_changelog_tells_this_version():
    import sdedit_jax

    assert f"## [{sdedit_jax.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    assert "Apache License" in (ROOT / "LICENSE").read_text()
