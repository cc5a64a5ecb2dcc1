"""The data sets: what the generators promise, and what the loaders accept and refuse."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.svm import SVC

from helpers import datasets, files
from helpers.datasets import (
    generate_detection,
    generate_ellipse,
    generate_line,
    generate_random,
    load_detection,
    load_line,
    load_random,
    xor_points,
)

LOADERS = {"random": load_random, "line": load_line, "detection": load_detection}
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
def no_data_root(monkeypatch):
    """Let no test depend on the DATA_ROOT of whoever runs it."""
    monkeypatch.delenv("DATA_ROOT", raising=False)


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with three sound sets, for a test to damage."""
    datasets.write_sets(tmp_path / "root")
    return tmp_path / "root"


def assert_same_set(left, right):
    for field in ("images", "labels", "widths"):
        a, b = getattr(left, field), getattr(right, field)
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def is_separated(images, labels):
    """Whether a hard-margin linear classifier finds a plane between the classes."""
    pixels = images.reshape(len(images), -1).astype(float)
    return SVC(kernel="linear", C=1e6).fit(pixels, labels).score(pixels, labels) == 1


def hulls_meet(images, labels):
    """Whether some mean of the ones equals some mean of the zeros: then no plane separates them.

    Weights of at least 0, which sum to 1 in each class, are sought by least squares.
    """
    pixels = images.reshape(len(images), -1).astype(float)
    signed = np.where(labels[:, None] == 1, pixels, -pixels)
    system = np.vstack([signed.T, labels, 1 - labels])
    target = np.array([0.0] * pixels.shape[1] + [1.0, 1.0])
    fit = LinearRegression(positive=True, fit_intercept=False).fit(system, target)
    return np.abs(fit.predict(system) - target).max() < 1e-9


# ---- the four points of XOR


def test_xor_is_one_exactly_where_the_inputs_differ():
    inputs, labels = xor_points()
    assert inputs.shape == (4, 2) and labels.shape == (4,)
    assert inputs.dtype == labels.dtype == np.float64
    assert {tuple(row) for row in inputs} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    np.testing.assert_array_equal(labels, inputs[:, 0] != inputs[:, 1])


# ---- the random set


@pytest.mark.parametrize("labels", ["teacher", "independent"])
def test_random_set_has_64_distinct_images_and_11_ones(labels):
    for seed in range(40):
        random_set = generate_random(seed, labels=labels)
        assert random_set.name == "random" and random_set.widths is None
        assert random_set.source is None
        assert random_set.images.shape == (64, 4, 4) and random_set.images.dtype == np.int64
        assert set(np.unique(random_set.images)) == {0, 1}
        assert len({image.tobytes() for image in random_set.images}) == 64
        assert random_set.labels.shape == (64,) and random_set.labels.dtype == np.float64
        assert sorted(random_set.labels) == [0.0] * 53 + [1.0] * 11


def test_random_images_are_drawn_anew_when_two_are_equal():
    repeated = np.zeros((64, 4, 4), dtype=np.int64)
    distinct = generate_random(0).images

    class Scripted:
        draws = iter([repeated, distinct])

        def integers(self, *_, **__):
            return next(self.draws)

    np.testing.assert_array_equal(datasets._distinct_bit_images(Scripted()), distinct)


def test_random_bits_are_fair():
    images = np.stack([generate_random(seed).images for seed in range(40)])
    share = images.mean(axis=(0, 1))  # 2560 bits for each pixel: standard error 0.0099
    assert np.all(np.abs(share - 0.5) < 5 * 0.0099)


def test_both_kinds_of_labels_come_with_the_same_images():
    teacher, independent = generate_random(3), generate_random(3, labels="independent")
    np.testing.assert_array_equal(teacher.images, independent.images)
    assert not np.array_equal(teacher.labels, independent.labels)


def test_teacher_labels_are_linearly_separable():
    # A plane that classifies all 64 images is a proof, whatever found it.
    for seed in range(20):
        teacher = generate_random(seed)
        assert is_separated(teacher.images, teacher.labels), seed
        assert not hulls_meet(teacher.images, teacher.labels), seed


