"""The handwritten digits: which data is taken, that it is sound, and what a download leaves."""

import gzip
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pooch
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from helpers import datasets, mnist
from helpers.mnist import load_mnist
from tests.helpers.small_mnist import SPLIT, mirror_of, take_for_mnist, write_small_mnist

NAMES = list(mnist.CHECKSUMS)
REAL_ROOT = datasets.PROJECT / (os.environ.get("DATA_ROOT") or "data")
NOWHERE = "http://127.0.0.1:9/"


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """An empty folder in the place of data/; no environment, and no mirror that answers."""
    for name in ("DATA_ROOT", "DIGITS_SOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setattr(mnist, "DATA_FOLDER", folder)
    monkeypatch.setattr(datasets, "DATA_FOLDER", folder)
    monkeypatch.setattr(mnist, "MIRRORS", [NOWHERE])
    return folder


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A DATA_ROOT with a small set in MNIST's format, which is taken for MNIST."""
    write_small_mnist(tmp_path / "root")
    take_for_mnist(tmp_path / "root", monkeypatch.setattr)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "root"))
    return tmp_path / "root"


@pytest.fixture
def online(root, monkeypatch):
    """The same, only behind a mirror, after one that does not answer: for a test to damage."""
    monkeypatch.delenv("DATA_ROOT")
    with mirror_of(root) as address:
        monkeypatch.setattr(mnist, "MIRRORS", [NOWHERE, address])
        yield root


def found_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_form(digits, sizes):
    parts = (digits.train, digits.validation, digits.test)
    assert tuple(len(part) for part in parts) == sizes
    for part in parts:
        assert part.images.shape == (len(part), 28, 28) and part.images.dtype == np.uint8
        assert part.labels.shape == (len(part),) and part.labels.dtype == np.int64
        assert set(part.labels) <= set(range(10))
        assert part.images.flags.writeable  # PyTorch warns of arrays that are not


@pytest.mark.skipif(not (REAL_ROOT / mnist.FOLDER).is_dir(), reason="MNIST is not on disk")
def test_mnist_is_split_and_begins_and_ends_as_known(monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(REAL_ROOT))
    digits = load_mnist("mnist")
    assert_form(digits, (55_000, 5_000, 10_000))
    assert digits.is_mnist and digits.name == "MNIST"
    assert digits.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert digits.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    whole = digits.train_and_validation
    assert whole.images.mean() / 255 == pytest.approx(0.1307, abs=1e-4)  # well known


def test_files_are_read_in_order_and_the_last_training_images_are_for_validation(root, data):
    (data / mnist.FOLDER).mkdir(parents=True)
    (data / mnist.FOLDER / NAMES[0]).write_bytes(b"DATA_ROOT comes first")
    digits = load_mnist()
    assert_form(digits, SPLIT)
    raw = found_in(root / mnist.FOLDER)
    whole = digits.train_and_validation
    assert digits.validation.images.tobytes() == whole.images[SPLIT[0] :].tobytes()
    assert whole.images.tobytes() == raw["train-images-idx3-ubyte"][16:]
    assert bytes(whole.labels.tolist()) == raw["train-labels-idx1-ubyte"][8:]
    assert digits.test.images.tobytes() == raw["t10k-images-idx3-ubyte"][16:]
    assert bytes(digits.test.labels.tolist()) == raw["t10k-labels-idx1-ubyte"][8:]
    assert digits.description == (
        "Digits in use: MNIST, 40 training, 10 validation and 20 test images; read from DATA_ROOT."
    )


def test_data_root_without_mnist_falls_through_to_the_project_and_a_missing_one_is_refused(
    root, data, monkeypatch
):
    (root / "MNIST").rename(data / "MNIST")
    assert load_mnist().description.endswith("read from data/.")
    (root / mnist.FOLDER).mkdir(parents=True)
    assert load_mnist().description.endswith("read from data/.")
    monkeypatch.setenv("DATA_ROOT", "/no/where")
    message = "where: expected DATA_ROOT to be a folder, found no such folder. Correct the path"
    with pytest.raises(FileNotFoundError, match=message):
        load_mnist()
    assert not load_mnist("digits").is_mnist


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["truncated", "flipped", "longer", "empty", "missing"])
def test_a_damaged_or_missing_file_is_refused_by_name(root, name, damage):
    path = root / mnist.FOLDER / name
    sound = path.read_bytes()
    flipped = sound[:-1] + bytes([sound[-1] ^ 1])
    kinds = {"truncated": sound[:-1], "flipped": flipped, "longer": sound + b"0", "empty": b""}
    path.unlink()
    if damage != "missing":
        path.write_bytes(kinds[damage])
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        load_mnist()
    found = "no such file" if damage == "missing" else f"{len(kinds[damage]):,} bytes with SHA-256"
    expected = f"{path}: expected MNIST's file with SHA-256 {mnist.CHECKSUMS[name]}, found {found}"
    assert str(caught.value).startswith(expected)
    assert "Replace it by a sound copy" in str(caught.value)


def test_digits_are_forced_by_argument_and_by_environment(root, monkeypatch, capsys):
    assert load_mnist("digits").description.endswith("; chosen by source=digits.")
    monkeypatch.setenv("DIGITS_SOURCE", "digits")
    assert load_mnist().description.endswith("; chosen by DIGITS_SOURCE=digits.")
    assert load_mnist("auto").is_mnist  # the argument comes first
    monkeypatch.setenv("DIGITS_SOURCE", "")  # counts as unset
    assert load_mnist().is_mnist
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["source", "DIGITS_SOURCE"])
def test_unknown_source_is_refused(name, monkeypatch):
    monkeypatch.setenv("DIGITS_SOURCE", "Digits" if name == "DIGITS_SOURCE" else "auto")
    with pytest.raises(ValueError, match=f"^{name}: expected one of auto, mnist, digits, found"):
        load_mnist("Digits" if name == "source" else None)


