"""Build the site from the stored notebooks: ``python -m tests.tools.site FOLDER``.

This executes nothing, and takes a warning for an error. It needs an environment of its own::

    python3 -m venv .venv-site
    .venv-site/bin/python -m pip install -r .github/site/requirements.txt
    .venv-site/bin/python -m tests.tools.site site

It is also a Sphinx extension, which that site uses.
"""

import argparse
import re
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.tools.notebook_tools import HIDDEN_TAG, PROJECT, cell_tags, read_notebook, write_notebook
from tests.tools.results_table import all_results

PAGES = ("README.md", "LICENSE", "CITATION.cff", "data/README.md", "notebooks/gallery/*.png")
PAGES += ("notebooks/[0-9]*.ipynb", "notebooks/exercises/[0-9]*.ipynb")
MATHJAX = ("tex-chtml.js", "output/chtml/fonts/**/*.woff", "input/tex/extensions/*.js")
DIAGRAM = re.compile(r"^```mermaid\n.*?^```\n", re.MULTILINE | re.DOTALL)  # which GitHub draws


def build_site(folder: Path) -> None:
    """Build the site into a folder, which must not exist yet."""
    from jupyter_book.cli.main import main

    with TemporaryDirectory(prefix="site-") as name:
        source = Path(name, "source")
        shutil.copytree(PROJECT / ".github" / "site", source)
        _copy(PROJECT, PAGES, source)
        mathjax = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
        _copy(mathjax, MATHJAX, source / "assets" / "mathjax")
        _prepare(source)
        main(["build", str(source), "--quiet", "--warningiserror"], standalone_mode=False)
        shutil.copytree(source / "_build" / "html", folder)


def _copy(origin: Path, patterns: Sequence[str], target: Path) -> None:
    for path in (path for pattern in patterns for path in origin.glob(pattern)):
        copied = target / path.relative_to(origin)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copied)


def _prepare(source: Path) -> None:
    """Name the folds by the cells' captions, and give all results a page of their own."""
    for path in source.glob("notebooks/**/*.ipynb"):
        notebook = read_notebook(path)
        for cell in notebook.cells:
            if HIDDEN_TAG in cell_tags(cell):
                caption = cell.source.partition("\n")[0].removeprefix("# @title ")
                cell.metadata["mystnb"] = {"code_prompt_show": caption, "code_prompt_hide": caption}
        write_notebook(notebook, path)
    readme = source / "README.md"
    text = readme.read_text(encoding="utf-8").replace(".github/site/changelog.md", "changelog.md")
    readme.write_text(DIAGRAM.sub("", text), encoding="utf-8")
    (source / "results.md").write_text(f"# Results\n\n{all_results()}", encoding="utf-8")


def anchor(heading: str) -> str:
    """Return the anchor that JupyterLab gives to a heading."""
    return heading.replace(" ", "-")


def setup(_: object) -> None:
    """Let the alt text in a figure's metadata reach the page: Sphinx calls this."""
    from myst_nb.core.render import NbElementRenderer

    render = NbElementRenderer.render_image

    def render_with_alt(self, data):
        (image,) = render(self, data)
        image["alt"] = data.output_metadata.get(data.mime_type, {}).get("alt", "")
        return [image]

    NbElementRenderer.render_image = render_with_alt


if __name__ == "__main__":
    parser = argparse.ArgumentParser("python -m tests.tools.site", None, __doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="for the site; must not exist yet")
    build_site(parser.parse_args().folder)
