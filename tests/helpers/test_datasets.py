"""The data sets: what the random set promises, and what the loader accepts and refuses."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.svm import SVC

from helpers import datasets
from helpers.datasets import generate_random, load_random, load_set

LAYOUT = {
    "random/random_imgs.npy": ((64, 4, 4), np.int64),
    "random/random_labs.npy": ((64,), np.float64),
    "line/line_imgs.npy": ((64, 16, 16), np.float64),
    "line/line_labs.npy": ((64,), np.float64),
    "detection/detection_imgs.npy": ((64, 16, 16), np.float64),
    "detection/detection_labs.npy": ((64,), np.float64),
    "detection/detection_width.npy": ((64,), np.float64),
}


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """A DATA_ROOT with three sound sets, for a test to damage."""
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "root"))
    ignored = shutil.ignore_patterns("MNIST")
    return shutil.copytree(datasets.DATA_FOLDER, tmp_path / "root", ignore=ignored)


@pytest.mark.parametrize("labels", ["teacher", "independent"])
def test_random_set_has_64_distinct_images_and_11_ones(labels):
    with pytest.raises(ValueError, match=f"\"independent\", found '{labels[:-1]}'"):
        generate_random(labels=labels[:-1])
    for seed in range(40):
        random_set = generate_random(seed, labels=labels)
        assert random_set.images.shape == (64, 4, 4)
        assert set(np.unique(random_set.images)) == {0, 1}
        assert len({image.tobytes() for image in random_set.images}) == 64
        assert sorted(random_set.labels) == [0.0] * 53 + [1.0] * 11


def test_teacher_labels_are_linearly_separable_and_the_images_the_same():
    for seed in range(10):
        teacher, independent = generate_random(seed), generate_random(seed, labels="independent")
        np.testing.assert_array_equal(teacher.images, independent.images)
        pixels = teacher.images.reshape(64, 16)
        neuron = SVC(kernel="linear", C=1e6).fit(pixels, teacher.labels)
        assert neuron.score(pixels, teacher.labels) == 1
    assert not np.array_equal(generate_random(4).images, generate_random(5).images)


def test_independent_labels_are_rarely_separable():
    """No plane separates classes of which some means are equal, found by least squares.

    Measured by a linear programme as well: 8 of these 200 seeds are separable, 0 is not.
    """
    errors = []
    for seed in range(200):
        independent = generate_random(seed, labels="independent")
        pixels, ones = independent.images.reshape(64, 16), independent.labels
        system = np.vstack([pixels.T * (2 * ones - 1), ones, 1 - ones])
        target = np.array([0.0] * 16 + [1.0, 1.0])  # weights that sum to 1 in each class
        fit = LinearRegression(positive=True, fit_intercept=False).fit(system, target)
        errors.append(np.abs(fit.predict(system) - target).max())
    assert errors[0] < 1e-9 and np.sum(np.array(errors) < 1e-9) >= 180


def test_the_command_gives_the_committed_files(tmp_path):
    command = [sys.executable, "-m", "tests.tools.write_data", str(tmp_path / "new")]
    result = subprocess.run(command, cwd=datasets.PROJECT, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    for name, (shape, dtype) in LAYOUT.items():
        new = np.load(tmp_path / "new" / name, allow_pickle=False)
        committed = np.load(datasets.DATA_FOLDER / name, allow_pickle=False)
        np.testing.assert_array_equal(new, committed, strict=True)
        assert (new.shape, new.dtype) == (shape, dtype)
        assert f"{tmp_path / 'new' / name}: shape {shape}, dtype {new.dtype}" in result.stdout


@pytest.mark.parametrize("name", ["random", "line", "detection"])
def test_data_root_comes_before_the_project(root, monkeypatch, name):
    committed = load_set(name)
    assert committed.name == name
    found = {"imgs": committed.images, "labs": committed.labels, "width": committed.widths}
    for path in (root / name).iterdir():
        array = found[path.stem.partition("_")[2]]
        np.testing.assert_array_equal(array, np.load(path), strict=True)
    np.save(root / name / f"{name}_labs.npy", 1 - committed.labels)
    np.testing.assert_array_equal(load_set(name).labels, 1 - committed.labels)
    monkeypatch.setenv("DATA_ROOT", "")
    np.testing.assert_array_equal(load_set(name).labels, committed.labels)
    monkeypatch.setenv("DATA_ROOT", str(root))
    (root / name).rename(root / "other")
    np.testing.assert_array_equal(load_set(name).labels, committed.labels)


def test_relative_data_root_counts_from_the_project_and_must_be_a_folder(root, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setattr(datasets, "PROJECT", root.parent)
    monkeypatch.setenv("DATA_ROOT", "root")
    np.save(root / "random" / "random_labs.npy", np.zeros(64))
    assert not load_random().labels.any()
    monkeypatch.setenv("DATA_ROOT", "nowhere")
    expected = "nowhere: expected DATA_ROOT to be a folder, found no such folder. Correct the path"
    with pytest.raises(FileNotFoundError, match=expected):
        load_random()


def test_arrays_that_obey_the_layout_load_whatever_they_show(root):
    # Not ours: 10 images, most of them equal, 3 ones, labels in no order.
    images, labels = np.zeros((10, 4, 4), dtype=np.int64), np.zeros(10)
    images[4:, 1, 2], labels[[1, 4, 7]] = 1, 1.0
    np.save(root / "random" / "random_imgs.npy", images)
    np.save(root / "random" / "random_labs.npy", labels)
    np.testing.assert_array_equal(load_random().images, images)
    np.testing.assert_array_equal(load_random().labels, labels)


def assert_refused(path, expected, found, error=ValueError):
    with pytest.raises(error) as caught:
        load_set(path.parent.name)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected {expected}")
    assert f", found {found}" in message
    assert "`python -m tests.tools.write_data` regenerates" in message


def put(value, index):
    def change(array):
        array[index] = value
        return array

    return change


BITS, ONES = "images of 0 and 1 only", "labels 0 and 1 only"
WIDTHS, LABELS = "finite widths of at least 0", "a .npy file of shape (64,) and dtype float64"
IMAGES = "a .npy file of shape (n, 4, 4) and dtype int64"
REFUSED = [
    ("line_imgs", lambda a: a[:, :, :15], "a .npy file of shape (n, 16, 16)", "shape (64, 16, 15)"),
    ("random_imgs", lambda a: a[:0], IMAGES, "shape (0, 4, 4)"),
    ("random_labs", lambda a: a[:, None], LABELS, "shape (64, 1)"),
    ("random_labs", lambda a: a[0], LABELS, "shape ()"),
    ("detection_width", lambda a: a[:-1], LABELS, "shape (63,)"),
    ("line_imgs", put(np.nan, (3, 0, 5)), BITS, "nan at index (3, 0, 5), 1 such"),
    ("random_imgs", put(2, (63, 3, 2)), BITS, "2 at index (63, 3, 2), 1 such"),
    ("line_labs", put(0.5, [5, 8]), ONES, "0.5 at index (5,), 2 such in all"),
    ("detection_labs", put(np.nan, 5), ONES, "nan at index (5,), 1 such in all"),
    ("detection_width", put(np.inf, 11), WIDTHS, "inf at index (11,)"),
    ("detection_width", put(-1.0, 11), WIDTHS, "-1.0 at index (11,)"),
]


@pytest.mark.parametrize(("file", "change", "expected", "found"), REFUSED)
def test_an_array_that_breaks_the_layout_is_refused(root, file, change, expected, found):
    path = root / file.split("_")[0] / f"{file}.npy"
    np.save(path, change(np.load(path)))
    assert_refused(path, expected, found)


@pytest.mark.parametrize("name", LAYOUT)
def test_wrong_dtype_and_missing_file_are_refused(root, name):
    path, (shape, dtype) = root / name, LAYOUT[name]
    n = "n" if "imgs" in name else "64"
    expected = f"a .npy file of shape {str(shape).replace('64', n)} and dtype {np.dtype(dtype)}"
    np.save(path, np.load(path).astype(np.float32))
    assert_refused(path, expected, f"shape {shape} and dtype float32")
    path.unlink()  # and not taken from the project's data/
    assert_refused(path, expected, "no such file", FileNotFoundError)


class Trap:
    """Unpickling this would leave a trace."""

    sprung = False

    def __reduce__(self):
        return (setattr, (Trap, "sprung", True))


def test_a_file_that_is_no_sound_array_is_refused_and_not_unpickled(root):
    path = root / "random" / "random_labs.npy"
    sound, trap = path.read_bytes(), np.array([Trap()] * 64, dtype=object)
    with path.open("wb") as file:
        np.save(file, trap, allow_pickle=True)
    assert_refused(path, LABELS, f"{path.stat().st_size} bytes that cannot be read as that (Object")
    assert not Trap.sprung
    bad_header = sound.replace(b"'shape': (64,)", b"'shape': (64,(")
    for damaged in (b"", sound[:9], sound[:128], sound[:-1], b"0 1 1 0", bad_header):
        path.write_bytes(damaged)
        assert_refused(path, LABELS, f"{len(damaged)} bytes that cannot be read as that")
