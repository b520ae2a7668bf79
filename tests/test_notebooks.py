"""The notebooks: form, and what their cells compute. nbclient runs them as Jupyter does."""

import os
import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason='the notebooks need pip install ".[test]"')
nbclient = pytest.importorskip("nbclient", reason='the notebooks need pip install ".[test]"')

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TOUR = ROOT / "notebooks/sdedit_colab.ipynb"
LEDITS = ROOT / "notebooks/ledits_stable_diffusion.ipynb"
PLATFORMS = r"(?i)\b(cpu|gpu|tpu|cuda\d*|rocm|metal)\b|jax_platform|jax_num_cpu"


def opened(path):
    return nbformat.read(path, as_version=4)


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def with_value(notebook, name, value):
    """The notebook with another value in the cell that sets a name."""
    (cell,) = [c for c in code_of(notebook) if re.search(rf"^{name} = ", c.source, re.MULTILINE)]
    cell.source = re.sub(rf"^{name} = .*$", f"{name} = {value!r}", cell.source, flags=re.MULTILINE)
    return notebook


def executed(notebook, folder, checks):
    """The notebook after a run in a folder, with a last cell of checks."""
    notebook.cells.append(nbformat.v4.new_code_cell(checks))
    places = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=places).execute()
    return notebook


def printed(notebook, ident):
    """What the cell of this id has printed."""
    (cell,) = [cell for cell in notebook.cells if cell.id == ident]
    return "".join(out.text for out in cell.outputs if out.output_type == "stream")


def pictures(notebook, ident):
    """How many pictures the cell of this id shows."""
    (cell,) = [cell for cell in notebook.cells if cell.id == ident]
    return sum("image/png" in out.get("data", {}) for out in cell.outputs)


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """An empty folder, and two devices for the processes that run notebooks."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    two = "--xla_force_host_platform_device_count=2"
    monkeypatch.setenv("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} {two}")
    return tmp_path


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_clean_and_names_no_platform(path):
    notebook = opened(path)
    nbformat.validate(notebook)
    for cell in code_of(notebook):
        assert not cell.outputs and cell.execution_count is None
        assert not re.search(PLATFORMS, cell.source), cell.source
    lines = [line for cell in notebook.cells for line in cell.source.splitlines()]
    assert not [line for line in lines if len(line) > 100]
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_the_badge_opens_the_tour_of_the_repository_that_it_installs():
    readme = (ROOT / "README.md").read_text()
    (owner, place), *others = re.findall(r"/github/([\w-]+)/sdedit_jax/blob/main/([^)]+)", readme)
    assert ROOT / place == TOUR and not others
    for path in NOTEBOOKS:
        (source,) = re.findall(r'^SOURCE = "(.*)"$', code_of(opened(path))[0].source, re.MULTILINE)
        assert source == f"git+https://github.com/{owner}/sdedit_jax"


def test_the_tour_runs(fresh):
    notebook = with_value(opened(TOUR), "FAST", True)
    done = executed(notebook, fresh, CHECKS)
    assert "worse" in printed(done, "fast")
    assert re.match(r"\d+ x ", printed(done, "setup"))
    for ident in SHOWING:
        assert pictures(done, ident) == 1, ident


SHOWING = ("canvas", "paint", "edit", "sweep", "scribble", "mask", "map", "batch", "ledits", "own")
SHOWING += ("kid", "trained", "import")
CHECKS = """
def far(a, b):
    return np.abs(np.asarray(a, int) - np.asarray(b, int)).mean()

assert jax.local_device_count() == 2 or jax.default_backend() != "cpu"
assert edited.shape == (2, 64, 64, 3) and far(edited[0], edited[1]) > 1
assert far(sweep[0], guide) < far(sweep[-1], guide)
assert max(changed) == 0 and far(retouched[0], scribble.picture) > 0.5
assert far(faded[0][:, :20], guide[:, :20]) == 0 and far(faded[0][:, 32:], guide[:, 32:]) > 1
assert difference <= 1
assert far(made[0].reconstruction, small(Image.open(apple))) < 25
assert far(made[0].reconstruction, made[1].reconstruction) == 0
assert 1 < far(made[0].image, made[0].reconstruction) < far(made[1].image, made[0].reconstruction)
green = [one.image[..., 1].mean() - one.image[..., 0].mean() for one in made]
assert green[0] < green[1]
assert max(min(far(one, photo) for photo in photos) for one in nearest) < 12
assert all(np.isfinite([one.value, one.error]).all() for one in kids)
assert distances[0] < distances[1]
assert tuned.metadata["training"]["steps"] == 2 and far(after, before) > 1
assert report.metadata["source"]["family"] == "stable_diffusion"
assert np.array_equal(result, greener(text, maps).image)
"""


@pytest.mark.long
def test_the_notebook_on_stable_diffusion_runs(fresh):
    import text_prior

    folder = str(text_prior.write(fresh / "sd"))
    notebook = with_value(with_value(opened(LEDITS), "FAST", True), "MODEL", folder)
    done = executed(notebook, fresh, LEDITS_CHECKS)
    assert "worse" in printed(done, "settings")
    for ident in ("setup", "prompt", "ledits", "mask", "leditspp", "save"):
        assert pictures(done, ident) >= 1, ident


LEDITS_CHECKS = """
def far(a, b):
    return np.abs(np.asarray(a, int) - np.asarray(b, int)).mean()

assert report.metadata["source"]["family"] == "stable_diffusion"
assert prior.shape == (16, 16, 3)
assert far(edits[0], edits[2]) > 0
assert far(made.image, made.reconstruction) > 0 and made.masks.shape == (2, 16, 16)
assert far(half.reconstruction, made.reconstruction) == 0 and far(half.image, made.image) > 0
assert plus.image.shape == (16, 16, 3)
assert Image.open("edited.png").size == photo.size
"""
