"""The recurring figures show the data that they are given; read from the artists, not by eye."""

from unittest.mock import Mock

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex, to_rgba

from helpers import plotting
from helpers.history import History


@pytest.fixture(autouse=True)
def tidy():
    """Draw in default settings and leave neither settings nor figures behind."""
    with mpl.rc_context():
        yield
        plt.close("all")


@pytest.fixture
def axes():
    return plt.figure().add_subplot()


# Style


def test_style_is_colour_blind_safe_and_never_colour_alone():
    plotting.use_style()
    cycle = mpl.rcParams["axes.prop_cycle"].by_key()
    okabe_ito = "#0072B2 #D55E00 #009E73 #CC79A7 #E69F00 #56B4E9 #000000 #F0E442"
    assert " ".join(to_hex(c).upper() for c in cycle["color"]) == okabe_ito
    assert len({str(style) for style in cycle["linestyle"]}) == 8
    assert mpl.rcParams["image.cmap"] == "viridis"


def test_a_dark_style_set_before_hides_nothing():
    plotting.use_style()
    ours = mpl.rcParams.copy()
    plt.style.use("dark_background")
    plotting.use_style()
    assert {name: v for name, v in mpl.rcParams.items() if v != ours[name]} == {}
    assert mpl.rcParams["axes.facecolor"] == "white" and mpl.rcParams["text.color"] == "black"


# Curves


CURVES = np.random.default_rng(3).gamma(2.0, size=(9, 6))


def band_at(axes, x):
    """Lowest and highest y of the filled band at x."""
    (band,) = axes.collections
    vertices = band.get_paths()[0].vertices
    return vertices[vertices[:, 0] == x, 1].min(), vertices[vertices[:, 0] == x, 1].max()


def points_of(line):
    """(x, y) of the points of a line."""
    return [tuple(point) for point in line.get_xydata()]


def test_curves_are_the_median_the_quartiles_and_the_member_that_was_asked_for(axes):
    x = np.array([1, 2, 5, 10, 20, 50])
    plotting.plot_ensemble_curves(axes, CURVES, label="loss", color="red", example=4, x=x)
    median, example = axes.lines
    np.testing.assert_allclose(median.get_xydata().T, [x, np.median(CURVES, axis=0)])
    np.testing.assert_allclose(example.get_xydata().T, [x, CURVES[4]])
    assert example.get_linewidth() < median.get_linewidth()
    assert axes.get_legend_handles_labels() == ([median], ["loss"])
    assert median.get_color() == example.get_color() == "red"
    for point, values in zip(x, CURVES.T, strict=True):
        np.testing.assert_allclose(band_at(axes, point), np.quantile(values, (0.25, 0.75)))


def test_diverged_members_are_left_out_and_the_curve_ends_with_the_last(axes, recwarn):
    values = CURVES.copy()
    values[:3, 2:] = values[:, 5] = np.nan
    plotting.plot_ensemble_curves(axes, values, label="loss", example=None)
    (line,) = axes.lines
    np.testing.assert_array_equal(line.get_xdata(), np.arange(5))
    np.testing.assert_allclose(line.get_ydata()[3], np.median(CURVES[3:, 3]))
    np.testing.assert_allclose(band_at(axes, 4), np.quantile(CURVES[3:, 4], (0.25, 0.75)))
    assert len(recwarn) == 0


def test_curves_of_a_history_are_taken_by_name(axes):
    history = Mock(spec=History, curve={"loss": CURVES, "accuracy": CURVES / 9}.__getitem__)
    plotting.plot_ensemble_curves(axes, history, "accuracy", label="accuracy")
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.median(CURVES / 9, axis=0))


def test_reports_are_marked_where_their_figures_lie_each_with_a_marker(axes):
    figures = {f"report {i}": float(i) for i in range(len(plotting.MARKERS) + 3)}
    plotting.mark_reports(axes, figures, 0.5)
    assert axes.get_legend_handles_labels()[1] == list(figures)  # none is left out
    assert [points_of(line) for line in axes.lines] == [[(x, 0.5)] for x in figures.values()]
    assert len({line.get_marker() for line in axes.lines}) == 8  # told apart without colour
    plotting.mark_reports(axes, {"a": 1, "b": 2}, [0.2, 0.7])
    assert [points_of(line) for line in axes.lines[-2:]] == [[(1, 0.2)], [(2, 0.7)]]
    assert {line.get_linestyle() for line in axes.lines} == {"None"}
    assert {line.get_markerfacecolor() for line in axes.lines} == {"white"}


# Images and regions


