"""Copy the README's figures out of the stored notebooks: ``python -m tests.tools.gallery``."""

import base64
from dataclasses import dataclass
from pathlib import Path

from tests.tools.notebook_tools import NOTEBOOKS, StoredNotebook

FOLDER = NOTEBOOKS / "gallery"


@dataclass(frozen=True)
class Picture:
    """A figure of a notebook: the `number`-th, from 1, of the section that begins like that."""

    file: str
    notebook: str
    section: str
    number: int

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.file}.png"


PICTURES = (
    Picture("surfaces", "01_loss_and_gradient_surfaces", "See the five surfaces", 1),
    Picture("regions", "05_scalar_backpropagation", "Does it learn?", 2),
    Picture("iterations", "02_fully_connected_network", "How many iterations does each", 2),
    Picture("speed", "06_mnist_backpropagation", "How fast is each version?", 1),
    Picture("hidden_plane", "03_xor_perceptron", "Watch the hidden layer bend", 1),
    Picture("equal_cost", "07_mnist_classifiers", "Is ResNet-18 better?", 1),
)


def stored_picture(picture: Picture) -> bytes:
    """Return a figure's PNG as its notebook stores it."""
    sections = StoredNotebook(NOTEBOOKS / f"{picture.notebook}.ipynb").sections
    (cells,) = [cells for heading, cells in sections if heading.startswith(picture.section)]
    figures = [
        output.data["image/png"]
        for cell in cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    return base64.b64decode(figures[picture.number - 1])


if __name__ == "__main__":
    for picture in PICTURES:
        picture.path.write_bytes(stored_picture(picture))
