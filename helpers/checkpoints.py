"""Checkpoint files: written as a whole or not at all, and checked when they are read."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from helpers.files import file_message, replaced_as_a_whole

FORMAT = "deep-learning-basics checkpoint 1"


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write `state` (tensors, numbers, texts, lists, tuples and dicts of them) to `path`.

    NumPy's numbers are written as Python's: `read_checkpoint` would refuse them. The file is
    written beside its place and moved there in one step: whatever interrupts this, a reader finds
    the previous checkpoint or the new one.
    """
    content = io.BytesIO()  # torch.save's own error on a full disk does not name the reason
    torch.save({"format": FORMAT, **_plain(state)}, content)
    with replaced_as_a_whole(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def _plain(value: Any) -> Any:
    """`value` with Python's numbers in the place of NumPy's, however deep they are."""
    if isinstance(value, np.generic):
        return value.item()
    if type(value) is dict:  # networks' states are ordered dictionaries with attributes
        return {_plain(key): _plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(item) for item in value)
    return value


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `write_checkpoint` wrote, onto the CPU; nothing in the file is executed.

    Raises
    ------
    ValueError
        If the file is not such a checkpoint; the message names it and says what to do.
    OSError
        If there is no such file, or it may not be read.
    """
    if path.is_dir():
        raise ValueError(file_message(path, "a file", "a folder", "Name a file in it."))
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not compare the checksums
            damaged = archive.testzip()
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # damaged archives make torch.load raise almost any kind
        # Its text would advise to switch the protection against foreign code off.
        found = f"a file that cannot be read as one ({type(error).__name__})"
        raise ValueError(_message(path, found)) from error
    if damaged:
        raise ValueError(_message(path, f"a damaged file (checksum of {damaged})"))
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(_message(path, "a file without that mark"))
    return state


def mismatch(path: Path, what: str, expected: object, found: object) -> ValueError:
    """The error for a checkpoint of another training."""
    remedy = "Use the settings that the checkpoint was written with, or delete it to start anew."
    wanted = f"a checkpoint of a training with {what} {expected}"
    return ValueError(file_message(path, wanted, str(found), remedy))


def _message(path: Path, found: str) -> str:
    return file_message(path, f"a checkpoint ({FORMAT!r})", found, "Delete it to start anew.")
