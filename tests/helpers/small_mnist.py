"""A small set in MNIST's format and a mirror on this machine, for the tests of the loader."""

import gzip
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np

from helpers import mnist

SPLIT = (40, 10, 20)


def write_small_mnist(root: Path) -> None:
    """Write random images and labels to ``root/MNIST/raw``, and compressed to ``root``."""
    raw = root / mnist.FOLDER
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in {"train": SPLIT[0] + SPLIT[1], "t10k": SPLIT[2]}.items():
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(bytes(16) + images.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(bytes(8) + labels.tobytes())
    for path in raw.iterdir():
        (root / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))


def take_for_mnist(root: Path, set_attribute: Callable[[object, str, object], None]) -> None:
    """Let the loader take the small set under `root` for MNIST.

    `set_attribute` is pytest's monkeypatch.setattr or, in a new process, the builtin.
    """
    raw = root / mnist.FOLDER
    sums = {name: hashlib.sha256((raw / name).read_bytes()).hexdigest() for name in mnist.CHECKSUMS}
    set_attribute(mnist, "CHECKSUMS", sums)
    set_attribute(mnist, "MNIST_SPLIT", SPLIT)


@contextmanager
def mirror_of(root: Path) -> Iterator[str]:
    """Serve the files in `root`; give the address."""
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = partial(quiet, directory=str(root))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