def test_teacher_labels_are_the_eleven_highest_scores():
    images = generate_random(0).images
    weights = np.random.default_rng(5).standard_normal(16)
    labels = datasets._teacher_labels(images, np.random.default_rng(5))
    scores = np.array([np.sum(weights * image.ravel()) for image in images])
    assert set(np.argsort(scores)[-11:]) == set(np.flatnonzero(labels))


def test_independent_labels_are_rarely_separable():
    # Measured by a linear programme as well: 8 of these 200 seeds are separable, 0 is not.
    independent = [generate_random(seed, labels="independent") for seed in range(200)]
    impossible = [hulls_meet(one.images, one.labels) for one in independent]
    assert impossible[0]
    assert sum(impossible) >= 180


def test_independent_labels_are_spread_over_all_places():
    ones = sum(generate_random(seed, labels="independent").labels for seed in range(200))
    expected, error = 200 * 11 / 64, np.sqrt(200 * 11 / 64 * 53 / 64)
    assert np.all(np.abs(ones - expected) < 5 * error)


def test_ellipse_labels_are_the_quadratic_form_beyond_its_level():
    points = generate_ellipse(5000, seed=4)
    x, y = points.points.T
    np.testing.assert_array_equal(points.labels, x * x + 0.95 * x * y + 0.4 * y * y > 0.6)
    assert points.points.shape == (5000, 2) and points.labels.dtype == np.int64


def test_ellipse_points_are_standard_normal_and_in_both_classes():
    points = generate_ellipse(60_000, seed=0)
    # 5 standard errors of a mean, a variance and a covariance of 60,000 standard normals
    np.testing.assert_allclose(points.points.mean(0), 0, atol=5 / np.sqrt(60_000))
    np.testing.assert_allclose(np.cov(points.points.T), np.eye(2), atol=5 * np.sqrt(2 / 60_000))
    assert 0.5 < points.labels.mean() < 0.6


