"""Imports point down only, no module is in an import circle, each library has its few places."""

import ast
import functools
import importlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sdedit_jax.modes import MODES

ROOT = Path(__file__).parent.parent
PACKAGE = "sdedit_jax"

# The import order, from the top down. A room may import rooms that stand below it. Rooms on one
# line do not import each other.
ORDER = [
    ["main", "__main__", ""],
    ["public"],
    ["modes"],
    ["web"],
    ["api", "evaluation", "training"],
    ["pipeline"],
    ["weights"],
    ["registry"],
    ["edits", "tasks"],
    ["guidance"],
    ["priors"],
    ["diffusion"],
    ["data"],
    ["images", "nets", "text"],
    ["caution", "devices", "lazy", "provenance"],
    ["signals"],
    ["files"],
]
# 20: data sets are a room, because training and evaluation both read them
# 21: files is a room, because every other one reads users' files by one rule
# 22: signals are caught before the rooms are imported, which takes seconds
# 24: `import sdedit_jax` imports its names at their first use, which is a mechanism and a list
MOST_ENTRIES = 24
"""Entries at the top level of the package, `__init__`, `__main__` and `py.typed` not counted."""

# outside library -> where it may be imported
HOMES = {
    "flax": ["nets"],
    "optax": ["training"],
    "orbax": ["weights/store.py", "training/loop.py"],
    "grain": ["training/batches.py", "evaluation/flow.py"],
    "array_record": ["evaluation/shards.py"],
    "tensorflow_datasets": ["data/tfds_sets.py"],
    "lmdb": [],
    "torch": ["weights"],
    "msgpack": ["weights"],
    "safetensors": ["weights"],
    "huggingface_hub": ["weights"],
    "tokenizers": ["text"],
    "absl": ["main.py", "configs", "modes"],
    "ml_collections": ["main.py", "configs", "modes"],
    "gradio": ["web"],
    "anywidget": ["web"],
    "traitlets": ["web"],
    "scipy": ["evaluation"],
    "jinja2": ["evaluation/report.py"],
    "tensorflow": [],
}
SELDOM = {
    "train": {"orbax", "grain", "array_record", "tensorboardX", "safetensors"},
    "evaluate": {"orbax", "grain", "array_record"},
}
"""Modes -> the libraries, of those that few modes need, that their modules import."""
FEW = ("orbax", "grain", "array_record", "tensorboardX", "scipy", "tokenizers", "jinja2", "torch")
FEW += ("matplotlib", "tensorflow", "tensorflow_datasets", "gradio", "fastapi", "huggingface_hub")
FEW += ("anywidget", "lmdb", "pandas", "transformers", "safetensors")
PURE = ["diffusion", "guidance", "edits"]
"""Rooms of algorithms, which know jax and numpy alone."""


@functools.cache
def files():
    inside = sorted((ROOT / PACKAGE).rglob("*.py"))
    return (*inside, ROOT / "main.py", *sorted((ROOT / "configs").glob("*.py")))


