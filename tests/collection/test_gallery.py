"""The README's gallery shows what the notebooks store."""

import re

import pytest

from tests.tools.gallery import FOLDER, PICTURES, Picture, picture_path, stored_picture
from tests.tools.notebook_tools import PROJECT
from tests.tools.results_table import README


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.file)
def test_a_picture_is_the_stored_figure(picture: Picture) -> None:
    assert picture_path(picture).read_bytes() == stored_picture(picture), (
        "the notebook's figure has changed; run `python -m tests.tools.gallery`"
    )


def test_the_readme_shows_each_picture_with_its_alt_text() -> None:
    shown = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    assert [PROJECT / path for _, path in shown] == [picture_path(p) for p in PICTURES]
    assert all(len(text.split()) > 5 for text, _ in shown)
    assert 4 <= len(PICTURES) <= 6


def test_the_folder_holds_nothing_else() -> None:
    assert set(FOLDER.iterdir()) == {picture_path(picture) for picture in PICTURES}


@pytest.mark.parametrize(
    ("section", "number", "found"), [("No such", 1, "0 with 0"), ("How fast", 9, "1 with 1")]
)
def test_a_picture_that_is_not_there_is_an_error(section: str, number: int, found: str) -> None:
    with pytest.raises(ValueError, match=rf"begins with '{section}' .* found {found}"):
        stored_picture(Picture("x", "06_mnist_backpropagation", section, number))
