"""The handwritten digits: which data is taken, that it is sound, and what a download leaves."""

import gzip
import os
import re
import socket
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
    (tmp_path / "data").mkdir()
    for module in (datasets, mnist):
        monkeypatch.setattr(module, "DATA_FOLDER", tmp_path / "data")
    monkeypatch.setattr(mnist, "MIRRORS", [NOWHERE])
    return tmp_path / "data"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A DATA_ROOT with a small set in MNIST's format, which is taken for MNIST."""
    write_small_mnist(tmp_path / "root")
    take_for_mnist(tmp_path / "root", monkeypatch.setattr)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "root"))
    return tmp_path / "root"


@pytest.fixture
def online(root, monkeypatch):
    """The same behind a mirror, after one that is down and one that has no files."""
    monkeypatch.delenv("DATA_ROOT")
    (root / "empty").mkdir()
    with mirror_of(root) as address:
        monkeypatch.setattr(mnist, "MIRRORS", [NOWHERE, f"{address}empty/", address])
        yield root


def found_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_form(digits, sizes):
    for part, size in zip((digits.train, digits.validation, digits.test), sizes, strict=True):
        assert part.images.shape == (size, 28, 28) and part.images.dtype == np.uint8
        assert part.labels.shape == (size,) and part.labels.dtype == np.int64
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
    images = np.concatenate([digits.train.images, digits.validation.images])
    assert images.mean() / 255 == pytest.approx(0.1307, abs=1e-4)  # well known


def test_files_are_read_in_order_and_the_last_training_images_are_for_validation(root, data):
    (data / mnist.FOLDER).mkdir(parents=True)
    (data / mnist.FOLDER / NAMES[0]).write_bytes(b"DATA_ROOT comes first")
    digits = load_mnist()
    assert_form(digits, SPLIT)
    raw = found_in(root / mnist.FOLDER)
    train, validation, test = (
        (part.images.tobytes(), bytes(part.labels.tolist()))
        for part in (digits.train, digits.validation, digits.test)
    )
    assert train[0] + validation[0] == raw["train-images-idx3-ubyte"][16:]
    assert train[1] + validation[1] == raw["train-labels-idx1-ubyte"][8:]
    assert test == (raw["t10k-images-idx3-ubyte"][16:], raw["t10k-labels-idx1-ubyte"][8:])
    assert digits.description == (
        "Digits in use: MNIST, 40 training, 10 validation and 20 test images; read from DATA_ROOT."
    )


def test_data_root_without_mnist_falls_through_to_the_project_and_a_missing_one_is_refused(
    root, data, monkeypatch
):
    for path in root.glob("*.gz"):
        path.unlink()
    (root / "MNIST").rename(data / "MNIST")
    assert load_mnist().description.endswith("read from data/.")
    (root / mnist.FOLDER).mkdir(parents=True)
    assert load_mnist().description.endswith("read from data/.")
    monkeypatch.setenv("DATA_ROOT", "/no/where")
    message = "where: expected DATA_ROOT to be a folder, found no such folder. Correct the path"
    with pytest.raises(FileNotFoundError, match=message):
        load_mnist()
    assert not load_mnist("digits").is_mnist


RENAMED = {name: name.replace("-idx", ".idx") for name in NAMES}
LAYOUTS = {  # of sound files: where each lies below DATA_ROOT, and where that points to
    "torchvision's": ("MNIST/raw/{}", "."),
    "compressed": ("MNIST/raw/{}.gz", "."),
    "without raw": ("MNIST/{}", "."),
    "in the root": ("{}", "."),
    "compressed in the root": ("{}.gz", "."),
    "lower case": ("mnist/raw/{}", "."),
    "MNIST in MNIST": ("MNIST/MNIST/raw/{}", "."),
    "only raw": ("raw/{}", "."),
    "root is MNIST": ("MNIST/raw/{}", "MNIST"),
    "root is raw": ("MNIST/raw/{}", "MNIST/raw"),
    "root is MNIST without raw": ("MNIST/{}", "MNIST"),
    "root is raw, compressed": ("MNIST/raw/{}.gz", "MNIST/raw"),
}


