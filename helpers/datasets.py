"""The toy data sets: generate them, load them with every check; and where data lies.

Three sets of small black and white images: random, line and detection.
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
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parent.parent
DATA_FOLDER = PROJECT / "data"
RANDOM_COUNT, RANDOM_ONES = 64, 11
RANDOM_SIDE, IMAGE_SIDE = 4, 16
RADII = np.arange(1, 8)
# Falls linearly with the radius and gives it a mean of exactly 3.5 (uniform would give 4).
RADIUS_PROBABILITIES = (12 - RADII) / np.sum(12 - RADII)
REMEDY = (
    "Correct the file; or leave DATA_ROOT unset to use the project's data/, which "
    "`python -m tests.tools.write_data` regenerates."
)


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A set "random", "line" or "detection", with arrays as the module's docstring lists them.

    0 is black and 1 white. `source` is the folder that was read, None if the set was generated.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    widths: np.ndarray | None = None
    source: Path | None = None


def generate_random(seed: int = 0, labels: str = "teacher") -> ImageSet:
    """Generate 64 distinct images of 4 x 4 independent fair bits, 11 of them labelled 1.

    Parameters
    ----------
    seed : int
        Seed of the generator. The images depend on it alone.
    labels : str
        "teacher": a linear function of the pixels decides, so that one neuron can separate the
        classes. "independent": the 11 ones are placed without regard to the pixels. Any other
        word is a ValueError.
    """
    if labels not in ("teacher", "independent"):
        raise ValueError(f'labels: expected "teacher" or "independent", found {labels!r}')
    rng = np.random.default_rng(seed)
    images = np.zeros((RANDOM_COUNT, RANDOM_SIDE, RANDOM_SIDE), dtype=np.int64)
    while len(np.unique(images, axis=0)) < RANDOM_COUNT:  # drawn anew as a whole
        images = rng.integers(0, 2, size=images.shape, dtype=np.int64)
    if labels == "teacher":
        return ImageSet("random", images, _teacher_labels(images, rng))
    ones = rng.permutation(RANDOM_COUNT)[:RANDOM_ONES]
    return ImageSet("random", images, np.isin(np.arange(RANDOM_COUNT), ones).astype(np.float64))


def _teacher_labels(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Label with 1 the 11 images whose pixel sums, with 16 normal weights, are the highest."""
    pixels = images.reshape(len(images), -1)  # (64, 16)
    scores = pixels @ rng.standard_normal(pixels.shape[1])  # (64,), distinct
    threshold = np.sort(scores)[-RANDOM_ONES - 1 : -RANDOM_ONES + 1].mean()
    return (scores > threshold).astype(np.float64)


def generate_line(count: int = 64, seed: int = 0) -> ImageSet:
    """Generate (count, 16, 16) images of a vertical bar with a square on one side of it.

    The bar is 2 to 4 pixels wide, 11 to 14 high and wholly inside the image. The square has a
    side of 1 to 9 pixels; its centre pixel lies inside the image and in one of the bar's rows,
    so the border may clip it, to no less than half its side. At least one black column separates
    it from the bar. A left image is drawn as a right one and mirrored: the classes differ in
    nothing but the side.

    Parameters
    ----------
    count : int
        Number of images, at least 1 (else ValueError). The first half (the larger one, if odd)
        has the square left of the bar and label 1, the rest right of it and label 0.
    seed : int
        Seed of the generator.
    """
    labels = _labels_in_halves(count, first=1.0)
    rng = np.random.default_rng(seed)
    images = np.stack([_bar_and_square(rng) for _ in range(count)])
    images[labels == 1] = images[labels == 1, :, ::-1]
    return ImageSet("line", images, labels)


def _bar_and_square(rng: np.random.Generator) -> np.ndarray:
    """Draw one (16, 16) image of a bar with a square on its right."""
    width, height = rng.integers(2, 5), rng.integers(11, 15)
    side = rng.integers(1, 10)
    half = side // 2
    left = rng.integers(0, IMAGE_SIDE - 1 - width - half)
    top = rng.integers(0, IMAGE_SIDE - height + 1)
    square_left = rng.integers(left + width + 1, IMAGE_SIDE - half)
    square_top = rng.integers(top, top + height) - half
    image = np.zeros((IMAGE_SIDE, IMAGE_SIDE))
    image[top : top + height, left : left + width] = 1.0
    image[max(square_top, 0) : square_top + side, square_left : square_left + side] = 1.0
    return image