def test_ellipse_is_decided_by_its_seed():
    first, again, other = (generate_ellipse(100, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.points, again.points)
    assert not np.isclose(first.points, other.points).any()


def test_ellipse_without_points_is_refused():
    with pytest.raises(ValueError, match="expected at least 1 point, found 0"):
        generate_ellipse(0, seed=1)


def test_unknown_kind_of_labels_is_refused():
    with pytest.raises(ValueError, match=r'expected "teacher" or "independent", found \'noise\''):
        generate_random(labels="noise")


# ---- the line set


def parts_of_line_image(image):
    """Find bar and square without the generator: only bar columns hold more than 9 pixels.

    Returns rows and columns (first, last) of each.
    """
    counts = image.sum(axis=0)
    bar_columns = np.flatnonzero(counts > 9)
    bar_rows = np.flatnonzero(image[:, bar_columns].any(axis=1))
    rest = image.copy()
    rest[:, bar_columns] = 0
    square_rows = np.flatnonzero(rest.any(axis=1))
    square_columns = np.flatnonzero(rest.any(axis=0))
    lines = (bar_rows, bar_columns, square_rows, square_columns)
    return [(int(line[0]), int(line[-1])) for line in lines]


def length(extent):
    return extent[1] - extent[0] + 1


def test_line_images_are_a_bar_and_a_square_on_the_side_of_the_label():
    line = generate_line(1000, seed=7)
    assert line.images.shape == (1000, 16, 16) and line.images.dtype == np.float64
    assert line.labels.shape == (1000,) and line.labels.dtype == np.float64
    for image, label in zip(line.images, line.labels, strict=True):
        bar_rows, bar_columns, rows, columns = parts_of_line_image(image)
        again = np.zeros((16, 16))
        for (top, bottom), (left, right) in ((bar_rows, bar_columns), (rows, columns)):
            again[top : bottom + 1, left : right + 1] = 1
        np.testing.assert_array_equal(image, again)
        assert 2 <= length(bar_columns) <= 4 and 11 <= length(bar_rows) <= 14
        gap = bar_columns[0] - columns[1] if label == 1 else columns[0] - bar_columns[1]
        assert gap >= 2  # at least one black column between
        assert rows[0] <= bar_rows[1] and rows[1] >= bar_rows[0]  # beside, not above or below


def test_line_squares_are_square_unless_the_border_clips_them():
    line = generate_line(1000, seed=7)
    clipped_images = 0
    for image in line.images:
        _, _, rows, columns = parts_of_line_image(image)
        height, width = length(rows), length(columns)
        assert 1 <= min(height, width) and max(height, width) <= 9
        height_clipped = rows[0] == 0 or rows[1] == 15
        width_clipped = columns[0] == 0 or columns[1] == 15
        assert height == width or height_clipped or width_clipped
        if height != width:
            clipped_images += 1
            assert height_clipped if height < width else width_clipped
            # Nothing is clipped to less than half of a side, and 9 is the longest side.
            assert 2 * min(height, width) >= max(height, width)
    assert 0 < clipped_images < 1000


def test_line_set_uses_the_whole_range_of_every_size():
    parts = [parts_of_line_image(image) for image in generate_line(1000, seed=7).images]
    assert {length(columns) for _, columns, _, _ in parts} == {2, 3, 4}
    assert {length(rows) for rows, _, _, _ in parts} == {11, 12, 13, 14}
    assert {length(rows) for _, _, rows, _ in parts} == set(range(1, 10))


def test_line_bars_are_where_both_labels_occur():
    line = generate_line(1000, seed=7)
    columns = np.array([parts_of_line_image(image)[1][0] for image in line.images])
    shared = set(columns[line.labels == 0]) & set(columns[line.labels == 1])
    assert len(shared) >= 8  # the place of the bar alone does not give the label away


# ---- the detection set


def shape_by_definition(radius, row, column, label):
    """One shape, pixel by pixel: diamond for label 0, square for label 1."""
    image = np.zeros((16, 16))
    for y in range(16):
        for x in range(16):
            dx, dy = abs(x - column), abs(y - row)
            image[y, x] = (max(dx, dy) if label else dx + dy) <= radius
    return image


def test_detection_images_are_the_shape_of_their_label_and_width():
    detection = generate_detection(1000, seed=7)
    assert detection.images.shape == (1000, 16, 16) and detection.images.dtype == np.float64
    assert detection.labels.dtype == detection.widths.dtype == np.float64
    assert detection.labels.shape == detection.widths.shape == (1000,)
    for image, label, width in zip(
        detection.images, detection.labels, detection.widths, strict=True
    ):
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        # Wholly inside: both extents are the full diameter.
        assert len(rows) == len(columns) == 2 * width + 1
        expected = shape_by_definition(width, rows.mean(), columns.mean(), label)
        np.testing.assert_array_equal(image, expected)


def test_detection_radii_are_1_to_7_with_mean_three_and_a_half():
    widths = generate_detection(1000, seed=7).widths
    assert set(widths) == set(range(1, 8))
    exact_mean = datasets.RADII @ datasets.RADIUS_PROBABILITIES
    assert exact_mean == pytest.approx(3.5, abs=1e-12)
    assert abs(widths.mean() - 3.5) < 5 * widths.std() / np.sqrt(1000)


def test_committed_detection_radii_are_about_three_and_a_half():
    assert 3.2 < generate_detection().widths.mean() < 3.8


def test_detection_centres_reach_every_place_that_keeps_the_shape_inside():
    detection = generate_detection(3000, seed=7)
    for radius in range(1, 8):
        images = detection.images[detection.widths == radius]
        assert {int(np.flatnonzero(image.any(axis=1))[0]) for image in images} == set(
            range(16 - 2 * radius)
        )
        assert {int(np.flatnonzero(image.any(axis=0))[0]) for image in images} == set(
            range(16 - 2 * radius)
        )


@pytest.mark.parametrize("radius", range(1, 8))
def test_diamond_and_square_of_one_radius_differ(radius):
    diamond, square = (shape_by_definition(radius, 8, 8, label) for label in (0, 1))
    assert diamond.sum() == 2 * radius * (radius + 1) + 1
    assert square.sum() == (2 * radius + 1) ** 2
    assert diamond.sum() < square.sum()


# ---- counts and seeds


@pytest.mark.parametrize("generate, first", [(generate_line, 1.0), (generate_detection, 0.0)])
@pytest.mark.parametrize("count", [1, 2, 63, 64, 1000])
def test_first_half_has_one_label_and_second_half_the_other(generate, first, count):
    labels = generate(count, seed=1).labels
    half = (count + 1) // 2
    assert list(labels) == [first] * half + [1 - first] * (count - half)


@pytest.mark.parametrize("generate", [generate_line, generate_detection])
@pytest.mark.parametrize("count", [0, -3])
def test_no_images_at_all_are_refused(generate, count):
    with pytest.raises(ValueError, match=f"count: expected at least 1 image, found {count}"):
        generate(count)


@pytest.mark.parametrize("generate", [generate_random, generate_line, generate_detection])
def test_a_seed_decides_everything_and_another_seed_differs(generate):
    assert_same_set(generate(seed=4), generate(seed=4))
    assert not np.array_equal(generate(seed=4).images, generate(seed=5).images)


@pytest.mark.parametrize("generate", [generate_random, generate_line, generate_detection])
def test_generators_leave_the_global_random_state_alone(generate):
    before = np.random.get_state()[1].copy()  # noqa: NPY002 (the state under test)
    generate(seed=0)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


# ---- the committed files and the command that makes them


@pytest.mark.parametrize("name", LAYOUT)
def test_committed_files_have_the_layout(name):
    array = np.load(files.DATA_FOLDER / name, allow_pickle=False)
    assert (array.shape, array.dtype) == LAYOUT[name]


def test_the_command_gives_the_committed_files(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "helpers.datasets", str(tmp_path)],
        cwd=files.PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    written = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert written == set(LAYOUT)
    for name in LAYOUT:
        new = np.load(tmp_path / name, allow_pickle=False)
        committed = np.load(files.DATA_FOLDER / name, allow_pickle=False)
        assert new.dtype == committed.dtype
        np.testing.assert_array_equal(new, committed)
        assert str(Path(name)) in result.stdout and str(new.shape) in result.stdout
    assert result.stderr == ""


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    datasets.write_sets(tmp_path)
    path = tmp_path / "random" / "random_imgs.npy"  # the first that is written
    old, names = path.read_bytes(), os.listdir(path.parent)

    def fail(file, array, **_):
        file.write(b"half a fi")
        raise OSError("disk full")

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        datasets.write_sets(tmp_path)
    assert path.read_bytes() == old
    assert sorted(os.listdir(path.parent)) == sorted(names)


# ---- where the loaders look


@pytest.mark.parametrize("name", LOADERS)
def test_loaders_give_the_generated_sets(name):
    loaded = LOADERS[name]()
    generate = getattr(datasets, f"generate_{name}")
    assert_same_set(loaded, generate())
    assert loaded.name == name
    assert loaded.source == files.DATA_FOLDER / name


def write_other_random_set(root):
    """A random set that differs from the committed one, as the course's own would."""
    other = generate_random(seed=9)
    (root / "random").mkdir(parents=True)
    np.save(root / "random" / "random_imgs.npy", other.images)
    np.save(root / "random" / "random_labs.npy", other.labels)
    return other


def test_data_root_comes_before_the_project(tmp_path, monkeypatch):
    other = write_other_random_set(tmp_path)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    loaded = load_random()
    assert_same_set(loaded, other)
    assert loaded.source == tmp_path / "random"


def test_data_root_without_the_set_falls_through_to_the_project(tmp_path, monkeypatch):
    write_other_random_set(tmp_path)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    assert load_line().source == files.DATA_FOLDER / "line"


def test_argument_comes_before_data_root(root, tmp_path, monkeypatch):
    write_other_random_set(tmp_path / "other")
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "other"))
    assert_same_set(load_random(root), generate_random())
    assert load_random(str(root)).source == root / "random"


