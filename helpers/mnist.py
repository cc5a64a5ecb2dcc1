"""Handwritten digits: MNIST from disk or by download, else scikit-learn's bundled digits.

MNIST (LeCun, Cortes and Burges, 1998) lies as torchvision lays it out, in ``MNIST/raw`` below
DATA_ROOT or data/. Without it and without a network, the digits that come with scikit-learn
(Alpaydin and Kaynak, 1998: 8 x 8) take its place, brought to the same size and range.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pooch
from sklearn.datasets import load_digits

from helpers.files import DATA_FOLDER, file_message, find_folder
from helpers.progress import progress_bar

SOURCES = ("auto", "mnist", "digits")
FOLDER = "MNIST/raw"
CHECKSUMS = {  # SHA-256 of the decompressed files: of header, sizes and values
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
IMAGES_HEADER, LABELS_HEADER = 16, 8  # bytes before the values in an IDX file
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
ANSWER_SECONDS, STALL_SECONDS = 8.0, 20.0  # limits of the first answer, and of each pause
MNIST_SPLIT, DIGITS_SPLIT = (55_000, 5_000, 10_000), (1_200, 297, 300)
ROOT_REMEDY = "Correct the path, or leave it unset to use the project's data/."
REMEDY = (
    "Replace it by a sound copy; or remove MNIST's four files from that folder, so that MNIST is "
    "taken from data/ or downloaded to it; or set DIGITS_SOURCE=digits to use scikit-learn's."
)
HOW_TO_GET_MNIST = (
    "To use MNIST, run this again with a network connection, or copy its four decompressed files "
    f"({', '.join(CHECKSUMS)}) to data/{FOLDER}, or name in the environment variable DATA_ROOT a "
    f"folder that has them in {FOLDER}."
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
    """Handwritten digits: "MNIST" or "bundled digits", and a text that says which, and why."""

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
        """All images that are not for testing."""
        images = np.concatenate([self.train.images, self.validation.images])
        return LabelledImages(images, np.append(self.train.labels, self.validation.labels))


def load_mnist(source: str | None = None) -> DigitSet:
    """Load MNIST if it is on disk or can be downloaded, else the bundled digits with a notice.

    Parameters
    ----------
    source : str or None
        "mnist": nothing else will do. "digits": the bundled digits, without a look for MNIST.
        "auto": MNIST if possible. If None, the environment's DIGITS_SOURCE decides, else "auto".

    Returns
    -------
    DigitSet
        MNIST's 55,000 first training images, the other 5,000 for validation, and 10,000 for
        testing; or 1,200 / 297 / 300 bundled digits, drawn at random but always alike.

    Raises
    ------
    ValueError
        For another source, and for a file that is not MNIST's (SHA-256 is compared).
    FileNotFoundError
        If DATA_ROOT is no folder or has only some of the four files, or if MNIST was demanded and
        can be neither found nor downloaded.
    """
    asked = "DIGITS_SOURCE" if source is None else "source"
    source = source or os.environ.get("DIGITS_SOURCE") or "auto"
    if source not in SOURCES:
        raise ValueError(f"{asked}: expected one of {', '.join(SOURCES)}, found {source!r}")
    if source == "digits":
        return _bundled_digits(f"chosen by {asked}=digits")
    folder, own = find_folder(FOLDER, ROOT_REMEDY), DATA_FOLDER / FOLDER
    if folder != own and any((folder / name).exists() for name in CHECKSUMS):
        return _read_mnist(folder, "DATA_ROOT")
    try:
        _download(own)
    except OSError as error:
        reason = f"MNIST is not in {FOLDER} below DATA_ROOT or data/, and its download failed: "
        reason += str(error)[:300].rstrip(".")
        if source == "mnist":
            raise FileNotFoundError(f"{reason}. {HOW_TO_GET_MNIST}") from error
        digits = _bundled_digits(reason)
        print(f"{digits.description}\n{HOW_TO_GET_MNIST}")
        return digits
    return _read_mnist(own, "data/")


def _download(folder: Path) -> None:
    """Bring what is missing into `folder`, from the first mirror that has it; else OSError.

    pooch moves a file to its place when its checksum is right. So an interrupted download leaves
    nothing that could be taken for MNIST, and two downloads do not meet.
    """
    pooch.get_logger().setLevel("WARNING")  # else a notebook would store paths of this machine
    missing = [name for name in CHECKSUMS if not (folder / name).exists()]
    mirrors = _mirrors_that_answer() if missing else []
    for name in missing:
        failures = []
        for mirror in mirrors:
            try:
                pooch.retrieve(f"{mirror}{name}.gz", CHECKSUMS[name], name, folder, None, _unzip)
                break
            except Exception as error:  # whatever it is, the next mirror may do better
                failures.append(f"{name} from {mirror}: {error}")
        else:
            raise OSError("; ".join(failures))


def _mirrors_that_answer() -> list[str]:
    """Return the mirrors that answer in ANSWER_SECONDS; OSError with all reasons if none does."""
    ask = pooch.HTTPDownloader(timeout=ANSWER_SECONDS)
    file = f"{list(CHECKSUMS)[-1]}.gz"  # the smallest
    # Looking up a name has no time limit: threads wait for it, and they keep no interpreter alive.
    pool = ThreadPool(len(MIRRORS))
    answers = {m: pool.apply_async(ask, (m + file, None, None, True)) for m in MIRRORS}
    pool.close()
    alive, failures = [], []
    for mirror, answer in answers.items():
        try:
            answer.get(ANSWER_SECONDS / len(MIRRORS))
            alive.append(mirror)
        except Exception as error:  # whatever it is, this mirror does not answer
            failures.append(f"{mirror} {type(error).__name__}")
    if not alive:
        raise OSError(f"no mirror answers: {', '.join(failures)}")
    return alive


def _unzip(url: str, target: str, _: object) -> None:
    """Write what a URL gives to `target`, decompressed: a downloader for pooch."""
    compressed = io.BytesIO()
    with progress_bar(1, desc="MNIST", unit="B", unit_scale=True) as bar:  # pooch sets its total
        pooch.HTTPDownloader(bar, timeout=STALL_SECONDS)(url, compressed, None)
    Path(target).write_bytes(gzip.decompress(compressed.getvalue()))
    Path(target).chmod(0o644)  # pooch's temporary files are for their owner alone


def _read_mnist(folder: Path, place: str) -> DigitSet:
    files = {name: _read_file(folder / name) for name in CHECKSUMS}
    images = [values[IMAGES_HEADER:] for name, values in files.items() if "images" in name]
    labels = [values[LABELS_HEADER:] for name, values in files.items() if "labels" in name]
    images = np.concatenate(images).reshape(-1, 28, 28)
    return _digit_set("MNIST", images, np.concatenate(labels), MNIST_SPLIT, f"read from {place}")


def _read_file(path: Path) -> np.ndarray:
    """Return the bytes of one of MNIST's files, shape (size,), uint8, if they are right."""
    expected = f"MNIST's file with SHA-256 {CHECKSUMS[path.name]}"
    if not path.is_file():
        raise FileNotFoundError(file_message(path, expected, "no such file", REMEDY))
    content = np.fromfile(path, dtype=np.uint8)
    checksum = hashlib.sha256(content).hexdigest()
    if checksum != CHECKSUMS[path.name]:
        found = f"{len(content):,} bytes with SHA-256 {checksum}"
        raise ValueError(file_message(path, expected, found, REMEDY))
    return content


