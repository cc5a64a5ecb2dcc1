"""Build the site from the stored notebooks: ``python -m tests.tools.site FOLDER``.

To be run by the Python of an environment with ``.github/site/requirements.txt``. Nothing is
executed. `setup` is Sphinx's: this module is also the site's extension.
"""

import argparse
import re
import shutil
from importlib.metadata import files
from pathlib import Path
from tempfile import TemporaryDirectory

from jupyter_book.cli.main import main as jupyter_book

from tests.tools.notebook_tools import (
    HIDDEN_TAG,
    NOTEBOOKS,
    PROJECT,
    cell_tags,
    read_notebook,
    write_notebook,
)
from tests.tools.results_table import results_section

SETTINGS = PROJECT / ".github" / "site"
COPIED = ("README.md", "CHANGELOG.md", "LICENSE", "data/README.md", "notebooks/gallery/*.png")
MATHJAX = ("tex-chtml.js", "output/chtml/fonts/", "input/tex/extensions/")
DIAGRAM = re.compile(r"^```mermaid\n.*?^```\n", re.MULTILINE | re.DOTALL)  # drawn by GitHub


def build_site(folder: Path) -> None:
    """Build the site into `folder`, which must not exist yet; a warning is an error."""
    if folder.exists():
        raise FileExistsError(f"{folder}: expected no such folder yet. Name another one.")
    with TemporaryDirectory(prefix="site-") as name:
        source, output = Path(name, "source"), Path(name, "output")
        shutil.copytree(SETTINGS, source)
        _copy_sources(source)
        command = ["build", str(source), "--path-output", str(output), "--warningiserror"]
        jupyter_book(command, standalone_mode=False)
        shutil.move(output / "_build" / "html", folder)


def _copy_sources(source: Path) -> None:
    for path in (path for pattern in COPIED for path in PROJECT.glob(pattern)):
        target = source / path.relative_to(PROJECT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    for path in (*NOTEBOOKS.glob("[0-9]*.ipynb"), *NOTEBOOKS.glob("exercises/[0-9]*.ipynb")):
        notebook = read_notebook(path)
        for cell in notebook.cells:
            if HIDDEN_TAG in cell_tags(cell):  # the fold is named by the cell's caption
                caption = cell.source.partition("\n")[0].removeprefix("# @title ")
                cell.metadata["mystnb"] = {"code_prompt_show": caption, "code_prompt_hide": caption}
        target = source / path.relative_to(PROJECT)
        target.parent.mkdir(exist_ok=True)
        write_notebook(notebook, target)
    results = results_section()
    (source / "results.md").write_text(f"# Results\n\n{results}\n", encoding="utf-8")
    readme = source / "README.md"
    text = DIAGRAM.sub("", readme.read_text(encoding="utf-8"))
    text = text.replace(results, "They are on a [page of their own](results.md).")
    readme.write_text(text, encoding="utf-8")
    for file in files("sphinx-mathjax-offline"):
        _, found, part = file.as_posix().partition("static/mathjax/")
        if found and part.startswith(MATHJAX):
            target = source / "assets" / "mathjax" / part
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.locate(), target)


def anchor(heading: str) -> str:
    """Return the anchor that JupyterLab gives to a heading."""
    return heading.replace(" ", "-")


def setup(app) -> dict[str, bool]:
    """Let the alt text that a figure's output stores reach the page."""
    from myst_nb.core.render import NbElementRenderer

    render = NbElementRenderer.render_image

    def render_with_alt(self, data):
        images = render(self, data)
        images[0]["alt"] = data.output_metadata.get(data.mime_type, {}).get("alt", "")
        return images

    NbElementRenderer.render_image = render_with_alt
    return {"parallel_read_safe": True}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.site", description=__doc__)
    parser.add_argument("folder", type=Path, help="where to build it; must not exist yet")
    build_site(parser.parse_args().folder)


if __name__ == "__main__":
    main()
