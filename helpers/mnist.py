"""Handwritten digits: MNIST (LeCun, Cortes and Burges, 1998), else those of scikit-learn.

MNIST's files are recognised by their checksums, in and below DATA_ROOT and data/; or they are
downloaded to where torchvision expects them, ``data/MNIST/raw``. Without a network, scikit-learn's
digits (Alpaydin and Kaynak, 1998: 8 x 8) stand in, enlarged.
"""

import gzip
import hashlib
import os
import re
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
from scipy.ndimage import zoom  # comes with scikit-learn
from sklearn.datasets import load_digits

from helpers.datasets import DATA_FOLDER, data_root, file_message
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
FOLDERS = ("mnist", "raw")  # are looked into, in capitals or not
MEANT = re.compile(r"(train|t10k|test).*(image|label)|(?<!fashion[-_])\bmnist", re.IGNORECASE)
UNFINISHED = re.compile(r"\.|tmp\w{8}$")  # hidden; pooch's, of a download that is under way
WEB_PAGE = "a web page, perhaps a proxy's, in place of the file"
ARCHIVES = {b"PK": "a .zip or .npz archive", b"\x89HDF": "an HDF5 file", b"PAR1": "a Parquet file"}
REMEDY = (
    "Bring all four there, decompressed or as .gz; or remove what is there, so that MNIST is "
    "downloaded; or set DIGITS_SOURCE=digits to use scikit-learn's."
)
HOW_TO_GET_MNIST = (
    "To use MNIST, run this again with a network connection, or copy its four files "
    f"({', '.join(CHECKSUMS)}, decompressed or as .gz) to data/{FOLDER}, or to a folder that "
    "DATA_ROOT names"
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
    """Load MNIST if it is on disk or can be downloaded, else the bundled digits.

    `source`, by default the environment's DIGITS_SOURCE, is "auto", "mnist" (nothing else will do)
    or "digits" (the bundled ones). MNIST's last 5,000 training images are for validation; the
    bundled digits are split at random, but always alike. What it is, and why, is to be printed: its
    `description`. ValueError for another source, and if what
    may be meant as MNIST is not all of it. FileNotFoundError if DATA_ROOT is no folder, or "mnist"
    is nowhere.
    """
    asked = "DIGITS_SOURCE" if source is None else "source"
    source = source or os.environ.get("DIGITS_SOURCE") or "auto"
    if source not in ("auto", "mnist", "digits"):
        raise ValueError(f"{asked}: expected one of auto, mnist, digits, found {source!r}")
    if source == "digits":
        return _bundled_digits(f"chosen by {asked}=digits")
    root = data_root()
    if root != DATA_FOLDER and len(files := _find_mnist(root)) == 4:
        return _mnist(files, "read from DATA_ROOT")
    there = _find_mnist(DATA_FOLDER, incomplete=True)
    try:
        _download(DATA_FOLDER / FOLDER, [name for name in CHECKSUMS if name not in there])
    except OSError as error:
        reason = f"MNIST is not in or below DATA_ROOT or data/; its download failed: {error}"
        if source == "mnist":
            raise FileNotFoundError(f"{reason}. {HOW_TO_GET_MNIST}.") from error
        return _bundled_digits(f"{reason}.\n{HOW_TO_GET_MNIST}")
    return _mnist(_find_mnist(DATA_FOLDER), "read from data/")


def _find_mnist(root: Path, incomplete: bool = False) -> dict[str, np.ndarray]:
    """Name -> bytes of MNIST's files in `root` and its folders; nothing if there are none.

    ValueError, with what was found instead, for some but not all, unless `incomplete` is allowed,
    and for none but what may be meant as one.
    """
    folders, names = [root], {checksum: name for name, checksum in CHECKSUMS.items()}
    for _ in range(3):
        below = {path for folder in folders for path in folder.iterdir() if path.is_dir()}
        folders += sorted(path for path in below - {*folders} if path.name.lower() in FOLDERS)
    found, others = {}, []
    for path in (path for folder in folders for path in sorted(folder.iterdir())):
        meant = path.parent.name.lower() in FOLDERS or MEANT.search(path.name)
        if not meant or not path.is_file() or UNFINISHED.match(path.name):
            continue
        content, what = _content_of(path)
        if name := names.get(hashlib.sha256(content).hexdigest()):
            found[name] = np.frombuffer(bytearray(content), np.uint8)
        else:
            others.append(f"{path.relative_to(root)}, which is {what}")
    if len(found) == 4 or (not others and (incomplete or not found)):
        return found
    others += [f"no {name}" for name in CHECKSUMS if name not in found]
    expected = "MNIST's four files in it, in MNIST or in MNIST/raw"
    raise ValueError(file_message(root, expected, "; ".join(others), REMEDY))


def _content_of(path: Path) -> tuple[bytes, str]:
    """A file's content, decompressed if need be, and what it is if it is none of MNIST's."""
    content = path.read_bytes()
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            return b"", f"a damaged .gz file ({error})"
    if content.lstrip().startswith(b"<"):
        return content, WEB_PAGE
    kind = next((kind for start, kind in ARCHIVES.items() if content.startswith(start)), "a file")
    return content, f"{kind} of {len(content):,} bytes, none of MNIST's four files"


def _download(folder: Path, missing: list[str]) -> None:
    """Bring what is missing into `folder`, from the first mirror that has it; else OSError.

    pooch puts a file there when its checksum is right, whole: two downloads do not meet.
    """
    pooch.get_logger().setLevel("WARNING")  # else a notebook would store paths of this machine
    failures = []
    for mirror in MIRRORS:
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
    if (content := Path(target).read_bytes()).lstrip().startswith(b"<"):
        raise OSError(WEB_PAGE)
    Path(target).write_bytes(gzip.decompress(content))
    Path(target).chmod(0o644)  # pooch's temporary files are for their owner alone


def _mnist(files: dict[str, np.ndarray], reason: str) -> DigitSet:
    """The set, from the bytes of its four files, whose values follow a header."""
    images, labels = (
        np.concatenate([files[name][header:] for name in names])
        for header, names in ((16, [*CHECKSUMS][::2]), (8, [*CHECKSUMS][1::2]))
    )
    return _digit_set("MNIST", images.reshape(-1, 28, 28), labels, MNIST_SPLIT, reason)


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
