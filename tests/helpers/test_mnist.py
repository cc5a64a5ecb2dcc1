"""The handwritten digits: which data is taken, that it is sound, and what a download leaves."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from helpers import files, mnist, mnist_download
from helpers.mnist import load_mnist
from helpers.mnist_download import DownloadError
from tests.helpers.small_mnist import VALIDATION, pretend_online, take_for_mnist, write_small_mnist

REAL_ROOT = os.environ.get("DATA_ROOT") or "data"
REAL_MNIST = files.PROJECT / REAL_ROOT / mnist.FOLDER
REAL_MIRRORS = mnist_download.MIRRORS
NOWHERE = "file:///no/such/folder/"
OFFLINE = "raise SystemExit('OSError: the network went away')"
SLOW = "import time; print('downloading', flush=True); time.sleep(60)"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    """Let no test depend on the environment or the network of whoever runs it."""
    monkeypatch.delenv("DATA_ROOT", raising=False)
    monkeypatch.delenv("DIGITS_SOURCE", raising=False)
    monkeypatch.setattr(mnist_download, "MIRRORS", [NOWHERE])


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """An empty folder in the place of the project's data/."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setattr(mnist, "DATA_FOLDER", folder)
    monkeypatch.setattr(files, "DATA_FOLDER", folder)
    return folder


@pytest.fixture
def small(tmp_path, monkeypatch) -> Path:
    """A root with a small set in MNIST's format, which is taken for MNIST."""
    root = tmp_path / "root"
    write_small_mnist(root)
    take_for_mnist(root, monkeypatch.setattr)
    return root


@pytest.fixture
def online(small, data, monkeypatch) -> Path:
    """A mirror that answers, and a torchvision that brings the small set."""
    pretend_online(small, monkeypatch.setattr)
    return data


def content(root: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def raw_images(root: Path, part: str) -> np.ndarray:
    found = (root / mnist.FOLDER / f"{part}-images-idx3-ubyte").read_bytes()
    return np.frombuffer(found, np.uint8, offset=16).reshape(-1, 28, 28)


# ---- MNIST itself


@pytest.mark.skipif(not REAL_MNIST.is_dir(), reason="MNIST is neither under DATA_ROOT nor in data/")
def test_mnist_is_split_and_begins_and_ends_as_known():
    digits = load_mnist("mnist", data_root=files.PROJECT / REAL_ROOT)
    parts = (digits.train, digits.validation, digits.test)
    assert [len(part) for part in parts] == [55_000, 5_000, 10_000]
    assert digits.is_mnist and digits.name == "MNIST"
    for part in parts:
        assert part.images.shape == (len(part), 28, 28) and part.images.dtype == np.uint8
        assert part.labels.shape == (len(part),) and part.labels.dtype == np.int64
        assert set(part.labels) == set(range(10))
    assert digits.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert digits.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    whole = digits.train_and_validation
    assert whole.images.mean() / 255 == pytest.approx(0.1307, abs=1e-4)  # well known
    assert np.bincount(whole.labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949
    ]  # fmt: skip


def test_files_are_read_in_order_and_the_last_training_images_are_for_validation(small):
    digits = load_mnist(data_root=small)
    images = raw_images(small, "train")
    np.testing.assert_array_equal(digits.train.images, images[:-VALIDATION])
    np.testing.assert_array_equal(digits.validation.images, images[-VALIDATION:])
    np.testing.assert_array_equal(digits.train_and_validation.images, images)
    np.testing.assert_array_equal(digits.test.images, raw_images(small, "t10k"))
    labels = (small / mnist.FOLDER / "t10k-labels-idx1-ubyte").read_bytes()[8:]
    assert digits.test.labels.tolist() == list(labels)
    assert "MNIST, 40 training, 10 validation and 20 test images" in digits.description


def test_the_description_holds_no_path(small):
    assert str(small) not in load_mnist(data_root=small).description


def test_arrays_can_be_written_to(small):
    """PyTorch warns of arrays that cannot be."""
    digits = load_mnist(data_root=small)
    assert digits.train.images.flags.writeable and digits.test.labels.flags.writeable


# ---- where it is looked for


def test_data_root_comes_before_the_project(small, data, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(small))
    (data / mnist.FOLDER).mkdir(parents=True)
    (data / mnist.FOLDER / "train-images-idx3-ubyte").write_bytes(b"damaged")
    assert load_mnist().description.endswith("read from DATA_ROOT.")


@pytest.mark.parametrize("lacking", ["", "MNIST", mnist.FOLDER])
def test_data_root_without_mnist_falls_through_to_the_project(small, data, monkeypatch, lacking):
    (data.parent / "other" / lacking).mkdir(parents=True)
    monkeypatch.setenv("DATA_ROOT", str(data.parent / "other"))
    (small / "MNIST").rename(data / "MNIST")
    assert load_mnist().description.endswith("read from data/.")


def test_missing_data_root_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "nowhere"))
    message = "nowhere: expected DATA_ROOT to be a folder.* Correct the path"
    with pytest.raises(FileNotFoundError, match=message):
        load_mnist()