def imported(file):
    """(module, name or None) of every import of a file, wherever in the file it stands."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            yield from ((node.module, alias.name) for alias in node.names)


def module_of(file, root=ROOT):
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def dependencies(file, modules):
    """Modules of the package that a file imports: a submodule where the name is one."""
    for module, name in imported(file):
        if module.split(".")[0] == PACKAGE:
            full = f"{module}.{name}"
            yield full if full in modules else module


@functools.cache
def graph(every, root=ROOT):
    """Module -> the modules that it imports, for a tuple of files."""
    modules = {module_of(file, root) for file in every}
    return {module_of(f, root): set(dependencies(f, modules)) & modules for f in every}


def circles(edges):
    """The import circles: groups of modules each of which reaches the others."""
    reach = {}
    for start in edges:
        seen, todo = set(), [start]
        while todo:
            for after in edges[todo.pop()] - seen:
                seen.add(after)
                todo.append(after)
        reach[start] = seen
    groups = {frozenset(b for b in reach[a] if a in reach[b]) for a in edges if a in reach[a]}
    return sorted(sorted(group) for group in groups)


def room(module):
    """The room of a module: sdedit_jax.edits.sdedit -> edits; sdedit_jax -> ""."""
    parts = module.split(".")
    if parts[0] != PACKAGE:
        return parts[0]
    return parts[1] if len(parts) > 1 else ""


def height(name):
    for i, line in enumerate(ORDER):
        if name in line:
            return -i
    raise AssertionError(f"{name} has no place in ORDER; give it one")


@pytest.mark.parametrize("file", files(), ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_point_down(file):
    edges = graph(files())
    own = room(module_of(file))
    for other in {room(module) for module in edges[module_of(file)]} - {own}:
        assert own != "configs", f"{file.name}: a config holds values only, and imports {other}"
        assert height(other) < height(own), f"{own} must not import {other}"


def test_no_module_is_in_an_import_circle():
    assert circles(graph(files())) == []


def test_the_package_has_few_rooms():
    apart = {"__init__", "__main__", "py", "__pycache__"}
    entries = {path.name.split(".")[0] for path in (ROOT / PACKAGE).iterdir()} - apart
    assert len(entries) <= MOST_ENTRIES, sorted(entries)
    assert all(height(entry) is not None for entry in entries)


@pytest.mark.parametrize("file", files(), ids=lambda f: str(f.relative_to(ROOT)))
def test_libraries_stay_in_their_places(file):
    path = file.relative_to(ROOT)
    inside = path.relative_to(PACKAGE) if path.parts[0] == PACKAGE else path
    for name in {module.split(".")[0] for module, _ in imported(file)}:
        if name in HOMES:
            homes = [Path(home) for home in HOMES[name]]
            assert any(home in (inside, *inside.parents) for home in homes), f"{path}: {name}"


def test_libraries_are_imported_where_they_are_used():
    """One process, so each mode comes after those that need less."""
    modes = sorted(MODES, key=lambda mode: len(SELDOM.get(mode, ())))
    first = """
        import importlib, json, sys
        def known():
            return sorted({name.split(".")[0] for name in sys.modules})
        import sdedit_jax
        found = {"package": known()}
        sdedit_jax.edit
        found["names"] = known()
        for mode in sys.argv[1:]:
            importlib.import_module(f"sdedit_jax.modes.{mode}")
            found[mode] = known()
        print(json.dumps(found))
    """
    command = [sys.executable, "-c", textwrap.dedent(first), *modes]
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    found = json.loads(subprocess.check_output(command, cwd=ROOT, env=env, text=True))
    assert not {"jax", "numpy", "flax", "absl", "PIL", *FEW} & set(found["package"])
    assert "jax" in found["names"] and not {"flax", *FEW} & set(found["names"])
    allowed = set()
    for mode in modes:
        allowed |= SELDOM.get(mode, set())
        assert set(FEW) & set(found[mode]) <= allowed, mode


def test_help_needs_no_jax():
    program = (
        "import sys; from sdedit_jax.modes import command_line as c; sys.argv = ['x', '--help']"
    )
    code = f"{program}\ntry: c.start()\nfinally: sys.stderr.write(str('jax' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "--workdir" in done.stdout and done.stderr == "False"


@pytest.mark.parametrize(
    ("package", "home"),
    [
        ("sdedit_jax", "sdedit_jax.public"),
        ("sdedit_jax.registry", "sdedit_jax.registry.tables"),
        ("sdedit_jax.modes", "sdedit_jax.modes.running"),
    ],
)
def test_packages_have_the_names_of_their_modules(package, home):
    outer, inner = importlib.import_module(package), importlib.import_module(home)
    assert inner.__all__ == outer.__all__
    assert all(getattr(outer, name) is getattr(inner, name) for name in inner.__all__)
    for name in ("Path", "importlib", "nothing", "__wrapped__"):
        assert not hasattr(outer, name)


def test_the_core_knows_jax_alone():
    allowed = {"jax", "numpy", "math", "typing", "dataclasses", "collections", "functools"}
    allowed |= {"enum", "hashlib", "numbers", PACKAGE}
    for file in files():
        if room(module_of(file)) in PURE:
            assert {module.split(".")[0] for module, _ in imported(file)} <= allowed, file


OPENING = {
    *("open", "np.load", "np.fromfile", "np.memmap", "json.load", "json.loads", "csv.reader"),
    *("zipfile.ZipFile", "Image.open", "pickle.load", "read_text", "read_bytes"),
    *("shutil.copyfile", "shutil.copy", "shutil.copytree", "lmdb.open", "os.open", "io.open"),
}
"""Calls that open, or read, a file of a user; those of files/ are checked and limited."""
FREE = {
    "weights": "checkpoints have readers of their own",
    "web/canvas.py": "read_text of the page's own files",
    "web/result.py": "read_text of the page's own files",
    "web/strength.py": "read_text of the page's own files",
    "evaluation/identity.py": "read_bytes of our code",
    "data/examples.py": "json.loads of the references that a data set makes",
    "data/patches.py": "json.loads of the references that a data set makes",
    "data/pie_bench.py": "json.loads of the references that a data set makes",
    "images/files.py": "open for writing",
    "modes/screen.py": "open of the null device",
    "provenance.py": "json.loads of recipes",
    "text/concept_parser.py": "json.loads of a quoted prompt",
    "text/vocabulary.py": "json.loads of what tokenizers learned",
    "training/history.py": "json.loads of what was just written",
    "training/report.py": "open for writing",
}
"""Where such calls are allowed, and why."""


def opening(file):
    """(line, call) of the calls of OPENING in a file."""
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        last = name.rpartition(".")[2]
        mode = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        of_path = last == "open" and "." in name and (not node.args or isinstance(mode, str))
        ours = name.startswith(("images.", "door.", "json_file."))
        if name in OPENING or of_path or (last in ("read_text", "read_bytes") and not ours):
            yield node.lineno, name


@pytest.mark.parametrize("file", files(), ids=lambda f: str(f.relative_to(ROOT)))
def test_users_files_are_opened_in_one_room(file):
    path = file.relative_to(ROOT)
    inside = path.relative_to(PACKAGE) if path.parts[0] == PACKAGE else path
    free = any(Path(home) in (inside, *inside.parents) for home in ("files", *FREE))
    assert free or not [*opening(file)], f"{path}: open users' files by sdedit_jax/files"


def test_no_place_is_free_for_nothing():
    for home in FREE:
        here = [f for f in files() if f.is_relative_to(ROOT / PACKAGE / home)]
        assert any(any(opening(file)) for file in here), home


def test_calls_that_open_files_are_found(tmp_path):
    calls = ["open(x)", "x.open()", "x.open('rb')", "x.read_text()", "np.load(x)", "Image.open(x)"]
    allowed = ["images.read_text(x)", "layout.open(x, y)", "door.open_file(x)"]
    (tmp_path / "a.py").write_text("\n".join(calls + allowed))
    assert [line for line, _ in opening(tmp_path / "a.py")] == [1, 2, 3, 4, 5, 6]


def test_a_wrong_import_and_a_circle_are_found(tmp_path):
    """An import inside a function counts, and so does a circle through the package root."""
    package = tmp_path / PACKAGE
    package.mkdir()
    sources = {
        "__init__": "from sdedit_jax.a import f\n",
        "a": "def f():\n    from sdedit_jax import b\n    import flax.nnx\n",
        "b": "from sdedit_jax import __version__\n",
        "c": "from sdedit_jax import a\n",
    }
    for name, text in sources.items():
        (package / f"{name}.py").write_text(text)
    edges = graph(tuple(sorted(package.glob("*.py"))), tmp_path)
    assert circles(edges) == [["sdedit_jax", "sdedit_jax.a", "sdedit_jax.b"]]
    assert ("flax.nnx", None) in set(imported(package / "a.py"))
    assert height("edits") > height("diffusion")