def _bundled_digits(reason: str) -> DigitSet:
    """scikit-learn's digits as (n, 28, 28) images from 0 to 255, shuffled always alike."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))  # they are sorted by writer
    images = _enlarge(digits.images[order] * (255 / 16))
    return _digit_set("bundled digits", images, digits.target[order], DIGITS_SPLIT, reason)


def _enlarge(images: np.ndarray) -> np.ndarray:
    """Interpolate (n, 8, 8) linearly to 20 x 20 and frame it with 4 pixels, as MNIST's digits are.

    Pixels are squares: the outermost of the 20 sample points lie inside the outermost of the 8.
    """
    at = (np.arange(20) + 0.5) * 8 / 20 - 0.5
    weights = np.stack([np.interp(at, np.arange(8), unit) for unit in np.eye(8)], axis=1)
    enlarged = np.einsum("yi,nij,xj->nyx", weights, images, weights, optimize=True)
    return np.pad(np.rint(enlarged).astype(np.uint8), ((0, 0), (4, 4), (4, 4)))


def _digit_set(name, images, labels, sizes, reason) -> DigitSet:
    """Cut images and labels into training, validation and test, and describe the set."""
    ends = np.cumsum(sizes)[:-1]
    parts = map(LabelledImages, np.split(images, ends), np.split(labels.astype(np.int64), ends))
    counts = "{:,} training, {:,} validation and {:,} test images".format(*sizes)
    origin = "" if name == "MNIST" else " (scikit-learn's, 8 × 8 enlarged to 28 × 28)"
    return DigitSet(name, *parts, f"Digits in use: {name}{origin}, {counts}; {reason}.")