def test_argument_without_the_set_does_not_fall_through(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"line_imgs\.npy"):
        load_line(tmp_path)


def test_empty_data_root_counts_as_unset(tmp_path, monkeypatch):
    write_other_random_set(tmp_path)
    monkeypatch.setattr(files, "PROJECT", tmp_path)
    monkeypatch.setenv("DATA_ROOT", "")
    assert load_random().source == files.DATA_FOLDER / "random"


def test_relative_data_root_counts_from_the_project(tmp_path, monkeypatch):
    other = write_other_random_set(tmp_path / "project" / "course")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(files, "PROJECT", tmp_path / "project")
    monkeypatch.setenv("DATA_ROOT", "course")
    assert_same_set(load_random(), other)


def test_files_of_two_roots_are_never_mixed(tmp_path, monkeypatch):
    write_other_random_set(tmp_path)
    labels = tmp_path / "random" / "random_labs.npy"
    labels.unlink()
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    with pytest.raises(FileNotFoundError) as caught:
        load_random()
    assert_message(caught, labels, "shape (64,) and dtype float64", "no such file")


def test_arrays_that_obey_the_layout_load_whatever_they_show(root):
    # Not ours: 10 images, two of them equal, 3 ones, labels in no order.
    images, labels = np.zeros((10, 4, 4), dtype=np.int64), np.zeros(10)
    images[4:, 1, 2], labels[[1, 4, 7]] = 1, 1.0
    np.save(root / "random" / "random_imgs.npy", images)
    np.save(root / "random" / "random_labs.npy", labels)
    loaded = load_random(root)
    np.testing.assert_array_equal(loaded.images, images)
    np.testing.assert_array_equal(loaded.labels, labels)


