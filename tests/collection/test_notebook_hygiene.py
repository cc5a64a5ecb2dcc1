"""Every stored notebook is fit to be read as it is."""

from pathlib import Path

import pytest

from tests.collection.notebook_hygiene import hygiene_faults, setup_faults
from tests.tools.notebook_tools import notebook_paths


@pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)
def test_notebook_has_no_faults(path: Path) -> None:
    assert hygiene_faults(path) == []


def test_setup_cells_are_identical() -> None:
    assert setup_faults(notebook_paths()) == []