def test_image_grid_shows_each_image_once_in_order_on_one_scale():
    images = np.random.default_rng(4).random((5, 4, 6))
    look = {"columns": 3, "value_range": (-1, 2), "suptitle": "five"}
    figure = plotting.plot_image_grid(images, list("abcde"), **look)
    assert len(figure.axes) == 6 and figure.get_suptitle() == "five"
    for panel, image, title in zip(figure.axes, images, "abcde", strict=False):
        (shown,) = panel.images
        np.testing.assert_array_equal(shown.get_array(), image)
        assert (shown.get_clim(), panel.get_title()) == ((-1, 2), title)
        assert len(panel.get_xticks()) == len(panel.get_yticks()) == 0
    assert not figure.axes[5].images
    assert not any(spine.get_visible() for spine in figure.axes[5].spines.values())
    assert len(plotting.plot_image_grid(images[:2], columns=8).axes) == 2
    for wrong in (images[:0], images[0], images[None]):
        with pytest.raises(ValueError, match=r"expected \(n, height, width\)"):
            plotting.plot_image_grid(wrong)
    with pytest.raises(ValueError, match="4 titles for 5 images"):
        plotting.plot_image_grid(images, list("abcd"))


def test_decision_region_shades_the_probability_and_marks_one_half_and_the_classes(axes):
    def probability(points):
        return 1 / (1 + np.exp(-8 * (points[:, 0] - 0.25)))

    points, labels = np.array([[0.0, 0.1], [1.0, 0.9], [0.5, 0.4]]), np.array([0, 1, 0])
    look = {"points": points, "labels": labels, "resolution": 40}
    plotting.plot_decision_region(axes, probability, (-1, 2), (0, 1), **look)
    shades, boundary, circles, squares = axes.collections
    assert shades.get_cmap() == plotting.CLASS_MAP and shades.get_clim() == (0, 1)
    for place in (-0.9, 0.2, 0.3, 1.9):  # lies in the shade of its probability's tenth alone
        tenth = int(10 * probability(np.array([[place, 0.5]]))[0])
        drawn = [path.contains_point((place, 0.5)) for path in shades.get_paths()]
        assert drawn == [i == tenth for i in range(10)]
    assert (axes.get_xlim(), axes.get_ylim()) == ((-1, 2), (0, 1))
    line = boundary.get_paths()[0].vertices
    np.testing.assert_allclose(line[:, 0], 0.25, atol=0.01)
    assert np.ptp(line[:, 1]) == pytest.approx(1)
    np.testing.assert_array_equal(circles.get_offsets(), points[[0, 2]])
    np.testing.assert_array_equal(squares.get_offsets(), points[[1]])
    assert axes.get_legend_handles_labels()[1] == ["class 0", "class 1"]
    for drawn, color in zip((circles, squares), plotting.CLASS_COLORS, strict=True):
        assert tuple(drawn.get_facecolor()[0]) == to_rgba(color)
    assert len(squares.get_paths()[0].vertices) == 5 < len(circles.get_paths()[0].vertices)


def test_no_boundary_where_one_class_fills_the_plane(axes, recwarn):
    plotting.plot_decision_region(axes, lambda p: np.full(len(p), 0.9), (0, 1), (0, 1))
    assert len(axes.collections) == 1 and len(recwarn) == 0


# Iterations to a goal


def test_iterations_show_members_quartiles_and_reports_and_the_unsolved_behind_the_limit(axes):
    solved_at = {
        "sigmoid": np.array([9000.0, 9500.0, np.inf, 9900.0, 9100.0]),
        "ReLU": np.array([900.0, 700.0, 800.0, 0.0, 950.0]),
    }
    reports = {"2018 a": {"ReLU": 800, "sigmoid": 10_000}, "2018 b": {"ReLU": 917}}
    plotting.plot_iterations(axes, solved_at, limit=10_000, reports=reports)
    sigmoid, relu = (line.get_xdata() for line in axes.lines if line.get_marker() == ".")
    np.testing.assert_array_equal(sigmoid > 10_000, np.isinf(solved_at["sigmoid"]))
    assert sigmoid.max() < axes.get_xlim()[1]
    assert relu.tolist() == [900, 700, 800, 1, 950]  # 0 has no place on a logarithmic axis
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["9,500", "4/5 solved", "800", "5/5 solved"]
    assert [text.get_text() for text in axes.get_yticklabels()] == list(solved_at)
    medians = [points_of(line) for line in axes.lines if line.get_marker() == "|"]
    assert medians == [[(9500, 0)], [(800, 1)]]
    bars = [points_of(line) for line in axes.lines if line.get_linewidth() == 3]
    assert bars == [[(9100, 0), (9900, 0)], [(700, 1), (900, 1)]]
    first, second = (line for line in axes.lines if line.get_label() in reports)
    assert points_of(first) == [(800, 1), (10_000, 0)] and points_of(second) == [(917, 1)]
    assert first.get_marker() != second.get_marker()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(reports)