@pytest.fixture
def files(root, data) -> dict[str, bytes]:
    """Name -> content of the small set, which is nowhere any more."""
    found = found_in(root / "MNIST")
    for path in [*root.glob("*.gz"), *root.rglob("*ubyte")]:
        path.unlink()
    for folder in ("MNIST/raw", "MNIST"):
        (root / folder).rmdir()
    return found


def place(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("dots", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_mnist_is_used_however_it_lies(root, files, layout, dots, monkeypatch):
    for name, content in files.items():
        place(root / LAYOUTS[layout][0].format(RENAMED[name] if dots else name), content)
    monkeypatch.setenv("DATA_ROOT", str(root / LAYOUTS[layout][1]))
    assert load_mnist().description.endswith("read from DATA_ROOT.")


@pytest.mark.parametrize("change", ["one compressed", "swapped", "notes beside", "two copies"])
def test_checksums_decide_and_not_names(root, files, change):
    for name, content in files.items():
        swapped = name.replace("train", "T").replace("t10k", "train").replace("T", "t10k")
        suffix = ".gz" if change == "one compressed" and name == NAMES[0] else ""
        place(root / "MNIST/raw" / f"{swapped if 'swapped' in change else name}{suffix}", content)
    if change == "notes beside":
        place(root / "MNIST/raw/notes.txt", b"copied in May")
    if change == "two copies":
        place(root / "MNIST" / NAMES[1], b"damaged")
    assert load_mnist().description.endswith("read from DATA_ROOT.")


UNUSABLE = {  # what lies in the place of the first file, or alone -> how it is named
    "truncated": lambda sound: (f"MNIST/raw/{NAMES[0]}", sound[:-1], "a file of "),
    "flipped": lambda sound: (NAMES[0], sound[:-1] + bytes([sound[-1] ^ 1]), "a file of "),
    "web page": lambda _: (
        f"MNIST/{NAMES[0]}.gz",
        b"\n<!DOCTYPE html>",
        "a web page, perhaps a pr",
    ),
    "keras": lambda _: ("mnist.npz", b"PK\x03\x04", "a .zip or .npz archive of 4 bytes, none of"),
    "csv": lambda _: ("mnist_train.csv", b"5,0,0", "a file of 5 bytes, none of MNIST's four files"),
    "parquet": lambda _: ("mnist/train.parquet", b"PAR1", "a Parquet file of 4 bytes"),
}


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("kind", UNUSABLE)
def test_what_cant_be_used_is_named(root, files, kind, alone):
    where, content, what = UNUSABLE[kind](files[NAMES[0]])
    place(root / where, content)
    for name in NAMES[1:] * (not alone):
        place(root / name, files[name])
    expected = f"{root}: expected MNIST's four files in it, in MNIST or in MNIST/raw, found {where}"
    with pytest.raises(ValueError, match=re.escape(f"{expected}, which is {what}")) as error:
        load_mnist()
    text = str(error.value)
    assert f"no {NAMES[0]}" in text and (f"no {NAMES[1]}" in text) == alone
    assert "Bring all four there" in text and "DIGITS_SOURCE=digits" in text


def test_a_damaged_gz_and_a_missing_file_are_named(root, files):
    place(root / NAMES[1], files[NAMES[1]])
    (root / f"{NAMES[0]}.gz").write_bytes(gzip.compress(files[NAMES[0]])[:999])
    with pytest.raises(ValueError, match=r"which is a damaged \.gz file.*; no train-images.*no t"):
        load_mnist()
    (root / f"{NAMES[0]}.gz").unlink()
    with pytest.raises(ValueError, match=f"found no {NAMES[0]}; no {NAMES[2]}; no"):
        load_mnist()


@pytest.mark.parametrize("name", ["fashion-mnist.csv", "FashionMNIST/raw/train-images-idx3-ubyte"])
def test_another_set_is_not_meant(root, files, name):
    place(root / name, b"other")
    assert "its download failed" in load_mnist().description


def test_the_argument_comes_before_the_environment_and_other_sources_are_refused(root, monkeypatch):
    assert load_mnist("digits").description.endswith("; chosen by source=digits.")
    for name, source, argument in (
        ("DIGITS_SOURCE", "Digits", None),
        ("source", "mnist", "Digits"),
    ):
        monkeypatch.setenv("DIGITS_SOURCE", source)
        with pytest.raises(ValueError, match=f"^{name}: expected one of auto, mnist, digits, fou"):
            load_mnist(argument)
    monkeypatch.setenv("DIGITS_SOURCE", "digits")
    assert load_mnist().description.endswith("; chosen by DIGITS_SOURCE=digits.")
    assert load_mnist("auto").is_mnist
    monkeypatch.setenv("DIGITS_SOURCE", "")  # counts as unset
    assert load_mnist().is_mnist


def test_digits_are_scikit_learns_each_once_with_its_label_and_split_always_alike():
    digits = load_mnist("digits")
    assert_form(digits, (1_200, 297, 300))
    assert digits.name == "bundled digits" and not digits.is_mnist
    np.testing.assert_array_equal(digits.test.images, load_mnist("digits").test.images)
    parts = digits.train, digits.validation, digits.test
    images = np.concatenate([part.images for part in parts])
    assert images.max() == 255 and len(np.unique(images, axis=0)) == 1797
    # Averaged back to 8 x 8 (20 = 8 x 2.5), they are closest to their originals; a few to twins.
    fine = images[:, 4:24, 4:24].repeat(2, 1).repeat(2, 2)
    small = fine.reshape(-1, 8, 5, 8, 5).mean((2, 4)).reshape(-1, 64) * 16 / 255
    closest = NearestNeighbors(n_neighbors=1).fit(load_digits().data).kneighbors(small)[1][:, 0]
    assert len(set(closest)) > 1780
    labels = np.concatenate([part.labels for part in parts])
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


def test_the_notice_says_what_was_looked_for_what_happened_and_what_to_do(data):
    digits, said = load_mnist(), load_mnist().description
    assert digits.name == "bundled digits" and list(data.iterdir()) == []
    happened = f"not in or below DATA_ROOT or data/; its download failed: {NOWHERE} ConnectionError"
    to_do = ("with a network connection", *NAMES, "to data/MNIST/raw", "DATA_ROOT names")
    for text in ("1,200 training", happened, *to_do):
        assert said.count(text) == 1
    with pytest.raises(FileNotFoundError, match=r"download failed: http.*copy its four"):
        load_mnist("mnist")


@pytest.mark.parametrize("error", ["OSError a web page", "ValueError SHA256", "EOFError"])
def test_a_damaged_download_leaves_nothing_and_says_why(online, data, error):
    path = online / f"{NAMES[0]}.gz"
    half, other = path.read_bytes()[:9999], gzip.compress(b"other")
    wrong = {"OSError a web page": b"<p>", "ValueError SHA256": other, "EOFError": half}
    path.write_bytes(wrong[error])
    assert f"/ {error}" in load_mnist().description
    assert found_in(data) == {}


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
    place(data / mnist.FOLDER / "tmp0a1_b2c3", b"")  # as a third one has begun it
    with ThreadPoolExecutor() as pool:
        results = pool.map(lambda _: load_mnist(), range(4))
    assert [digits.is_mnist for digits in results] == 4 * [True]
    assert set(found_in(data)) == {*NAMES, "tmp0a1_b2c3"}


def test_a_name_lookup_or_a_mirror_that_never_answers_is_given_up(monkeypatch):
    """The first mirror hangs in the lookup of its name, the second takes calls and is silent."""
    assert mnist.TIMEOUT <= 5  # for each of two mirrors
    monkeypatch.setattr(mnist, "TIMEOUT", 0.5)
    lookup = socket.getaddrinfo

    def slow_lookup(host, *arguments, **options):
        time.sleep(3 * (host == "slow.invalid"))
        return lookup(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow_lookup)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirror = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        monkeypatch.setattr(mnist, "MIRRORS", ["http://slow.invalid/", mirror])
        start = time.monotonic()
        said = load_mnist().description
    assert time.monotonic() - start < 2.5
    assert f"http://slow.invalid/ TimeoutError; {mirror}" in said
