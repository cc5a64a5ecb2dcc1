"""Download MNIST with torchvision: with a time limit, a progress bar, and all or nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Collection
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from urllib.request import Request, urlopen

from helpers.progress import progress_bar

CONNECT_SECONDS = 5.0  # a machine without a network gives up after this
LIMIT_SECONDS = 300.0
COMPRESSED_BYTES = 11_594_722  # of the four files, for the progress bar
# torchvision's own mirrors, and the smallest file there. They are named here because importing
# torchvision can take longer than a machine without a network may wait.
MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/")
PROBE = "t10k-labels-idx1-ubyte.gz"
PREFIX = ".download-"  # of the temporary folders
# Another process, because torchvision's download has no time limit and a thread cannot be stopped.
SCRIPT = "import sys; from torchvision.datasets import MNIST; MNIST(sys.argv[1], download=True)"


class DownloadError(OSError):
    """MNIST was not downloaded; the text says why."""


def download(folder: Path, names: Collection[str], check: Callable[[Path], object]) -> None:
    """Put MNIST's decompressed files into `folder`.

    Everything is downloaded to a temporary folder, checked there, and only then moved to its
    place; so an interrupted download leaves nothing that could be taken for MNIST, and two
    downloads at once do not meet.

    Parameters
    ----------
    folder : Path
        It must be called ``…/MNIST/raw`` and have none of the files. The temporary folder is
        created beside ``MNIST``.
    names : names of the files
    check : function of a downloaded file's path that raises ValueError or OSError if it is wrong

    Raises
    ------
    DownloadError
        If no mirror answers in `CONNECT_SECONDS`, if the download takes longer than
        `LIMIT_SECONDS` or fails, if a downloaded file is wrong, or if `folder` cannot be written.
    """
    _require_mirror()
    root = folder.parents[1]
    try:
        root.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(root)
        with tempfile.TemporaryDirectory(
            prefix=PREFIX,
            dir=root,
            ignore_cleanup_errors=True,  # Windows: a virus scanner may hold a file open
        ) as temporary:
            _run_torchvision(Path(temporary))
            raw = Path(temporary) / "MNIST" / "raw"
            _require_sound(raw, names, check)
            _move(raw, folder, names)
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(str(error)) from error


def _require_mirror() -> None:
    """Ask all mirrors at once and return as soon as one answers."""
    answers: Queue[str | None] = Queue()
    failures = []
    deadline = time.monotonic() + CONNECT_SECONDS
    for mirror in MIRRORS:
        # As daemons they do not keep the interpreter, even if looking up a name never ends.
        Thread(target=_ask, args=(mirror + PROBE, answers), daemon=True).start()
    for _ in MIRRORS:
        try:
            failure = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            raise DownloadError(f"no mirror answered within {CONNECT_SECONDS:g} s") from None
        if failure is None:
            return
        failures.append(failure)
    raise DownloadError(f"no mirror can be reached ({'; '.join(dict.fromkeys(failures))})")


def _ask(url: str, answers: Queue[str | None]) -> None:
    """Put None into `answers` if the URL can be read, else the reason why not."""
    request = Request(url, headers={"User-Agent": "deep-learning-basics"})
    try:
        with urlopen(request, timeout=CONNECT_SECONDS) as response:
            response.read(1)
        answers.put(None)
    except Exception as error:  # whatever it is, this mirror does not answer
        answers.put(f"{type(error).__name__}: {error}")


def _remove_abandoned(root: Path) -> None:
    """Delete what a killed process has left, and nothing that a living one may still use."""
    for folder in root.glob(f"{PREFIX}*"):
        if time.time() - folder.stat().st_mtime > 2 * LIMIT_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _run_torchvision(root: Path) -> None:
    """Let torchvision download into `root`; end it at the time limit or when interrupted."""
    deadline = time.monotonic() + LIMIT_SECONDS
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(root)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )
    # Read all the time, else the process would wait; and not into a file: the disk may be full.
    lines: deque[str] = deque(maxlen=20)
    reader = Thread(target=lines.extend, args=(process.stderr,), daemon=True)
    reader.start()
    try:
        with progress_bar(COMPRESSED_BYTES, desc="MNIST", unit="B", unit_scale=True) as bar:
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
                bar.update(_bytes_in(root) - bar.n)
        if process.poll() is None:
            raise DownloadError(f"the download took longer than {LIMIT_SECONDS:g} s")
    finally:
        process.kill()
        process.wait()
        reader.join(timeout=1)  # a process that torchvision started might keep the pipe open
    if process.returncode:
        said = (line.strip() for line in reversed(lines))
        raise DownloadError(next(filter(None, said), "it failed"))


def _bytes_in(root: Path) -> int:
    """Size of the compressed files so far; torchvision may move or remove one meanwhile."""
    sizes = []
    for path in root.glob("MNIST/raw/*.gz*"):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:
            continue
    return sum(sizes)


def _require_sound(raw: Path, names: Collection[str], check: Callable[[Path], object]) -> None:
    for name in names:
        try:
            check(raw / name)
        except (OSError, ValueError) as error:
            # Its text would advise to mend a file that is deleted with the temporary folder.
            raise DownloadError(f"{name} did not arrive whole") from error


def _move(raw: Path, folder: Path, names: Collection[str]) -> None:
    """Move checked files to their place: the whole folder, or one by one if it exists."""
    for path in raw.iterdir():
        if path.name not in names:  # the compressed files
            path.unlink()
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        raw.rename(folder)
    except OSError:
        folder.mkdir(exist_ok=True)
        for name in names:
            # A file that has come meanwhile is another download's, checked and maybe in use.
            if not (folder / name).exists():
                os.replace(raw / name, folder / name)