def test_digits_are_scikit_learns_each_once_with_its_label_and_split_always_alike():
    digits, again = load_mnist("digits"), load_mnist("digits")
    assert_form(digits, (1_200, 297, 300))
    assert digits.name == "bundled digits" and not digits.is_mnist
    np.testing.assert_array_equal(digits.test.images, again.test.images)
    images = np.concatenate([digits.train_and_validation.images, digits.test.images])
    assert (images.min(), images.max()) == (0, 255)
    assert len(np.unique(images, axis=0)) == 1797
    # Averaged back to 8 x 8 (20 = 8 x 2.5), they are closest to their originals; a few to twins.
    fine = images[:, 4:24, 4:24].repeat(2, 1).repeat(2, 2)
    small = fine.reshape(-1, 8, 5, 8, 5).mean((2, 4)).reshape(-1, 64) * 16 / 255
    closest = NearestNeighbors(n_neighbors=1).fit(load_digits().data).kneighbors(small)[1][:, 0]
    assert len(set(closest)) > 1780
    labels = np.append(digits.train_and_validation.labels, digits.test.labels)
    np.testing.assert_array_equal(labels, load_digits().target[closest])
    images[:, 4:24, 4:24] = 0
    assert not images.any()


def test_a_download_is_checked_and_put_in_its_place_and_not_repeated(
    online, data, monkeypatch, capfd
):
    said = []
    monkeypatch.setattr(pooch.get_logger(), "handle", said.append)
    assert load_mnist().description.endswith("read from data/.")
    assert found_in(data) == found_in(online / "MNIST")
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in data.rglob("*ubyte"))
    assert capfd.readouterr() == ("", "") and said == []
    (data / mnist.FOLDER / NAMES[3]).unlink()
    (online / f"{NAMES[0]}.gz").unlink()  # what is there is not asked for again
    assert load_mnist().is_mnist


def test_without_a_network_the_notice_says_what_was_looked_for_what_happened_and_what_to_do(
    data, capsys
):
    digits = load_mnist()
    assert digits.name == "bundled digits"
    assert capsys.readouterr().out == f"{digits.description}\n{mnist.HOW_TO_GET_MNIST}\n"
    assert "1,200 training" in digits.description and "MNIST/raw below" in digits.description
    assert f"download failed: {NOWHERE} ConnectionError" in digits.description
    for remedy in ("with a network connection", *NAMES, "to data/MNIST/raw", "DATA_ROOT"):
        assert remedy in mnist.HOW_TO_GET_MNIST
    assert list(data.iterdir()) == []
    with pytest.raises(FileNotFoundError, match=r"download failed: http.*copy its four"):
        load_mnist("mnist")


@pytest.mark.parametrize("error", ["BadGzipFile", "ValueError SHA256", "EOFError"])
def test_a_damaged_download_leaves_nothing_and_says_why(online, data, capsys, error):
    path = online / f"{NAMES[0]}.gz"
    half, other = path.read_bytes()[:9999], gzip.compress(b"other")
    path.write_bytes(
        {"BadGzipFile": b"<html>", "ValueError SHA256": other, "EOFError": half}[error]
    )
    assert not load_mnist().is_mnist
    assert f"/ {error}" in capsys.readouterr().out
    assert found_in(data) == {}


def test_a_mirror_that_lacks_files_is_followed_by_the_next(online, data, monkeypatch):
    with mirror_of(data) as empty:
        monkeypatch.setattr(mnist, "MIRRORS", [empty, *mnist.MIRRORS])
        assert load_mnist().is_mnist


def test_an_interrupted_download_leaves_nothing_and_the_next_goes_on(online, data, monkeypatch):
    def interrupt(target, content):
        with target.open("wb") as file:
            file.write(content[:5])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "write_bytes", interrupt)
        load_mnist()
    assert found_in(data) == {}
    assert load_mnist().is_mnist


def test_two_downloads_at_once_both_get_mnist(online, data):
    with ThreadPoolExecutor() as pool:
        results = pool.map(lambda _: load_mnist(), range(4))
    assert [digits.is_mnist for digits in results] == 4 * [True]
    assert set(found_in(data)) == set(NAMES)


def test_a_name_lookup_or_a_mirror_that_never_answers_is_given_up(monkeypatch, capsys):
    """The first mirror hangs in the lookup of its name, the second takes calls and is silent."""
    assert mnist.TIMEOUT * len(mnist.MIRRORS) <= 10
    monkeypatch.setattr(mnist, "TIMEOUT", 0.5)
    lookup = socket.getaddrinfo

    def slow_lookup(host, *arguments, **options):
        if host == "slow.invalid":
            time.sleep(3)
        return lookup(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow_lookup)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirror = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        monkeypatch.setattr(mnist, "MIRRORS", ["http://slow.invalid/", mirror])
        thread = threading.Thread(target=load_mnist)
        thread.start()
        thread.join(2.5)
        assert not thread.is_alive()
    assert f"http://slow.invalid/ TimeoutError; {mirror}" in capsys.readouterr().out
