"""Copy the README's figures out of the stored notebooks: ``python -m tests.tools.gallery``."""

import argparse
import base64
from dataclasses import dataclass
from pathlib import Path

from tests.tools.notebook_tools import NOTEBOOKS, read_notebook

FOLDER = NOTEBOOKS / "gallery"


@dataclass(frozen=True)
class Picture:
    """The last figure of a notebook's cell, which is named by its id or by its caption."""

    file: str
    notebook: str
    cell: str

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.file}.png"


PICTURES = (
    Picture("regions", "05_scalar_backpropagation", "regions-film"),
    Picture("surfaces", "01_loss_and_gradient_surfaces", "surfaces-figure"),
    Picture("convolution", "04_convolutional_network", "learning-curve-figure"),
    Picture("iterations", "02_fully_connected_network", "sweep-figure"),
    Picture("leak", "06_mnist_backpropagation", "leak-figure"),
    Picture("hidden_plane", "03_xor_perceptron", "hidden-film"),
    Picture("equal_cost", "08_lenet_and_resnet", "equal-cost-figure"),
)


def stored_picture(picture: Picture) -> bytes:
    """Return a figure's PNG as its notebook stores it."""
    figures = [
        output.data["image/png"]
        for cell in read_notebook(NOTEBOOKS / f"{picture.notebook}.ipynb").cells
        if picture.cell in (cell.id, cell.source.partition("\n")[0].removeprefix("# @title "))
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert figures, f"{picture} is not stored"
    return base64.b64decode(figures[-1])


if __name__ == "__main__":
    argparse.ArgumentParser("python -m tests.tools.gallery", None, __doc__).parse_args()
    for picture in PICTURES:
        picture.path.write_bytes(stored_picture(picture))
