"""The documents: blocks run, commands are read by the program, links lead somewhere.

A block of code is run, unless a comment before it says otherwise: `<!-- no-run: reason -->`, or
`<!-- long -->` for one that takes long. `<!-- after: command -->` runs a command before the block.

`python tests/test_docs.py` writes the generated parts of the documents again.
"""

import ast
import importlib.util
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from absl import flags
from ml_collections import config_flags
from PIL import Image, ImageDraw
from test_imports import ORDER

from sdedit_jax.edits import ledits
from sdedit_jax.modes import MODES, check, command_line
from sdedit_jax.pipeline import settings
from sdedit_jax.registry import included, sampler_parts

ROOT = Path(__file__).parent.parent
GUIDES = sorted(page for where in ("docs", "docs/guides") for page in ROOT.glob(f"{where}/*.md"))
OTHERS = sorted(
    page
    for where in (".", "checkpoints", "checkpoints/*", "experiments", "experiments/*", "examples")
    for page in ROOT.glob(f"{where}/*.md")
)
PAGES = [*GUIDES, *OTHERS]
ORDER_PAGE = ROOT / "docs/house.md"
EXTENDING = ROOT / "docs/extending.md"
MARKS = ("<!-- import order -->\n", "<!-- end -->\n")
WIDTH = 100
LANGUAGES = ("bash", "python", "math", "text")
PROGRAM = r"(?:sdedit|python main\.py|python -m sdedit_jax|wheel/bin/sdedit)"


class Block(NamedTuple):
    """A block of code of a page.

    Attributes:
        mark, value: the comment before it, such as ("no-run", "needs a GPU"); ("", "") for none.
    """

    page: Path
    heading: str
    language: str
    code: str
    mark: str
    value: str


def blocks_of(page):
    """The blocks of code of a page."""
    text, found = page.read_text(), []
    form = r"(?:^ *<!-- ([\w-]+)(?:: ([^\n]*))? -->\n)?^( *)```(\w*)\n(.*?)^ *```$"
    for match in re.finditer(form, text, re.MULTILINE | re.DOTALL):
        mark, value, margin, language, code = match.groups(default="")
        code = "".join(line.removeprefix(margin) for line in code.splitlines(keepends=True))
        heading = re.findall(r"^#+ (.*)$", text[: match.start()], re.MULTILINE)[-1]
        found.append(Block(page, heading, language, code, mark, value))
    return found


BLOCKS = [block for page in (ROOT / "README.md", *GUIDES) for block in blocks_of(page)]


def commands():
    """Every call of the program in a code block or code span, as (page, list of arguments)."""
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        for line in re.findall(rf"(?:^|[`&]) *{PROGRAM} (--[^`\n|]*)", text, re.MULTILINE):
            yield page.name, shlex.split(line, comments=True)


def id_of(value):
    return value if isinstance(value, str) else ""


def page_id(page):
    return str(page.relative_to(ROOT))


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A folder with the pictures that the documents name, where results may be written."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for name, source in {
        "painting.png": "flowers/sunflower.png",
        "photo.png": "scribble/apple.png",
        "strokes.png": "scribble/strokes/apple.png",
    }.items():
        Image.open(ROOT / "examples" / source).save(tmp_path / name)
    mask = Image.new("L", Image.open(tmp_path / "photo.png").size)
    ImageDraw.Draw(mask).ellipse((90, 90, 160, 160), fill=255)
    mask.save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- blocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: f"{page_id(b.page)}: {b.heading}")
def test_every_block_is_run_or_says_why_not(block):
    assert block.language in LANGUAGES, block.code
    assert block.mark in ("", "no-run", "long", "after"), block
    assert bool(block.value) == (block.mark in ("no-run", "after")), block


def python_of(page, long):
    """The Python of a page that is run, now or with the long tests."""
    found = [b for b in blocks_of(page) if b.language == "python" and b.mark != "no-run"]
    return [block.code for block in found if (block.mark == "long") == long]


def pages_with_python(long):
    pages = [page for page in (ROOT / "README.md", *GUIDES) if page != EXTENDING]
    return [page for page in pages if python_of(page, long)]


def run(codes, page):
    """Run some blocks of a page, one after the other, with the names of those before."""
    names = {"__name__": "example"}
    for code in codes:
        exec(compile(code, page, "exec"), names)


