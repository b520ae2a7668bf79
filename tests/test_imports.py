"""Imports point down only, and each outside library has its few places."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "sdedit_jax"

# from the bottom up; a module may import what stands below it, and what stands in `BESIDE`
LAYERS = [
    ["guide", "sde", "images", "nets", "text", "weights", "augment"],
    ["rules", "strength"],
    ["grids"],
    ["samplers", "timesteps", "guidance", "prior", "data", "parallel", "record"],
    ["edits", "train", "metrics", "tasks", "selfcheck", "latent", "prompts"],
    ["build", "editor", "concepts"],
    ["convert", "words"],
    ["load"],
    ["run", "evaluate", "api"],
    ["api_text"],
    ["", "web", "main"],
]
BESIDE = {"augment": {"images"}}
# outside library -> where it may be imported
HOMES = {
    "flax": ["nets"],
    "optax": ["train"],
    "orbax": ["weights/store.py", "train/loop.py"],
    "grain": ["data.py"],
    "tensorflow_datasets": ["data.py"],
    "torch": ["weights"],
    "msgpack": ["weights"],
    "safetensors": ["weights"],
    "huggingface_hub": ["weights"],
    "tokenizers": ["text"],
    "absl": ["main.py", "configs", "run.py", "run"],
    "ml_collections": ["main.py", "configs", "run.py", "run"],
    "gradio": ["web"],
    "tensorflow": [],
}
PURE = ["guide", "sde", "rules", "strength", "grids", "samplers", "prior", "parallel"]
PURE += ["guidance", "edits"]


def files():
    inside = sorted((ROOT / PACKAGE).rglob("*.py"))
    return (
        inside
        + [ROOT / "main.py"] * (ROOT / "main.py").exists()
        + sorted((ROOT / "configs").glob("*.py"))
    )


def imported(file):
    """Full names of the modules a file imports, wherever in the file the import stands."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(name):
    """The room of the house: sdedit_jax.edits.sdedit -> edits; sdedit_jax -> "" (the face)."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def rooms_of(file):
    """Rooms of the package that a file imports."""
    known = {p.stem for p in (ROOT / PACKAGE).iterdir() if p.stem != "__init__"}
    for name in imported(file):
        if name.split(".")[0] == PACKAGE and room(name) in known:
            yield room(name)


def own_room(file):
    path = file.relative_to(ROOT)
    if path.parts[0] != PACKAGE:
        return "main" if file.name == "main.py" else "configs"
    return "" if path.parts[1] == "__init__.py" else path.parts[1].removesuffix(".py")


def height(name):
    for i, layer in enumerate(LAYERS):
        if name in layer:
            return i
    raise AssertionError(f"{name} has no place in LAYERS; give it one")


@pytest.mark.parametrize("file", files(), ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_point_down(file):
    own = own_room(file)
    for other in set(rooms_of(file)) - {own}:
        assert own != "configs", f"{file.name}: a config holds values only, and imports {other}"
        below = height(other) < height(own)
        assert below or other in BESIDE.get(own, ()), f"{own} must not import {other}"


@pytest.mark.parametrize("file", files(), ids=lambda f: str(f.relative_to(ROOT)))
def test_libraries_stay_in_their_places(file):
    path = file.relative_to(ROOT)
    inside = path.relative_to(PACKAGE) if path.parts[0] == PACKAGE else path
    for name in {name.split(".")[0] for name in imported(file)}:
        if name in HOMES:
            homes = [Path(home) for home in HOMES[name]]
            assert any(home in (inside, *inside.parents) for home in homes), f"{path}: {name}"


def test_the_core_knows_jax_alone():
    allowed = {"jax", "numpy", "math", "typing", "dataclasses", "collections", "functools"}
    allowed |= {"itertools", PACKAGE}
    for file in files():
        if own_room(file) in PURE:
            assert {name.split(".")[0] for name in imported(file)} <= allowed, file


def test_the_rule_sees_a_wrong_import(tmp_path):
    wrong = tmp_path / "x.py"
    wrong.write_text("def f():\n    from sdedit_jax.edits import sdedit\n    import flax.nnx\n")
    assert "edits" in set(rooms_of(wrong))
    assert "flax.nnx" in set(imported(wrong))
    assert height("edits") > height("sde")
