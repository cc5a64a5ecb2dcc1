"""Where data lies, errors that say what to do, and files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
DATA_FOLDER = PROJECT / "data"


def find_folder(name: str, remedy: str) -> Path:
    """Return the folder `name` below the environment's DATA_ROOT if it is there, else below data/.

    Raises FileNotFoundError, with `remedy` as its last words, if DATA_ROOT is no folder.
    """
    # A relative one counts from the project, because notebooks and tests run in other folders.
    root = PROJECT / Path(os.environ.get("DATA_ROOT") or DATA_FOLDER).expanduser()
    if not root.is_dir() and root != DATA_FOLDER:
        expected, found = "DATA_ROOT to be a folder", "no such folder"
        raise FileNotFoundError(file_message(root, expected, found, remedy))
    return (root if (root / name).is_dir() else DATA_FOLDER) / name


def file_message(path: Path, expected: str, found: str, remedy: str) -> str:
    """Return the text of an error: where, expected, found and what to do."""
    return f"{path}: expected {expected}, found {found}. {remedy}"


@contextmanager
def replaced_as_a_whole(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to, and move the file to `path` if all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
