"""Checkpoint files: written as a whole or not at all, and checked when they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from helpers.files import file_message, replaced_as_a_whole

FORMAT = "deep-learning-basics checkpoint 1"


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write `state` (tensors, numbers, texts, lists and dicts of them) to `path`.

    The file is written beside its place and moved there in one step: whatever interrupts this, a
    reader finds the previous checkpoint or the new one.
    """
    with replaced_as_a_whole(path) as temporary:
        torch.save({"format": FORMAT, **state}, temporary)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `write_checkpoint` wrote, onto the CPU; nothing in the file is executed.

    Raises
    ------
    ValueError
        If the file is not such a checkpoint; the message names it and says what to do.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged archives make torch.load raise almost any kind
        # Its text would advise to switch the protection against foreign code off.
        found = f"a file that cannot be read as one ({type(error).__name__})"
        raise ValueError(_message(path, found)) from error
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