def test_a_data_root_that_is_given_is_only_read(online, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_mnist(data_root=tmp_path / "empty")
    assert os.listdir(tmp_path / "empty") == []


# ---- the choice


def test_digits_are_forced_by_argument_and_by_environment(small, monkeypatch, capsys):
    monkeypatch.setenv("DATA_ROOT", str(small))
    forced = load_mnist("digits")
    assert forced.name == "bundled digits" and "chosen by source=digits." in forced.description
    monkeypatch.setenv("DIGITS_SOURCE", "digits")
    forced = load_mnist()
    assert forced.name == "bundled digits" and "by DIGITS_SOURCE=digits." in forced.description
    assert load_mnist("auto").is_mnist  # the argument comes first
    assert capsys.readouterr().out == ""


def test_digits_need_neither_data_root_nor_network(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "nowhere"))
    assert not load_mnist("digits").is_mnist


def test_empty_source_in_the_environment_counts_as_unset(small, monkeypatch):
    monkeypatch.setenv("DIGITS_SOURCE", "")
    assert load_mnist(data_root=small).is_mnist


@pytest.mark.parametrize("name", ["source", "DIGITS_SOURCE"])
def test_unknown_source_is_refused(name, monkeypatch):
    monkeypatch.setenv("DIGITS_SOURCE", "Digits" if name == "DIGITS_SOURCE" else "auto")
    with pytest.raises(ValueError, match=f"^{name}: expected one of auto, mnist, digits, found"):
        load_mnist("Digits" if name == "source" else None)


def test_without_mnist_and_network_the_digits_come_with_a_notice(data, capsys):
    digits = load_mnist()
    notice = capsys.readouterr().out
    assert not digits.is_mnist and digits.description in notice
    for part in (
        "bundled digits",
        "1,200 training",
        "download failed",
        "DATA_ROOT",
        *mnist.CHECKSUMS,
    ):
        assert part in notice
    assert list(data.iterdir()) == []