# ---- what the loaders refuse: the message names file, expectation, finding and remedy


def assert_message(caught, path, expected, found):
    message = str(caught.value)
    assert message.startswith(f"{path}: expected ")
    before, after = message.split(", found ", maxsplit=1)
    assert expected in before
    assert found in after
    assert "`python -m helpers.datasets` regenerates" in after


def assert_refused(root, file, expected, found, error=ValueError):
    name = file.split("_")[0]
    with pytest.raises(error) as caught:
        LOADERS[name](root)
    assert_message(caught, root / name / file, expected, found)


def change(root, file, function):
    """Replace the array of a file by what `function` makes of it."""
    path = root / file.split("_")[0] / file
    np.save(path, function(np.load(path)))


def with_value(index, value):
    def put(array):
        array[index] = value
        return array

    return put


def test_missing_data_root_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError) as caught:
        load_random()
    assert_message(caught, tmp_path / "nowhere", "DATA_ROOT to be a folder", "no such folder")
    assert "leave DATA_ROOT and data_root unset" in str(caught.value)


def test_data_root_that_is_a_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "file"))
    with pytest.raises(FileNotFoundError) as caught:
        load_random()
    assert_message(caught, tmp_path / "file", "DATA_ROOT to be a folder", "no such folder")


def test_missing_argument_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        load_line(tmp_path / "nowhere")
    assert_message(caught, tmp_path / "nowhere", "data_root to be a folder", "no such folder")


@pytest.mark.parametrize("name", LAYOUT)
def test_missing_file_is_refused(root, name):
    (root / name).unlink()
    file = name.split("/")[1]
    dtype = "int64" if file == "random_imgs.npy" else "float64"
    assert_refused(root, file, f"dtype {dtype}", "no such file", error=FileNotFoundError)


def test_images_of_another_size_are_refused(root):
    change(root, "line_imgs.npy", lambda images: images[:, :, :15])
    assert_refused(root, "line_imgs.npy", "shape (n, 16, 16)", "shape (64, 16, 15)")


def test_flat_images_are_refused(root):
    change(root, "random_imgs.npy", lambda images: images.reshape(64, 16))
    assert_refused(root, "random_imgs.npy", "shape (n, 4, 4)", "shape (64, 16)")


def test_no_images_are_refused(root):
    change(root, "random_imgs.npy", lambda images: images[:0])
    assert_refused(root, "random_imgs.npy", "shape (n, 4, 4)", "shape (0, 4, 4)")


def test_labels_as_a_column_are_refused(root):
    change(root, "random_labs.npy", lambda labels: labels[:, None])
    assert_refused(root, "random_labs.npy", "shape (64,)", "shape (64, 1)")


