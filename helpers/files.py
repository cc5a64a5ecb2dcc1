"""Where data lies, files that are written whole or not at all, and errors that say what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
DATA_FOLDER = PROJECT / "data"


def find_folder(name: str, data_root: str | Path | None, remedy: str) -> Path:
    """Return the folder of a data set: in `data_root`, else in DATA_ROOT, else in data/.

    Without `data_root`, a DATA_ROOT that lacks the folder is passed over. Raises FileNotFoundError,
    with `remedy` as its last words, if the root that was named is no folder.
    """
    variable = os.environ.get("DATA_ROOT")
    if data_root is not None:
        root, asked = Path(data_root), "data_root"
    elif variable:
        # Counted from the project: notebooks and tests run in different folders.
        root, asked = PROJECT / Path(variable).expanduser(), "DATA_ROOT"
    else:
        return DATA_FOLDER / name
    if not root.is_dir():
        raise FileNotFoundError(
            file_message(root, f"{asked} to be a folder", "no such folder", remedy)
        )
    if data_root is None and not (root / name).is_dir():
        return DATA_FOLDER / name
    return root / name


def file_message(path: Path, expected: str, found: str, remedy: str) -> str:
    """Return the text of an error: where, expected, found and what to do."""
    return f"{path}: expected {expected}, found {found}. {remedy}"


@contextmanager
def replaced_as_a_whole(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to, and move the file to `path` in one step.

    Whatever interrupts the writing, a loss of power too, a reader of `path` finds the old file or
    the whole new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # else the new name can reach the disk before the content
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
