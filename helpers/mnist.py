"""Handwritten digits: MNIST from disk or by download, else scikit-learn's bundled digits.

MNIST (LeCun, Cortes and Burges, 1998) has 60,000 training and 10,000 test images of 28 x 28. Its
four files are looked for as torchvision lays them out, in ``MNIST/raw`` below DATA_ROOT or data/.
Where there is no MNIST and no network, the 1,797 digits that come with scikit-learn (Alpaydin and
Kaynak, 1998: 8 x 8) take its place, brought to the same size and range.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from helpers import mnist_download
from helpers.files import DATA_FOLDER, file_message, find_folder

SOURCES = ("auto", "mnist", "digits")
FOLDER = "MNIST/raw"
CHECKSUMS = {  # SHA-256 of the decompressed files
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
SIDE = 28
IMAGES_HEADER, LABELS_HEADER = 16, 8  # bytes before the values in an IDX file
MNIST_VALIDATION = 5_000
DIGITS_SPLIT = (1_200, 297, 300)
REMEDY = (
    "Replace it by a sound copy; or remove MNIST's four files from that folder and leave data_root "
    "unset, to have MNIST downloaded; or set DIGITS_SOURCE=digits to use the digits that come with "
    "scikit-learn."
)
ROOT_REMEDY = "Correct the path, or leave it unset to use the project's data/."
HOW_TO_GET_MNIST = (
    "To use MNIST, run this again with a network connection, or copy its four decompressed files "
    f"({', '.join(CHECKSUMS)}) to data/{FOLDER}, or name in the environment variable DATA_ROOT a "
    "folder that has them in MNIST/raw."
)


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images, shape (n, 28, 28), uint8, 0 (paper) to 255 (ink); labels, shape (n,), int64, 0–9."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class DigitSet:
    """Handwritten digits in three fixed parts.

    Attributes
    ----------
    name : str
        "MNIST" or "bundled digits".
    train, validation, test : LabelledImages
        55,000 / 5,000 / 10,000 images of MNIST, or 1,200 / 297 / 300 bundled digits.
    description : str
        Which data this is, how much, and where it is from or why it is not MNIST.
    """

    name: str
    train: LabelledImages
    validation: LabelledImages
    test: LabelledImages
    description: str

    @property
    def is_mnist(self) -> bool:
        return self.name == "MNIST"

    @property
    def train_and_validation(self) -> LabelledImages:
        """All images that are not for testing: 60,000 of MNIST, or 1,497 bundled digits."""
        parts = (self.train, self.validation)
        return LabelledImages(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.labels for part in parts]),
        )


def load_mnist(source: str | None = None, data_root: str | Path | None = None) -> DigitSet:
    """Load MNIST if it is on disk or can be downloaded, else the bundled digits with a notice.

    Parameters
    ----------
    source : str or None
        "mnist": nothing else will do. "digits": the bundled digits, without a look for MNIST.
        "auto": MNIST if possible. If None, the environment's DIGITS_SOURCE decides, else "auto".
    data_root : str, Path or None
        The folder that holds ``MNIST/raw``; nothing else is searched then, and nothing is
        downloaded. If None, the environment's DATA_ROOT (a relative one counts from the project's
        folder) is searched first, then the project's ``data/``, to which a download goes.

    Returns
    -------
    DigitSet
        The last 5,000 of MNIST's training images are for validation. The bundled digits are
        split at random, but always alike: they are sorted by writer, and three stretches of them
        would be three groups of writers.

    Raises
    ------
    ValueError
        For another source, and for a file that is not MNIST's (SHA-256 is compared).
    FileNotFoundError
        If DATA_ROOT or `data_root` is no folder, if only some of the four files are there, if
        `data_root` has none of them, or if MNIST was demanded and can be neither found nor
        downloaded.
    """
    source, chosen_by = _chosen(source)
    if source == "digits":
        return _bundled_digits(f"chosen by {chosen_by}=digits")
    folder = find_folder(FOLDER, data_root, ROOT_REMEDY)
    if data_root is None and not _has_any(folder):
        folder = DATA_FOLDER / FOLDER
    try:
        if data_root is None and not _has_any(folder):
            mnist_download.download(folder, CHECKSUMS, _read_file)
    except mnist_download.DownloadError as error:
        failure = f"its download failed: {error}".rstrip(".")
        reason = f"MNIST is neither under DATA_ROOT nor in data/, and {failure}"
        if source == "mnist":
            raise FileNotFoundError(f"{reason}. {HOW_TO_GET_MNIST}") from error
        digits = _bundled_digits(reason)
        print(f"{digits.description}\n{HOW_TO_GET_MNIST}")
        return digits
    named = "DATA_ROOT" if data_root is None else "data_root"
    return _read_mnist(folder, "data/" if folder == DATA_FOLDER / FOLDER else named)


def _chosen(source: str | None) -> tuple[str, str]:
    """The source that the call names, else the environment, else "auto"; and who chose it."""
    name = "source"
    if source is None:
        name, source = "DIGITS_SOURCE", os.environ.get("DIGITS_SOURCE") or "auto"
    if source not in SOURCES:
        raise ValueError(f"{name}: expected one of {', '.join(SOURCES)}, found {source!r}")
    return source, name


def _has_any(folder: Path) -> bool:
    return any((folder / name).exists() for name in CHECKSUMS)


def _read_mnist(folder: Path, place: str) -> DigitSet:
    """Read and check the four files; the last training images are for validation."""
    files = {name: _read_file(folder / name) for name in CHECKSUMS}
    parts = []
    for part in ("train", "t10k"):
        images = files[f"{part}-images-idx3-ubyte"][IMAGES_HEADER:].reshape(-1, SIDE, SIDE)
        labels = files[f"{part}-labels-idx1-ubyte"][LABELS_HEADER:].astype(np.int64)
        parts.append(LabelledImages(images, labels))
    cut = len(parts[0]) - MNIST_VALIDATION
    return _digit_set("MNIST", *_cut(parts[0], cut), parts[1], f"read from {place}")


def _read_file(path: Path) -> np.ndarray:
    """Return the bytes of one of MNIST's files, shape (size,), uint8, if they are right."""
    expected = f"MNIST's file with SHA-256 {CHECKSUMS[path.name]}"
    if not path.is_file():
        raise FileNotFoundError(file_message(path, expected, "no such file", REMEDY))
    content = np.fromfile(path, dtype=np.uint8)
    checksum = hashlib.sha256(content).hexdigest()
    if checksum != CHECKSUMS[path.name]:
        same = [name for name, known in CHECKSUMS.items() if known == checksum]
        found = f"{len(content):,} bytes with SHA-256 {checksum}"
        if same:
            found += f", which is {same[0]}"
        raise ValueError(file_message(path, expected, found, REMEDY))
    return content


