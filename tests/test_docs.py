"""The documents: examples run, commands name what exists, links lead somewhere.

`python tests/test_docs.py` writes the generated parts of the documents again.
"""

import ast
import inspect
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_imports import ORDER

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    page
    for folder in (".", "docs", "checkpoints", "experiments", "experiments/*", "examples")
    for page in ROOT.glob(f"{folder}/*.md")
)
ORDER_PAGE = ROOT / "docs/extending.md"
MARKS = ("<!-- import order -->\n", "<!-- end -->\n")
WIDTH = 100


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
        for line in re.findall(r"(?:^|[`&]) *python main\.py ([^`\n|]*)", text, re.MULTILINE):
            yield page.name, shlex.split(line, comments=True)


def id_of(value):
    return value if isinstance(value, str) else ""


def page_id(page):
    return str(page.relative_to(ROOT))


@pytest.fixture
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A folder with the checkpoints and examples of the checkout, where results may be written."""
    for name in ("checkpoints", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- examples in Python ---------------------------------------------------------------------------

EXAMPLES = blocks("docs/extending.md", "python")


def run(codes, page):
    """The variables after some blocks of a page, run one after the other."""
    names = {"__name__": "example"}
    for code in codes:
        exec(compile(code, page, "exec"), names)
    return names


@pytest.mark.parametrize("code", [b for _, b in EXAMPLES], ids=[h for h, _ in EXAMPLES])
def test_examples_of_extending_run(code, at_root):
    run([code], "docs/extending.md")


def test_examples_of_the_readme_run(elsewhere):
    names = run([b for h, b in blocks("README.md", "python") if h == "From Python"], "README.md")
    made = np.asarray(Image.open(elsewhere / "edited.png"))
    guide = np.asarray(Image.open(ROOT / "examples/flowers/daisy.png").resize((64, 64)))
    assert made.shape == (64, 64, 3)
    # an edit at t0 = 0.5 follows its guide: near the stroke painting, yet not equal to it
    away = np.sqrt(np.mean((made.astype(float) - guide[..., :3]) ** 2))
    assert 2 < away < 80
    assert names["picture"].shape == (64, 64, 3)  # the last result of the stream


@pytest.mark.long
def test_examples_with_text_of_the_readme_run(elsewhere):
    names = run([b for h, b in blocks("README.md", "python") if h == "Text"], "README.md")
    assert names["edited"].shape == (64, 64, 3)
    red, green = (names["made"].reconstruction[..., i].mean() for i in (0, 1))
    assert names["made"].image[..., 1].mean() - names["made"].image[..., 0].mean() > green - red


def calls(code):
    """(name, keywords) of every call of sj.name in a block."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "sj":
                yield node.func.attr, {k.arg for k in node.keywords}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_examples_call_what_exists(page):
    import sdedit_jax as sj

    for _, code in blocks(page, "python"):
        for name, keywords in calls(code):
            assert name in sj.__all__, f"{page.name}: sj.{name}"
            if name not in ("stream", "VE", "VP", "Prior", "Prediction", "Grid"):
                known = set(inspect.signature(getattr(sj, name)).parameters)
                assert keywords <= known, f"{page.name}: {name}({keywords - known})"


# --- commands -------------------------------------------------------------------------------------


def test_there_are_commands_to_check():
    assert len(list(commands())) >= 20


@pytest.mark.parametrize("page, args", list(commands()), ids=id_of)
def test_commands_name_existing_configs_fields_and_parts(page, args, at_root):
    from importlib import import_module

    from sdedit_jax.modes import MODES
    from sdedit_jax.registry import sampler_parts

    assert {arg for arg in args if arg[:2] == "--" and "=" not in arg} <= {"--overwrite", "--keep"}
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
    tables = {
        "rule": sampler_parts.SOLVERS,
        "grid": sampler_parts.GRIDS,
        "corrector": sampler_parts.CORRECTORS,
    }
    for field, table in tables.items():
        sampler_parts.parse(flags.get(f"config.sampler.{field}"), table, field)


# --- paths and links ------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_relative_links_exist(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    here = [link for link in links if "://" not in link]
    missing = [link for link in here if not (page.parent / link.split("#")[0]).exists()]
    assert not missing
    for file, anchor in (link.split("#") for link in here if "#" in link):
        headings = re.findall(r"^#+ (.*)$", (page.parent / file or page).read_text(), re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
        assert anchor in slugs, f"{page.name}: {file} has no heading {anchor}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_paths_in_code_spans_exist(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    shown = re.findall(
        r"`((?:configs|docs|tests|experiments|checkpoints|examples|sdedit_jax)/[\w./-]*)`", text
    )
    assert not [name for name in shown if not (ROOT / name).exists() and "NAME" not in name]


def test_configs_of_the_readme_are_complete():
    named = set(re.findall(r"configs/(\w+)\.py", (ROOT / "README.md").read_text()))
    there = {file.stem for file in (ROOT / "configs").glob("*.py")} - {"__init__"}
    assert named == there


# --- form -----------------------------------------------------------------------------------------


def plain_lines(text):
    """The lines of a page that can be wrapped: not those of blocks and tables, nor long links."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for line in text.splitlines():
        if line[:1] != "|" and not line.startswith(("    ", "![")) and " " in line.strip():
            yield line


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_lines_are_wrapped(page):
    """Model cards, which begin with metadata, are written by a training."""
    text = page.read_text()
    if not text.startswith("---"):
        assert not [line for line in plain_lines(text) if len(line) > WIDTH]


def test_every_number_is_filled_in():
    unfinished = [str(p.relative_to(ROOT)) for p in PAGES if "MEASURE" in p.read_text()]
    assert not unfinished


def test_the_changelog_has_this_version():
    import sdedit_jax

    assert f"## [{sdedit_jax.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    assert "Apache License" in (ROOT / "LICENSE").read_text()


# --- the import order, generated from test_imports.ORDER ------------------------------------------


def purpose(name):
    """The first sentence of a room's docstring."""
    path = ROOT / "sdedit_jax" / name
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    first = (ast.get_docstring(ast.parse(file.read_text())) or "").split("\n\n")[0]
    return " ".join(first.split()).removesuffix(".")


def rooms(line):
    """The rooms of a line of ORDER that exist."""
    inside = ROOT / "sdedit_jax"
    return [n for n in line if n and ((inside / n).is_dir() or (inside / f"{n}.py").is_file())]


def import_order(order=ORDER):
    """The table of the import order, from the top down."""
    rows = ["| | room | what it holds |", "|---|---|---|"]
    lines = [found for line in order if (found := rooms(line))]
    rows += [
        f"| {i} | `{name}` | {purpose(name)} |" for i, line in enumerate(lines, 1) for name in line
    ]
    return "\n".join(rows) + "\n"


def with_order(text, order=ORDER):
    """A page with the table between its marks written again."""
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    return f"{before}{MARKS[0]}\n{import_order(order)}\n{MARKS[1]}{after}"


def test_the_import_order_of_the_docs_is_that_of_the_code():
    """If this fails, run `python tests/test_docs.py`."""
    text = ORDER_PAGE.read_text()
    assert with_order(text) == text
    assert with_order(text, ORDER[::-1]) != text
    assert not re.search(r"\|\s*\|$", import_order(), re.MULTILINE), "a room has no docstring"


if __name__ == "__main__":
    ORDER_PAGE.write_text(with_order(ORDER_PAGE.read_text()))
