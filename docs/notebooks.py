"""Runs the notebooks, and shows them on the site: python docs/notebooks.py [NAME ...].

Notebooks are committed without outputs. This program runs them, and keeps copies with outputs in
out_notebooks/. `mkdocs build` first runs those that have changed, and shows the copies.
`NOTEBOOKS=skip` does not run them, nor does `mkdocs serve`: a notebook that has changed is then
shown without outputs. Notebooks that need a downloaded model are run by name alone.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parent.parent
NOTEBOOKS, DONE = ROOT / "notebooks", ROOT / "out_notebooks"
SWITCH, RUNS, SKIPS = "NOTEBOOKS", "run", "skip"
RUN = ("sdedit_colab",)
"""Notebooks that need nothing but the package."""
WITHOUT = "!!! note\n    This page has no outputs. Run the notebook to see its pictures.\n\n"


def main() -> None:
    """Run the named notebooks, or those that need no model."""
    for name in sys.argv[1:] or RUN:
        print(name)
        run(NOTEBOOKS / f"{name}.ipynb")


def run(path: Path) -> None:
    """Run a notebook in an empty folder, and keep the copy with outputs."""
    notebook = opened(path)
    with tempfile.TemporaryDirectory() as folder:
        places = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=None, resources=places).execute()
    DONE.mkdir(exist_ok=True)
    nbformat.write(notebook, DONE / path.name)


def opened(path: Path) -> Any:
    """The notebook of a file."""
    return nbformat.read(path, as_version=4)


def cells(notebook: Any) -> list[tuple[str, str]]:
    """The kind and the text of each cell."""
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def done(path: Path) -> Any:
    """The copy of a notebook with outputs; None without one of the same cells."""
    kept = DONE / path.name
    copy = opened(kept) if kept.is_file() else None
    return copy if copy and cells(copy) == cells(opened(path)) else None


def on_startup(command: str, dirty: bool) -> None:
    """Run notebooks in a build, not while one writes pages, if nothing else is asked for."""
    os.environ.setdefault(SWITCH, RUNS if command == "build" else SKIPS)


def on_files(files: Any, config: Any) -> Any:
    """Add each notebook to the site as a page, with its pictures."""
    from mkdocs.exceptions import PluginError
    from mkdocs.structure.files import File

    wanted = os.environ[SWITCH]
    if wanted not in (RUNS, SKIPS):
        raise PluginError(f"{SWITCH} must be '{RUNS}' or '{SKIPS}', got {wanted!r}")
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if wanted == RUNS and path.stem in RUN and done(path) is None:
            run(path)
        text, pictures = page(path)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, data in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=data))
    return files


def page(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures by name; progress bars are left out."""
    copy = done(path)
    notebook = copy or opened(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    names = {"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
    text, resources = MarkdownExporter().from_notebook_node(notebook, resources=names)
    pictures = {name: data for name, data in resources["outputs"].items() if name in text}
    text = text.replace("![png](", "![Output of the cell above](")
    return (text if copy else WITHOUT + text), pictures


if __name__ == "__main__":
    main()