def test_without_mnist_and_network_a_demand_for_mnist_fails(data, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no mirror.*copy its four decompressed files"):
        load_mnist("mnist")


# ---- files that are not MNIST's


def refused(root, error=ValueError):
    with pytest.raises(error) as caught:
        load_mnist(data_root=root)
    return str(caught.value)


@pytest.mark.parametrize("name", mnist.CHECKSUMS)
@pytest.mark.parametrize("damage", ["truncated", "flipped", "longer", "empty"])
def test_a_damaged_file_is_refused_by_name(small, name, damage):
    path = small / mnist.FOLDER / name
    sound = path.read_bytes()
    flipped = bytes([sound[-1] ^ 1])
    kinds = {"truncated": sound[:-1], "flipped": sound[:-1] + flipped, "longer": sound + b"0"}
    damaged = kinds.get(damage, b"")
    path.write_bytes(damaged)
    message = refused(small)
    assert message.startswith(f"{path}: expected MNIST's file with SHA-256 {mnist.CHECKSUMS[name]}")
    assert f"found {len(damaged):,} bytes" in message and mnist.REMEDY in message
    assert path.read_bytes() == damaged


def test_swapped_files_are_refused_and_recognised(small):
    raw = small / mnist.FOLDER
    train, test = raw / "train-labels-idx1-ubyte", raw / "t10k-labels-idx1-ubyte"
    train.rename(raw / "kept")
    test.rename(train)
    (raw / "kept").rename(test)
    assert "which is t10k-labels-idx1-ubyte" in refused(small)


@pytest.mark.parametrize("name", mnist.CHECKSUMS)
def test_a_missing_file_is_refused_by_name(small, name, monkeypatch):
    (small / mnist.FOLDER / name).unlink()
    monkeypatch.setenv("DATA_ROOT", str(small))
    with pytest.raises(FileNotFoundError, match=f"{name}: expected .* found no such file"):
        load_mnist()


# ---- the bundled digits


def test_digits_have_mnists_form():
    digits = load_mnist("digits")
    parts = (digits.train, digits.validation, digits.test)
    assert [len(part) for part in parts] == [1_200, 297, 300]
    for part in parts:
        assert part.images.shape == (len(part), 28, 28) and part.images.dtype == np.uint8
        assert part.labels.shape == (len(part),) and part.labels.dtype == np.int64
        assert set(part.labels) == set(range(10))
        assert part.images.max() > 240 and part.images.min() == 0
        framed = part.images.copy()
        framed[:, 4:24, 4:24] = 0
        assert not framed.any()


def test_digits_are_scikit_learns_each_once_and_split_always_alike():
    digits, again = load_mnist("digits"), load_mnist("digits")
    np.testing.assert_array_equal(digits.test.images, again.test.images)
    whole = np.concatenate([digits.train_and_validation.labels, digits.test.labels])
    assert np.bincount(whole).tolist() == np.bincount(load_digits().target).tolist()
    images = np.concatenate([digits.train_and_validation.images, digits.test.images])
    assert len(np.unique(images, axis=0)) == 1797


def test_digits_look_like_the_originals():
    """Averaged back to 8 x 8, an image is close to its own original and to no other as much."""
    enlarged = mnist._enlarge(load_digits().images[:50] * (255 / 16))[:, 4:24, 4:24]
    # 20 = 8 x 2.5: averages over 5 x 5 of 40 x 40 pixels
    small = enlarged.repeat(2, 1).repeat(2, 2).reshape(50, 8, 5, 8, 5).mean((2, 4)) * 16 / 255
    distances = np.abs(small[:, None] - load_digits().images[:50][None]).mean((2, 3))
    assert distances.argmin(1).tolist() == list(range(50))


def test_digits_have_their_own_labels():
    """A nearest neighbour that was right by chance would be right in a tenth of the cases."""
    digits = load_mnist("digits")
    train, test = (part.images.reshape(len(part), -1) for part in (digits.train, digits.test))
    neighbours = KNeighborsClassifier(1).fit(train, digits.train.labels)
    assert neighbours.score(test, digits.test.labels) > 0.95


def test_an_enlarged_ramp_stays_one():
    ramp = np.tile(np.arange(8.0) * 20, (1, 8, 1))
    inside = mnist._enlarge(ramp)[0, 14, 4:24].astype(float)
    expected = np.clip((np.arange(20) + 0.5) / 2.5 - 0.5, 0, 7) * 20
    np.testing.assert_allclose(inside, expected, atol=0.5)


# ---- the download


def test_a_download_is_checked_and_put_in_its_place(online, small):
    digits = load_mnist()
    assert digits.is_mnist and digits.description.endswith("read from data/.")
    assert content(online) == {f"MNIST/raw/{n}": (small / mnist.FOLDER / n).read_bytes()
                               for n in mnist.CHECKSUMS}  # fmt: skip


def test_a_download_leaves_the_decompressed_files_alone(online, small):
    (small / mnist.FOLDER / "train-images-idx3-ubyte.gz").write_bytes(b"compressed")
    assert load_mnist().is_mnist
    assert set(os.listdir(online / mnist.FOLDER)) == set(mnist.CHECKSUMS)


def test_files_that_came_meanwhile_are_left_in_place(online, small):
    """On Windows they cannot be replaced while another program reads them."""
    raw, folder = small / mnist.FOLDER, online / mnist.FOLDER
    folder.mkdir(parents=True)
    first = next(iter(mnist.CHECKSUMS))
    (folder / first).write_bytes(b"the other download's")
    mnist_download._move(raw, folder, mnist.CHECKSUMS)
    assert set(os.listdir(folder)) == set(mnist.CHECKSUMS)
    assert (folder / first).read_bytes() == b"the other download's"


@pytest.mark.parametrize("blocked", ["", "MNIST"])
def test_a_data_folder_that_cannot_be_written_is_a_reason_for_the_digits(
    online, monkeypatch, capsys, blocked
):
    """A file in a folder's place fails as a read-only folder does, for the superuser too."""
    place = online / "there" / blocked
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(b"")
    monkeypatch.setattr(mnist, "DATA_FOLDER", online / "there")
    monkeypatch.setattr(files, "DATA_FOLDER", online / "there")
    assert not load_mnist().is_mnist
    assert "its download failed: [Errno" in capsys.readouterr().out
    assert [path for path in online.rglob("*") if path.is_file()] == [place]


def test_what_was_downloaded_is_not_downloaded_again(online, monkeypatch):
    load_mnist()
    monkeypatch.setattr(mnist_download, "download", None)
    assert load_mnist().is_mnist


def test_a_download_into_a_folder_with_other_files_keeps_them(online):
    (online / mnist.FOLDER).mkdir(parents=True)
    (online / mnist.FOLDER / "train-images-idx3-ubyte.gz").write_bytes(b"half of one")
    assert load_mnist().is_mnist
    names = {path.name for path in (online / mnist.FOLDER).iterdir()}
    assert names == {*mnist.CHECKSUMS, "train-images-idx3-ubyte.gz"}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (OFFLINE, "OSError: the network went away"),
        ("import sys; sys.exit(3)", "it failed"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("pass", "ubyte did not arrive whole"),  # torchvision says nothing and brings nothing
        (SLOW, "took longer than 1.5 s"),
    ],
)
def test_a_download_that_fails_leaves_nothing_and_says_why(
    online, monkeypatch, capsys, script, reason
):
    monkeypatch.setattr(mnist_download, "SCRIPT", script)
    monkeypatch.setattr(mnist_download, "LIMIT_SECONDS", 1.5)
    begin = time.monotonic()
    assert not load_mnist().is_mnist
    assert time.monotonic() - begin < 15
    assert reason in capsys.readouterr().out
    assert list(online.iterdir()) == []


