"""Hooks of the site (mkdocs.yml): equations as MathML, and pages of files outside of docs/.

A link to a file outside of docs/ works in the repository. On the site it leads to a copy in repo/:
Markdown as a page, a picture as it is, any other text as a page with one block of code. Notebooks
are pages of docs/notebooks.py.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
INLINE = re.compile(r"\$`([^`\n]+)`\$")
ALWAYS = ("CHANGELOG.md", "CONTRIBUTING.md", "checkpoints/README.md", "examples/README.md")


def equation(source: str, *args: Any, **kwargs: Any) -> str:
    """A block of LaTeX as MathML, which browsers draw themselves."""
    return f'<div class="math">{convert(source.strip(), display="block")}</div>'


def on_config(config: Any) -> Any:
    """Blocks of the language `math` are equations, as they are on GitHub."""
    fence = {"name": "math", "class": "math", "format": equation}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
    return config


def repository_path(uri: str) -> str:
    """The place of a page in the repository."""
    if uri.startswith("repo/"):
        return uri.removeprefix("repo/").removesuffix(".code.md")
    if uri.startswith("notebooks/"):
        return uri.removesuffix(".md") + ".ipynb"
    return f"docs/{uri}"


def site_uri(place: str) -> str:
    """The place of a file of the repository on the site; "" for none."""
    if place.startswith("docs/"):
        return place.removeprefix("docs/")
    if place == "README.md":
        return "index.md"
    if place.endswith(".ipynb"):
        return place.removesuffix(".ipynb") + ".md"
    if (ROOT / place).is_dir():
        return site_uri(f"{place}/README.md") if (ROOT / place / "README.md").is_file() else ""
    if not (ROOT / place).is_file():
        return ""
    return f"repo/{place}" if place.endswith((".md", *PICTURES)) else f"repo/{place}.code.md"


def targets(place: str, text: str) -> Iterator[tuple[str, str]]:
    """(link, place in the repository) of each relative link of a page."""
    for _, link, _ in LINK.findall(text):
        if "://" not in link and not link.startswith("mailto:"):
            yield link, posixpath.normpath(posixpath.join(posixpath.dirname(place), link))


def on_files(files: Files, config: Any) -> Files:
    """Add the files outside of docs/ to which the pages lead, and those to which these lead."""
    waiting = [page.src_uri for page in files.documentation_pages()]
    waiting += [add(files, config, place) for place in ALWAYS]
    while waiting:
        uri = waiting.pop()
        place = repository_path(uri)
        if not place.endswith(".md"):
            continue
        for _, target in targets(place, (ROOT / place).read_text(encoding="utf-8")):
            new = site_uri(target)
            if new.startswith("repo/") and not files.get_file_from_path(new):
                waiting.append(add(files, config, target))
    return files


def add(files: Files, config: Any, place: str) -> str:
    """Add a file of the repository to the site, and return its place there."""
    uri = site_uri(place)
    if uri.endswith(".code.md"):
        text = (ROOT / place).read_text(encoding="utf-8")
        kind = Path(place).suffix.removeprefix(".") or "text"
        content = f"# {place}\n\n~~~~{kind}\n{text}\n~~~~\n"
        files.append(File.generated(config, uri, content=content))
    else:
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / place)))
    return uri


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Equations in the text, as GitHub writes them, as MathML; links to the places on the site."""
    markdown = INLINE.sub(lambda match: convert(match[1]), markdown)
    uri = page.file.src_uri
    found = dict(targets(repository_path(uri), markdown))

    def led(match: re.Match[str]) -> str:
        new = site_uri(found[match[2]]) if match[2] in found else ""
        if not new:
            return match[0]
        return match[1] + posixpath.relpath(new, posixpath.dirname(uri) or ".") + match[3]

    return LINK.sub(led, markdown)
