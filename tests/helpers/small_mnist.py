"""A small set in MNIST's format, and a network that brings it, for the tests of the loader."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from helpers import mnist, mnist_download

COUNTS = {"train": 50, "t10k": 20}
VALIDATION = 10

# Of a module, a name and a value: pytest's monkeypatch.setattr, or the builtin in a new process.
SetAttribute = Callable[[object, str, object], None]


def write_small_mnist(root: Path) -> None:
    """Write random images and labels to ``root/MNIST/raw``."""
    raw = root / mnist.FOLDER
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in COUNTS.items():
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(bytes(16) + images.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(bytes(8) + labels.tobytes())


def take_for_mnist(root: Path, set_attribute: SetAttribute) -> None:
    """Let the loader take the small set under `root` for MNIST."""
    raw = root / mnist.FOLDER
    sums = {name: hashlib.sha256((raw / name).read_bytes()).hexdigest() for name in mnist.CHECKSUMS}
    set_attribute(mnist, "CHECKSUMS", sums)
    set_attribute(mnist, "MNIST_VALIDATION", VALIDATION)


def pretend_online(root: Path, set_attribute: SetAttribute) -> None:
    """Make a mirror that answers, and a torchvision that brings the small set under `root`."""
    (root / mnist_download.PROBE).write_bytes(b"something")
    set_attribute(mnist_download, "MIRRORS", [root.as_uri() + "/"])
    copy = f"import shutil, sys; shutil.copytree({str(root / 'MNIST')!r}, sys.argv[1] + '/MNIST')"
    set_attribute(mnist_download, "SCRIPT", copy)