def test_a_single_number_is_refused(root):
    change(root, "random_labs.npy", lambda labels: labels[0])
    assert_refused(root, "random_labs.npy", "shape (64,)", "shape ()")


@pytest.mark.parametrize("name", LAYOUT)
def test_wrong_dtype_is_refused(root, name):
    file = name.split("/")[1]
    expected = np.dtype(LAYOUT[name][1])
    change(root, file, lambda array: array.astype(np.float32))
    assert_refused(root, file, f"dtype {expected}", "dtype float32")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("file", ["line_imgs.npy", "detection_imgs.npy"])
def test_images_that_are_not_finite_are_refused(root, file, value):
    change(root, file, with_value((3, 0, 5), value))
    assert_refused(root, file, "images of 0 and 1 only", f"{value} at index (3, 0, 5)")


@pytest.mark.parametrize("file, value", [("random_imgs.npy", 2), ("line_imgs.npy", 0.5)])
def test_image_value_outside_0_and_1_is_refused(root, file, value):
    change(root, file, with_value((63, 3, 2), value))
    assert_refused(root, file, "images of 0 and 1 only", f"{value} at index (63, 3, 2)")


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("value", [2.0, -1.0, 0.5, np.nan, np.inf])
def test_label_outside_0_and_1_is_refused(root, name, value):
    file = f"{name}_labs.npy"
    change(root, file, with_value([5, 8], value))
    assert_refused(root, file, "labels 0 and 1 only", f"{value} at index (5,), 2 such in all")


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_width_that_is_negative_or_not_finite_is_refused(root, value):
    change(root, "detection_width.npy", with_value(11, value))
    expected = "finite widths of at least 0"
    assert_refused(root, "detection_width.npy", expected, f"{value} at index (11,)")


@pytest.mark.parametrize("file", ["random_labs.npy", "line_labs.npy", "detection_width.npy"])
def test_images_and_labels_of_unequal_length_are_refused(root, file):
    change(root, file, lambda array: array[:-1])
    assert_refused(root, file, "shape (64,)", "shape (63,)")


@pytest.mark.parametrize("size", [0, 4, 9, 60, 128, 500])
def test_truncated_file_is_refused(root, size):
    path = root / "random" / "random_labs.npy"
    path.write_bytes(path.read_bytes()[:size])
    assert_refused(
        root, "random_labs.npy", "a .npy file of shape (64,)", f"{size} bytes that cannot be read"
    )


def test_text_under_the_name_of_an_array_is_refused(root):
    (root / "line" / "line_imgs.npy").write_text("0 1 1 0\n")
    assert_refused(root, "line_imgs.npy", "a .npy file", "8 bytes that cannot be read")


def test_archive_of_arrays_is_refused(root):
    with (root / "line" / "line_imgs.npy").open("wb") as file:
        np.savez(file, np.zeros((64, 16, 16)))
    assert_refused(root, "line_imgs.npy", "a .npy file", "bytes that cannot be read")


class Trap:
    """Unpickling this would leave a trace."""

    sprung = False

    def __reduce__(self):
        return (setattr, (Trap, "sprung", True))


def test_array_of_objects_is_refused_and_not_unpickled(root):
    objects = np.array([Trap()] * 64, dtype=object)
    np.save(root / "random" / "random_labs.npy", objects, allow_pickle=True)
    assert_refused(root, "random_labs.npy", "dtype float64", "allow_pickle=False")
    assert not Trap.sprung


def test_pickle_is_refused_and_not_unpickled(root):
    np.array([Trap()], dtype=object).dump(root / "random" / "random_labs.npy")
    assert_refused(root, "random_labs.npy", "a .npy file", "bytes that cannot be read")
    assert not Trap.sprung


def test_damaged_header_is_refused(root):
    path = root / "random" / "random_labs.npy"
    path.write_bytes(path.read_bytes().replace(b"'shape': (64,)", b"'shape': (64,("))
    assert_refused(root, "random_labs.npy", "a .npy file", "bytes that cannot be read")