def test_a_damaged_download_is_refused_and_leaves_nothing(online, monkeypatch, capsys):
    damage = "; open(sys.argv[1] + '/MNIST/raw/t10k-labels-idx1-ubyte', 'ab').write(b'x')"
    monkeypatch.setattr(mnist_download, "SCRIPT", mnist_download.SCRIPT + damage)
    assert not load_mnist().is_mnist
    assert "failed: t10k-labels-idx1-ubyte did not arrive whole." in capsys.readouterr().out
    assert list(online.iterdir()) == []


def test_an_interrupted_download_leaves_nothing_and_no_process(online, monkeypatch):
    beat = online.parent / "beat"
    script = f"import time\nwhile True: open({str(beat)!r}, 'a').write('.'); time.sleep(0.05)"
    monkeypatch.setattr(mnist_download, "SCRIPT", script)

    def interrupt(root):
        if beat.exists():
            raise KeyboardInterrupt
        return 0

    monkeypatch.setattr(mnist_download, "_bytes_in", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_mnist()
    assert list(online.iterdir()) == []
    size = beat.stat().st_size
    time.sleep(0.3)
    assert beat.stat().st_size == size


def test_two_downloads_at_once_do_not_meet(online):
    results = []
    threads = [threading.Thread(target=lambda: results.append(load_mnist())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [digits.is_mnist for digits in results] == 4 * [True]
    assert set(content(online)) == {f"MNIST/raw/{name}" for name in mnist.CHECKSUMS}


def test_a_mirror_that_does_not_answer_costs_a_few_seconds(data, monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirror = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        monkeypatch.setattr(mnist_download, "MIRRORS", 8 * [mirror])  # all are asked at once
        monkeypatch.setattr(mnist_download, "CONNECT_SECONDS", 0.5)
        begin = time.monotonic()
        assert not load_mnist().is_mnist
        assert 0.4 < time.monotonic() - begin < 2
    assert "no mirror" in capsys.readouterr().out


def test_one_mirror_that_answers_is_enough(online, small, monkeypatch):
    monkeypatch.setattr(mnist_download, "MIRRORS", [NOWHERE, small.as_uri() + "/"])
    assert load_mnist().is_mnist


def test_reaching_no_mirror_is_an_error_with_each_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist_download, "MIRRORS", [NOWHERE, "unknown://mirror/"])
    with pytest.raises(DownloadError, match="no mirror can be reached") as caught:
        mnist_download.download(tmp_path / "MNIST" / "raw", mnist.CHECKSUMS, Path.stat)
    assert "/no/such/folder" in str(caught.value) and "unknown url type" in str(caught.value)


def test_without_a_network_torchvision_is_not_waited_for(tmp_path):
    """Its import alone can take longer than a machine without a network may wait."""
    script = (
        "import sys; from pathlib import Path; from helpers import mnist, mnist_download, files\n"
        f"mnist.DATA_FOLDER = files.DATA_FOLDER = Path({str(tmp_path)!r})\n"
        f"mnist_download.MIRRORS = [{NOWHERE!r}]\n"
        "assert not mnist.load_mnist().is_mnist and 'torchvision' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=files.PROJECT, check=True, timeout=120)


def test_the_script_is_what_torchvision_understands(tmp_path):
    """With an unreachable proxy torchvision must fail on the network, not on the arguments.

    It names the mirrors that it tried: those that are asked beforehand must be among them.
    """
    proxies = {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https")}
    result = subprocess.run(
        [sys.executable, "-c", mnist_download.SCRIPT, str(tmp_path)],
        env=os.environ | proxies, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode != 0
    said = result.stdout + result.stderr  # torchvision 0.20 prints where 0.21 raises
    assert "urlopen error" in said
    assert all(mirror in said for mirror in REAL_MIRRORS)
    assert (tmp_path / "MNIST" / "raw").is_dir()
