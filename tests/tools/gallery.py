"""Copy the README's figures out of the stored notebooks: ``python -m tests.tools.gallery``."""

import base64
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers.files import replaced_as_a_whole
from tests.collection.notebook_hygiene import StoredNotebook
from tests.tools.notebook_tools import NOTEBOOKS

FOLDER = NOTEBOOKS / "gallery"


@dataclass(frozen=True)
class Picture:
    """A figure of a notebook: the `number`-th of a section, counted from 1."""

    file: str
    notebook: str
    section: str
    number: int


PICTURES = (
    Picture("surfaces", "01_loss_and_gradient_surfaces", "See the five surfaces", 1),
    Picture("regions", "05_scalar_backpropagation", "Does it learn?", 2),
    Picture("iterations", "02_fully_connected_network", "How many iterations does each", 2),
    Picture("speed", "06_mnist_backpropagation", "How fast is each version?", 1),
    Picture("hidden_plane", "03_xor_perceptron", "Watch the hidden layer bend", 1),
    Picture("equal_cost", "07_mnist_classifiers", "Is ResNet-18 better?", 1),
)


def stored_picture(picture: Picture) -> bytes:
    """Return a figure's PNG.

    Raises
    ------
    ValueError
        If not exactly one section begins like that, or it has fewer figures.
    """
    sections = [
        section
        for section in StoredNotebook(NOTEBOOKS / f"{picture.notebook}.ipynb").sections
        if section.heading.startswith(picture.section)
    ]
    figures = [figure for section in sections for figure in _figures(section.cells)]
    if len(sections) != 1 or len(figures) < picture.number:
        raise ValueError(
            f"{picture.file}: expected one section of {picture.notebook} that begins with "
            f"{picture.section!r} and has {picture.number} figures, found {len(sections)} with "
            f"{len(figures)}; correct PICTURES in tests/tools/gallery.py"
        )
    return figures[picture.number - 1]


def _figures(cells: list) -> Iterator[bytes]:
    for cell in cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                yield base64.b64decode(output.data["image/png"])


def picture_path(picture: Picture) -> Path:
    """Return where a picture's file is."""
    return FOLDER / f"{picture.file}.png"


def main() -> int:
    """Write all pictures; return the exit status."""
    contents = {picture_path(picture): stored_picture(picture) for picture in PICTURES}
    for path, content in contents.items():
        with replaced_as_a_whole(path) as temporary:
            temporary.write_bytes(content)
        print(f"{path.name}: {len(content) / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