@pytest.mark.parametrize("page", pages_with_python(long=False), ids=page_id)
def test_python_of_a_page_runs(page, elsewhere):
    run(python_of(page, long=False), str(page))


@pytest.mark.long
@pytest.mark.parametrize("page", pages_with_python(long=True), ids=page_id)
def test_long_python_of_a_page_runs(page, elsewhere):
    run(python_of(page, long=True), str(page))


EXAMPLES = blocks_of(EXTENDING)


@pytest.mark.parametrize("code", [b.code for b in EXAMPLES], ids=[b.heading for b in EXAMPLES])
def test_examples_of_extending_run(code, monkeypatch):
    monkeypatch.chdir(ROOT)
    run([code], "docs/extending.md")


def shell(code, folder):
    """Run commands as a reader does, with the program of this checkout."""
    program = f'sdedit() {{ {shlex.quote(sys.executable)} -m sdedit_jax "$@"; }}\n'
    changed = {"PYTHONPATH": str(ROOT), "SDEDIT_CACHE": str(folder / "programs")}
    made = subprocess.run(
        ["bash", "-e", "-c", program + code],
        cwd=folder,
        env=os.environ | changed,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, f"{code}\n{made.stdout}\n{made.stderr}"


def shell_blocks(long):
    """The blocks of commands that are run, in the order of their pages."""
    found = [b for b in BLOCKS if b.language == "bash" and b.mark != "no-run"]
    return [block for block in found if (block.mark == "long") == long]


def run_shell(block, folder):
    shell((block.value if block.mark == "after" else "") + "\n" + block.code, folder)


def block_id(block):
    return f"{page_id(block.page)}: {block.heading}"


@pytest.mark.parametrize("block", shell_blocks(long=False), ids=block_id)
def test_commands_run(block, elsewhere):
    run_shell(block, elsewhere)


@pytest.mark.long
@pytest.mark.parametrize("block", shell_blocks(long=True), ids=block_id)
def test_long_commands_run(block, elsewhere):
    run_shell(block, elsewhere)


def test_the_gate_finds_its_two_commands():
    install, test = [b.code for b in blocks_of(ROOT / "README.md") if b.language == "bash"][:2]
    assert "--config=flowers" in install and "pip install ." in install
    assert "python -m pytest -n 2" in test and '".[test]"' in test


# --- calls of the Python API ----------------------------------------------------------------------


def calls(code):
    """(name, keywords) of every call of sj.name in a block."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "sj":
                yield node.func.attr, {k.arg for k in node.keywords}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_examples_call_what_exists(page):
    import sdedit_jax as sj

    for code in (b.code for b in blocks_of(page) if b.language == "python"):
        for name, keywords in calls(code):
            assert name in sj.__all__, f"{page.name}: sj.{name}"
            if name not in ("stream", "VE", "VP", "Prior", "Prediction", "Grid"):
                known = set(inspect.signature(getattr(sj, name)).parameters)
                assert keywords <= known, f"{page.name}: {name}({keywords - known})"


def test_the_api_page_has_every_public_name():
    import sdedit_jax as sj

    shown = re.findall(r"^::: sdedit_jax\.(\w+)$", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    assert sorted(shown) == sorted(sj.__all__)
    assert all(inspect.getdoc(getattr(sj, name)) for name in sj.__all__)


# --- commands -------------------------------------------------------------------------------------


def test_there_are_commands_to_check():
    assert len(list(commands())) >= 40


@pytest.mark.parametrize("page, args", list(commands()), ids=id_of)
def test_the_program_reads_the_commands(page, args, monkeypatch):
    monkeypatch.chdir(ROOT)
    argv = command_line.with_config(["sdedit", *args])
    found = flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config", None, "", flag_values=found, sys_argv=argv, lock_config=True
    )
    flags.DEFINE_string("workdir", "", "", flag_values=found)
    flags.DEFINE_string("mode", "edit", "", flag_values=found)
    for name in ("overwrite", "keep", "list"):
        flags.DEFINE_bool(name, False, "", flag_values=found)
    assert found(argv) == ["sdedit"], f"{page}: arguments without --"
    config, mode = found.config, found.mode
    assert mode in MODES
    check.check(mode, config, config_flags.get_override_values(found["config"]))
    assert not config.get("preset") or config.preset in {*settings.PRESETS, *ledits.PRESETS}
    for field, table in {
        "rule": sampler_parts.SOLVERS,
        "grid": sampler_parts.GRIDS,
        "corrector": sampler_parts.CORRECTORS,
    }.items():
        if "sampler" in config:
            sampler_parts.parse(config.sampler[field], table, f"sampler.{field}")


def fields():
    """The dotted names of the fields of all configs."""
    for name in included.configs():
        config = command_line.plain_config(["sdedit", f"--config={name}"])
        yield from (".".join(field) for field in command_line.fields_of(config))


@pytest.mark.parametrize("page", [ROOT / "README.md", *GUIDES], ids=page_id)
def test_fields_in_the_text_exist(page):
    named = set(re.findall(r"--config\.([\w.]*\w)", page.read_text()))
    assert named <= {*fields(), "FIELD"}


def test_every_config_is_explained():
    text = "".join(page.read_text() for page in (ROOT / "README.md", *GUIDES))
    named = set(re.findall(r"(?:--config=|configs/|`)(\w+)", text))
    assert set(included.configs()) <= named


# --- the site -------------------------------------------------------------------------------------


def module_of(path):
    """A Python file of docs/, imported."""
    made = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(made)
    made.loader.exec_module(module)
    return module


def test_every_picture_of_the_gallery_has_its_command():
    shown = {picture for _, picture in module_of(ROOT / "docs/gallery.py").shown()}
    assert shown >= set((ROOT / "docs/pictures/gallery").iterdir())
    assert all(picture.is_file() for picture in shown)
    assert len(shown) == (ROOT / "docs/gallery.md").read_text().count("\n![")


def test_a_page_shows_the_outputs_of_the_same_notebook_alone(tmp_path, monkeypatch):
    for module in ("nbconvert", "nbclient", "ipykernel"):
        pytest.importorskip(module, reason='notebooks as pages need pip install ".[docs]"')
    pages = module_of(ROOT / "docs/notebooks.py")
    monkeypatch.setattr(pages, "DONE", tmp_path / "done")
    code = "from PIL import Image\nprint(6 * 7)\nImage.new('RGB', (4, 4))"
    cells = [pages.nbformat.v4.new_code_cell(code)]
    path = tmp_path / "small.ipynb"
    pages.nbformat.write(pages.nbformat.v4.new_notebook(cells=cells), path)
    assert "no outputs" in pages.page(path)[0] and not pages.page(path)[1]
    pages.run(path)
    text, pictures = pages.page(path)
    assert "\n    42\n" in text and "no outputs" not in text
    assert [f"]({name})" in text for name in pictures] == [True]
    if importlib.util.find_spec("mkdocs"):  # links of the page to pictures stay as they are
        site_uri = module_of(ROOT / "docs/hooks.py").site_uri
        assert not any(site_uri(f"notebooks/{name}") for name in pictures)
    cells[0].source += "\n"
    pages.nbformat.write(pages.nbformat.v4.new_notebook(cells=cells), path)
    assert "no outputs" in pages.page(path)[0]


def test_the_site_builds_without_warnings_and_needs_no_other_host(tmp_path):
    for module in ("mkdocs", "material", "mkdocstrings", "latex2mathml", "nbconvert"):
        pytest.importorskip(module, reason='the site needs pip install ".[docs]"')
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    skips = {**os.environ, "NOTEBOOKS": "skip"}  # tests/test_notebooks.py runs them
    made = subprocess.run(command, cwd=ROOT, env=skips, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    loaded = r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>"
    for page in tmp_path.rglob("*.html"):
        assert not re.findall(loaded, page.read_text()), page
        for picture in re.findall(r"<img\b[^>]*\bsrc=\"([^\"]+)", page.read_text()):
            assert (page.parent / picture).is_file(), f"{page}: {picture}"
    assert "<math" in (tmp_path / "theory.html").read_text()
    assert (tmp_path / "search/search_index.json").is_file()


# --- paths and links ------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_relative_links_exist(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    here = [link for link in links if "://" not in link]
    missing = [link for link in here if not (page.parent / link.split("#")[0]).exists()]
    assert not missing
    for file, anchor in (link.split("#") for link in here if "#" in link):
        target = page.parent / file if file else page
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
        assert anchor in slugs, f"{page.name}: {file} has no heading {anchor}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_paths_in_code_spans_exist(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    shown = re.findall(
        r"`((?:configs|docs|tests|experiments|checkpoints|examples|sdedit_jax)/[\w./-]*)`", text
    )
    assert not [name for name in shown if not (ROOT / name).exists() and "NAME" not in name]


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