def _bundled_digits(reason: str) -> DigitSet:
    """scikit-learn's digits as (n, 28, 28) images from 0 to 255, split always alike."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images = _enlarge(digits.images[order] * (255 / 16))
    whole = LabelledImages(images, digits.target[order].astype(np.int64))
    train, rest = _cut(whole, DIGITS_SPLIT[0])
    validation, test = _cut(rest, DIGITS_SPLIT[1])
    return _digit_set("bundled digits", train, validation, test, reason)


def _enlarge(images: np.ndarray) -> np.ndarray:
    """Interpolate (n, 8, 8) linearly to 20 x 20 and frame it with 4 pixels, as MNIST's digits are.

    Pixels are squares: the outermost of the 20 sample points lie inside the outermost of the 8.
    """
    small, large, frame = images.shape[1], 20, (SIDE - 20) // 2
    at = (np.arange(large) + 0.5) * small / large - 0.5
    weights = np.stack([np.interp(at, np.arange(small), unit) for unit in np.eye(small)], axis=1)
    enlarged = np.einsum("yi,nij,xj->nyx", weights, images, weights, optimize=True)
    padding = ((0, 0), (frame, frame), (frame, frame))
    return np.pad(np.rint(enlarged).astype(np.uint8), padding)


def _cut(part: LabelledImages, count: int) -> tuple[LabelledImages, LabelledImages]:
    """The first `count` images and the rest."""
    first = LabelledImages(part.images[:count], part.labels[:count])
    return first, LabelledImages(part.images[count:], part.labels[count:])


def _digit_set(name, train, validation, test, reason) -> DigitSet:
    sizes = f"{len(train):,} training, {len(validation):,} validation and {len(test):,} test images"
    origin = "" if name == "MNIST" else " (scikit-learn's, 8 × 8 enlarged to 28 × 28)"
    description = f"Digits in use: {name}{origin}, {sizes}; {reason}."
    return DigitSet(name, train, validation, test, description)