def generate_detection(count: int = 64, seed: int = 0) -> ImageSet:
    """Generate (count, 16, 16) images of one diamond or square, with its radius as the width.

    With (dx, dy) the offset of a pixel from the centre and r the radius, the diamond is
    {|dx| + |dy| <= r} and the square {max(|dx|, |dy|) <= r}. Those of one radius always differ:
    they have 2 r (r + 1) + 1 and (2 r + 1)^2 pixels. The radius is 1 to 7 with probability
    proportional to 12 - r; the centre is uniform over the places that keep the shape inside. The
    first half are diamonds with label 0, the rest squares with 1; parameters as `generate_line`.
    """
    labels = _labels_in_halves(count, first=0.0)
    rng = np.random.default_rng(seed)
    radii = rng.choice(RADII, size=count, p=RADIUS_PROBABILITIES)
    centres = rng.integers(radii[:, None], IMAGE_SIDE - radii[:, None], size=(count, 2))
    offsets = np.abs(np.arange(IMAGE_SIDE) - centres[:, :, None])  # (count, 2, 16)
    dy, dx = offsets[:, 0, :, None], offsets[:, 1, None, :]
    distances = np.where(labels[:, None, None] == 1, np.maximum(dx, dy), dx + dy)
    images = (distances <= radii[:, None, None]).astype(np.float64)
    return ImageSet("detection", images, labels, radii.astype(np.float64))


def _labels_in_halves(count: int, first: float) -> np.ndarray:
    """Return `count` labels, `first` for the first half and 1 - `first` for the rest."""
    if count < 1:
        raise ValueError(f"count: expected at least 1, found {count}")
    return np.where(np.arange(count) < (count + 1) // 2, first, 1.0 - first)


def load_random() -> ImageSet:
    """Load the random set: images (n, 4, 4) int64, labels (n,) float64.

    All files come from one folder: from the environment's DATA_ROOT (a relative one counts from
    the project's folder) if it has the set, else from ``data/``.

    Raises
    ------
    FileNotFoundError
        If DATA_ROOT is no folder, or a file is missing.
    ValueError
        If a file is not a readable .npy file of the documented shape, dtype and values.
    """
    return _load_set("random", RANDOM_SIDE, np.int64)


def load_line() -> ImageSet:
    """Load the line set: images (n, 16, 16), labels (n,), all float64. See `load_random`."""
    return _load_set("line", IMAGE_SIDE, np.float64)


def load_detection() -> ImageSet:
    """Load the detection set: as the line set, and widths (n,) float64. See `load_random`."""
    return _load_set("detection", IMAGE_SIDE, np.float64)


def _load_set(name: str, side: int, dtype: type) -> ImageSet:
    folder = find_folder(name)
    path = folder / f"{name}_imgs.npy"
    images = _read_array(path, dtype, (side, side))
    _require(np.isin(images, (0, 1)), images, path, "images of 0 and 1 only")
    path = folder / f"{name}_labs.npy"
    labels = _read_array(path, np.float64, (), count=len(images))
    _require(np.isin(labels, (0, 1)), labels, path, "labels 0 and 1 only")
    if name != "detection":
        return ImageSet(name, images, labels, source=folder)
    path = folder / f"{name}_width.npy"
    widths = _read_array(path, np.float64, (), count=len(images))
    _require(np.isfinite(widths) & (widths >= 0), widths, path, "finite widths of at least 0")
    return ImageSet(name, images, labels, widths, folder)


def _read_array(path: Path, dtype: type, shape: tuple, count: int | None = None) -> np.ndarray:
    """Read one .npy file of shape (count, *shape), any count >= 1 if None, and of that dtype."""
    sizes = ", ".join(["n" if count is None else str(count), *map(str, shape)])
    expected = f"a .npy file of shape ({sizes}{'' if shape else ','}) and dtype {np.dtype(dtype)}"
    if not path.is_file():
        raise FileNotFoundError(file_message(path, expected, "no such file", REMEDY))
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # a damaged header makes NumPy raise almost any kind
        found = f"{path.stat().st_size} bytes that cannot be read as that ({error})"
        raise ValueError(file_message(path, expected, found, REMEDY)) from error
    fits = array.size and array.shape[1:] == shape and count in (None, *array.shape[:1])
    if not fits or array.dtype != dtype:
        found = f"shape {array.shape} and dtype {array.dtype}"
        raise ValueError(file_message(path, expected, found, REMEDY))
    return array


def _require(valid: np.ndarray, array: np.ndarray, path: Path, expected: str) -> None:
    """Raise a ValueError that names the first entry of `array` where `valid` is False."""
    if not valid.all():
        index = tuple(np.argwhere(~valid)[0].tolist())
        found = f"{array[index]} at index {index}, {np.sum(~valid)} such in all"
        raise ValueError(file_message(path, expected, found, REMEDY))


def find_folder(name: str) -> Path:
    """Return the folder `name` below the environment's DATA_ROOT if it is there, else below data/.

    Raises FileNotFoundError if DATA_ROOT is no folder.
    """
    # A relative one counts from the project, because notebooks and tests run in other folders.
    root = PROJECT / Path(os.environ.get("DATA_ROOT") or DATA_FOLDER).expanduser()
    if not root.is_dir() and root != DATA_FOLDER:
        remedy = "Correct the path, or leave it unset to use the project's data/."
        expected, found = "DATA_ROOT to be a folder", "no such folder"
        raise FileNotFoundError(file_message(root, expected, found, remedy))
    return (root if (root / name).is_dir() else DATA_FOLDER) / name


def file_message(path: Path, expected: str, found: str, remedy: str) -> str:
    """Return the text of an error: where, expected, found and what to do."""
    return f"{path}: expected {expected}, found {found}. {remedy}"
