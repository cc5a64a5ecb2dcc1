"""The toy data sets: generate the first, load all with every check; and where data lies.

Three sets of small black and white images: random, line and detection (generated in notebook 04).
The files have the layout of the course's own arrays, so that those can be loaded instead::

    random/random_imgs.npy        (n, 4, 4)    int64    0 or 1
    random/random_labs.npy        (n,)         float64  0 or 1
    line/line_imgs.npy            (n, 16, 16)  float64  0 or 1
    line/line_labs.npy            (n,)         float64  1: square left of the bar, 0: right of it
    detection/detection_imgs.npy  (n, 16, 16)  float64  0 or 1
    detection/detection_labs.npy  (n,)         float64  0: diamond, 1: square
    detection/detection_width.npy (n,)         float64  the radius of the shape in pixels
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

PROJECT = Path(__file__).resolve().parent.parent
DATA_FOLDER = PROJECT / "data"
VALUES = {  # which may be in a file of an array, by the end of its name
    "imgs": ("images of 0 and 1 only", lambda array: np.isin(array, (0, 1))),
    "labs": ("labels 0 and 1 only", lambda array: np.isin(array, (0, 1))),
    "width": ("finite widths of at least 0", lambda array: np.isfinite(array) & (array >= 0)),
}
REMEDY = (
    "Correct the file; or leave DATA_ROOT unset to use the project's data/, which "
    "`python -m tests.tools.write_data` regenerates."
)


class ImageSet(NamedTuple):
    """A set "random", "line" or "detection": arrays as listed above; 0 is black, 1 is white."""

    name: str
    images: np.ndarray
    labels: np.ndarray
    widths: np.ndarray | None = None


def generate_random(seed: int = 0, labels: str = "teacher") -> ImageSet:
    """Generate 64 distinct images of 4 x 4 independent fair bits, 11 of them labelled 1.

    With "teacher" as `labels`, these have the highest sums of pixels, weighted by 16 normal
    numbers, so that one neuron can separate the classes; with "independent" they are drawn without
    regard to the pixels. Any other word is a ValueError. The images depend on the seed alone.
    """
    if labels not in ("teacher", "independent"):
        raise ValueError(f'labels: expected "teacher" or "independent", found {labels!r}')
    rng = np.random.default_rng(seed)
    images = np.zeros((64, 4, 4), dtype=np.int64)
    while len(np.unique(images, axis=0)) < 64:  # drawn anew as a whole
        images = rng.integers(0, 2, size=images.shape, dtype=np.int64)
    if labels == "teacher":
        order = np.argsort(-(images.reshape(64, 16) @ rng.standard_normal(16)))
    else:
        order = rng.permutation(64)
    return ImageSet("random", images, np.isin(np.arange(64), order[:11]).astype(np.float64))


def load_random() -> ImageSet:
    """Load the random set: see `load_set`."""
    return load_set("random")


def load_set(name: str) -> ImageSet:
    """Load the set "random", "line" or "detection".

    All files come from one folder: from the environment's DATA_ROOT (a relative one counts from
    the project's folder) if it has the set, else from ``data/``. FileNotFoundError if DATA_ROOT is
    no folder, or a file is missing. ValueError if one is no readable .npy file of the documented
    shape, dtype and values.
    """
    root = data_root()
    folder = (root if (root / name).is_dir() else DATA_FOLDER) / name
    side, dtype = (4, np.int64) if name == "random" else (16, np.float64)
    images = _read_array(folder / f"{name}_imgs.npy", (None, side, side), dtype)
    others = [
        _read_array(folder / f"{name}_{suffix}.npy", (len(images),), np.float64)
        for suffix in (("labs", "width") if name == "detection" else ("labs",))
    ]
    return ImageSet(name, images, *others)


def _read_array(path: Path, shape: tuple, dtype: type) -> np.ndarray:
    """Read one .npy file of that dtype and shape, in which None is any number of at least 1."""
    sizes = f"({', '.join(str(size or 'n') for size in shape)}{'' if shape[1:] else ','})"
    expected = f"a .npy file of shape {sizes} and dtype {np.dtype(dtype)}"
    if not path.is_file():
        raise FileNotFoundError(file_message(path, expected, "no such file", REMEDY))
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # a damaged header makes NumPy raise almost any kind
        found = f"{path.stat().st_size} bytes that cannot be read as that ({error})"
        raise ValueError(file_message(path, expected, found, REMEDY)) from error
    fits = array.size and array.shape[1:] == shape[1:] and shape[0] in (None, *array.shape[:1])
    if not fits or array.dtype != dtype:
        found = f"shape {array.shape} and dtype {array.dtype}"
        raise ValueError(file_message(path, expected, found, REMEDY))
    expected, is_valid = VALUES[path.stem.rpartition("_")[2]]
    if len(wrong := np.argwhere(~is_valid(array))):
        index = tuple(wrong[0].tolist())
        found = f"{array[index]} at index {index}, {len(wrong)} such in all"
        raise ValueError(file_message(path, expected, found, REMEDY))
    return array


def data_root() -> Path:
    """The folder that the environment's DATA_ROOT names, else data/; FileNotFoundError if none.

    A relative one counts from the project, because notebooks and tests run in other folders.
    """
    root = PROJECT / Path(os.environ.get("DATA_ROOT") or DATA_FOLDER).expanduser()
    if not root.is_dir() and root != DATA_FOLDER:
        remedy = "Correct the path, or leave it unset to use the project's data/."
        expected, found = "DATA_ROOT to be a folder", "no such folder"
        raise FileNotFoundError(file_message(root, expected, found, remedy))
    return root


def file_message(path: Path, expected: str, found: str, remedy: str) -> str:
    """The text of an error: where, expected, found and what to do."""
    return f"{path}: expected {expected}, found {found}. {remedy}"
