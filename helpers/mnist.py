"""Handwritten digits: MNIST (LeCun, Cortes and Burges, 1998), else those of scikit-learn.

MNIST lies as torchvision lays it out, in ``MNIST/raw`` below DATA_ROOT or data/, or is downloaded.
Without a network, scikit-learn's digits (Alpaydin and Kaynak, 1998: 8 x 8) stand in, enlarged.
"""

import gzip
import hashlib
import os
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
from scipy.ndimage import zoom  # comes with scikit-learn
from sklearn.datasets import load_digits

from helpers.datasets import DATA_FOLDER, file_message, find_folder
from helpers.progress import progress_bar

FOLDER = "MNIST/raw"
CHECKSUMS = {  # SHA-256 of the decompressed files: of header, sizes and values
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
TIMEOUT = 5.0  # seconds: the limit of a mirror's first answer, and of each pause
MNIST_SPLIT, DIGITS_SPLIT = (55_000, 5_000, 10_000), (1_200, 297, 300)
REMEDY = (
    "Replace it by a sound copy; or remove MNIST's four files from that folder, so that MNIST is "
    "taken from data/ or downloaded to it; or set DIGITS_SOURCE=digits to use scikit-learn's."
)
HOW_TO_GET_MNIST = (
    "To use MNIST, run this again with a network connection, or copy its four decompressed files "
    f"({', '.join(CHECKSUMS)}) to data/{FOLDER}, or to {FOLDER} in a folder named by DATA_ROOT."
)


class LabelledImages(NamedTuple):
    """Images, shape (n, 28, 28), uint8, 0 (paper) to 255 (ink); labels, shape (n,), int64, 0–9."""

    images: np.ndarray
    labels: np.ndarray


class DigitSet(NamedTuple):
    """Handwritten digits: "MNIST" or "bundled digits", and a text that says which, and why."""

    name: str
    train: LabelledImages
    validation: LabelledImages
    test: LabelledImages
    description: str

    @property
    def is_mnist(self) -> bool:
        return self.name == "MNIST"


def load_mnist(source: str | None = None) -> DigitSet:
    """Load MNIST if it is on disk or can be downloaded, else the bundled digits with a notice.

    `source`, by default the environment's DIGITS_SOURCE, is "auto", "mnist" (nothing else will do)
    or "digits" (the bundled ones). MNIST's last 5,000 training images are for validation; the
    bundled digits are split at random, but always alike. ValueError for another source, and for a
    file that is not MNIST's (SHA-256 is compared). FileNotFoundError if DATA_ROOT is no folder or
    has only some of the four files, or "mnist" is nowhere.
    """
    asked = "DIGITS_SOURCE" if source is None else "source"
    source = source or os.environ.get("DIGITS_SOURCE") or "auto"
    if source not in ("auto", "mnist", "digits"):
        raise ValueError(f"{asked}: expected one of auto, mnist, digits, found {source!r}")
    if source == "digits":
        return _bundled_digits(f"chosen by {asked}=digits")
    folder, own = find_folder(FOLDER), DATA_FOLDER / FOLDER
    if folder != own and any((folder / name).exists() for name in CHECKSUMS):
        return _read_mnist(folder, "DATA_ROOT")
    try:
        _download(own)
    except OSError as error:
        reason = f"MNIST is not in {FOLDER} below DATA_ROOT or data/; its download failed: {error}"
        if source == "mnist":
            raise FileNotFoundError(f"{reason}. {HOW_TO_GET_MNIST}") from error
        digits = _bundled_digits(reason)
        print(digits.description, HOW_TO_GET_MNIST, sep="\n")
        return digits
    return _read_mnist(own, "data/")


def _download(folder: Path) -> None:
    """Bring what is missing into `folder`, from the first mirror that has it; else OSError.

    pooch puts a file there when its checksum is right, whole: two downloads do not meet.
    """
    pooch.get_logger().setLevel("WARNING")  # else a notebook would store paths of this machine
    failures = []
    for mirror in MIRRORS:
        missing = [name for name in CHECKSUMS if not (folder / name).exists()]
        try:
            if missing:  # in a thread, because looking up a name has no time limit
                with ThreadPool(1) as pool:
                    ask = pooch.HTTPDownloader(timeout=TIMEOUT)
                    pool.apply_async(ask, (mirror, None, None, True)).get(TIMEOUT)
            for name in missing:
                pooch.retrieve(f"{mirror}{name}.gz", CHECKSUMS[name], name, folder, None, _unzip)
            return
        except Exception as error:  # whatever it is, the next mirror may do better
            reason = str(error).partition(":")[0]  # what follows is long: addresses, paths
            failures.append(f"{mirror} {type(error).__name__} {reason}".rstrip())
    raise OSError("; ".join(failures))


def _unzip(url: str, target: str, _: object) -> None:
    """Write what a URL gives to `target`, decompressed: a downloader for pooch."""
    with progress_bar(1, desc="MNIST", unit="B", unit_scale=True) as bar:  # pooch sets its total
        pooch.HTTPDownloader(bar, timeout=TIMEOUT)(url, target, None)
    Path(target).write_bytes(gzip.decompress(Path(target).read_bytes()))
    Path(target).chmod(0o644)  # pooch's temporary files are for their owner alone


def _read_mnist(folder: Path, place: str) -> DigitSet:
    """Read MNIST, if the checksums of its four files are right."""
    files = []
    for name, checksum in CHECKSUMS.items():
        path, expected = folder / name, f"MNIST's file with SHA-256 {checksum}"
        if not path.is_file():
            raise FileNotFoundError(file_message(path, expected, "no such file", REMEDY))
        files.append(np.fromfile(path, dtype=np.uint8))
        found = f"{len(files[-1]):,} bytes with SHA-256 {hashlib.sha256(files[-1]).hexdigest()}"
        if not found.endswith(checksum):
            raise ValueError(file_message(path, expected, found, REMEDY))
    images = np.concatenate([file[16:] for file in files[::2]]).reshape(-1, 28, 28)
    labels = np.concatenate([file[8:] for file in files[1::2]])  # the values follow a header
    return _digit_set("MNIST", images, labels, MNIST_SPLIT, f"read from {place}")


def _bundled_digits(reason: str) -> DigitSet:
    """scikit-learn's digits, interpolated linearly to MNIST's 20 x 20 in a frame of 4 pixels."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))  # they are sorted by writer
    shades = digits.images[order] * (255 / 16)  # (n, 8, 8)
    large = zoom(shades, (1, 2.5, 2.5), order=1, mode="nearest", grid_mode=True)  # (n, 20, 20)
    images = np.pad(np.rint(large).astype(np.uint8), ((0, 0), (4, 4), (4, 4)))
    return _digit_set("bundled digits", images, digits.target[order], DIGITS_SPLIT, reason)


def _digit_set(name, images, labels, sizes, reason) -> DigitSet:
    """Cut images and labels into training, validation and test, and describe the set."""
    ends = np.cumsum(sizes)[:-1]
    parts = map(LabelledImages, np.split(images, ends), np.split(labels.astype(np.int64), ends))
    counts = "{:,} training, {:,} validation and {:,} test images".format(*sizes)
    origin = "" if name == "MNIST" else " (scikit-learn's, 8 × 8 enlarged to 28 × 28)"
    return DigitSet(name, *parts, f"Digits in use: {name}{origin}, {counts}; {reason}.")
