"""The recurring figures show the data that they are given; read from the artists, not by eye."""

import warnings

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
    assert [to_hex(c).upper() for c in cycle["color"]] == list(plotting.OKABE_ITO.values())
    assert len({str(style) for style in cycle["linestyle"]}) == len(plotting.OKABE_ITO) == 8
    assert mpl.rcParams["image.cmap"] == "viridis"


# Curves


def band_at(axes, x):
    """Lowest and highest y of the filled band at x."""
    (band,) = axes.collections
    vertices = band.get_paths()[0].vertices
    return vertices[vertices[:, 0] == x, 1].min(), vertices[vertices[:, 0] == x, 1].max()


CURVES = np.random.default_rng(3).gamma(2.0, size=(9, 6))


def test_band_holds_the_quartiles_and_the_line_is_the_median(axes):
    plotting.plot_ensemble_curves(axes, CURVES, label="loss", example=None)
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_ydata(), np.median(CURVES, axis=0))
    np.testing.assert_array_equal(line.get_xdata(), np.arange(6))
    assert line.get_label() == "loss"
    for x in range(6):
        np.testing.assert_allclose(band_at(axes, x), np.quantile(CURVES[:, x], (0.25, 0.75)))


def test_the_example_is_the_member_that_was_asked_for(axes):
    x = np.array([1, 2, 5, 10, 20, 50])
    plotting.plot_ensemble_curves(axes, CURVES, label="loss", example=4, x=x)
    median, example = axes.lines
    np.testing.assert_array_equal(example.get_ydata(), CURVES[4])
    np.testing.assert_array_equal(example.get_xdata(), x)
    assert example.get_linewidth() < median.get_linewidth()
    assert example.get_label().startswith("_")  # not a second entry in the legend
    np.testing.assert_allclose(band_at(axes, 50), np.quantile(CURVES[:, 5], (0.25, 0.75)))


def test_diverged_members_are_left_out_and_the_curve_ends_with_the_last(axes):
    values = CURVES.copy()
    values[:3, 2:] = np.nan
    values[:, 5] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plotting.plot_ensemble_curves(axes, values, label="loss", example=None)
    (line,) = axes.lines
    np.testing.assert_array_equal(line.get_xdata(), np.arange(5))
    np.testing.assert_allclose(line.get_ydata()[3], np.median(CURVES[3:, 3]))
    np.testing.assert_allclose(band_at(axes, 4), np.quantile(CURVES[3:, 4], (0.25, 0.75)))


def test_curves_of_a_history_are_taken_by_name(axes):
    history = History(
        seeds=np.arange(9), curves={"loss": CURVES, "accuracy": CURVES / 9},
        solved_at=np.full(9, np.inf), diverged_at=np.full(9, np.inf),
        parameters={}, final_parameters={}, snapshots={}, seconds=0.0,
    )  # fmt: skip
    plotting.plot_ensemble_curves(axes, history, "accuracy", label="accuracy")
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.median(CURVES / 9, axis=0))
    with pytest.raises(KeyError, match="no curve 'width'"):
        plotting.plot_ensemble_curves(axes, history, "width", label="")


def test_reports_are_marked_where_their_figures_lie(axes):
    plotting.mark_reports(axes, {"report a": 800, "report b": 917}, 0.5)
    assert [line.get_label() for line in axes.lines] == ["report a", "report b"]
    assert [float(line.get_xdata()[0]) for line in axes.lines] == [800, 917]
    assert [float(line.get_ydata()[0]) for line in axes.lines] == [0.5, 0.5]
    assert len({line.get_marker() for line in axes.lines}) == 2  # told apart without colour
    assert all(line.get_linestyle() == "None" for line in axes.lines)


def test_reports_may_have_heights_of_their_own(axes):
    plotting.mark_reports(axes, {"a": 1, "b": 2}, [0.2, 0.7])
    assert [float(line.get_ydata()[0]) for line in axes.lines] == [0.2, 0.7]
    with pytest.raises(ValueError, match="broadcast"):
        plotting.mark_reports(axes, {"a": 1, "b": 2}, [0.2, 0.7, 0.9])


# Image grids

IMAGES = np.random.default_rng(4).random((5, 4, 6))


def test_image_grid_shows_each_image_once_in_order_on_one_scale():
    figure = plotting.plot_image_grid(
        IMAGES, ["a", "b", "c", "d", "e"], columns=3, value_range=(-1, 2), suptitle="five"
    )
    assert len(figure.axes) == 6
    for panel, image, title in zip(figure.axes, IMAGES, "abcde", strict=False):
        (shown,) = panel.images
        np.testing.assert_array_equal(shown.get_array(), image)
        assert shown.get_clim() == (-1, 2)
        assert panel.get_title() == title
        assert len(panel.get_xticks()) == len(panel.get_yticks()) == 0
    assert not figure.axes[5].images
    assert not any(spine.get_visible() for spine in figure.axes[5].spines.values())
    assert figure.get_suptitle() == "five"


def test_image_grid_has_no_more_columns_than_images():
    assert len(plotting.plot_image_grid(IMAGES[:2], columns=8).axes) == 2


@pytest.mark.parametrize("images", [IMAGES[:0], IMAGES[0], IMAGES[None]])
def test_image_grid_refuses_another_shape(images):
    with pytest.raises(ValueError, match=r"expected \(n, height, width\)"):
        plotting.plot_image_grid(images)


def test_image_grid_refuses_a_wrong_number_of_titles():
    with pytest.raises(ValueError, match="4 titles for 5 images"):
        plotting.plot_image_grid(IMAGES, ["a", "b", "c", "d"])


# Decision regions


def right_of_a_quarter(points):
    return 1 / (1 + np.exp(-8 * (points[:, 0] - 0.25)))


def test_decision_region_shades_the_probability(axes):
    plotting.plot_decision_region(axes, right_of_a_quarter, (-1, 2), (0, 1), resolution=40)
    mesh = axes.collections[0]
    line = np.linspace(-1, 2, 40)
    expected = np.tile(1 / (1 + np.exp(-8 * (line - 0.25))), (40, 1))
    np.testing.assert_allclose(np.asarray(mesh.get_array()).reshape(40, 40), expected)
    assert mesh.get_clim() == (0, 1)
    assert axes.get_xlim() == (-1, 2) and axes.get_ylim() == (0, 1)


def test_boundary_lies_where_the_probability_is_one_half(axes):
    plotting.plot_decision_region(axes, right_of_a_quarter, (-1, 2), (0, 1))
    boundary = axes.collections[-1].get_paths()[0].vertices
    np.testing.assert_allclose(boundary[:, 0], 0.25, atol=0.01)
    assert np.ptp(boundary[:, 1]) == pytest.approx(1)


def test_no_boundary_where_one_class_fills_the_plane(axes):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plotting.plot_decision_region(axes, lambda p: np.full(len(p), 0.9), (0, 1), (0, 1))
    assert len(axes.collections) == 1


def test_points_are_circles_and_squares_in_the_colours_of_their_classes(axes):
    points, labels = np.array([[0.0, 0.1], [1.0, 0.9], [0.5, 0.4]]), np.array([0, 1, 0])
    plotting.plot_decision_region(
        axes, right_of_a_quarter, (-1, 2), (0, 1), points=points, labels=labels
    )
    circles, squares = axes.collections[-2:]
    np.testing.assert_array_equal(circles.get_offsets(), points[[0, 2]])
    np.testing.assert_array_equal(squares.get_offsets(), points[[1]])
    assert (circles.get_label(), squares.get_label()) == ("class 0", "class 1")
    assert tuple(circles.get_facecolor()[0]) == to_rgba(plotting.CLASS_COLORS[0])
    assert tuple(squares.get_facecolor()[0]) == to_rgba(plotting.CLASS_COLORS[1])
    corners = [len(c.get_paths()[0].vertices) for c in (circles, squares)]
    assert corners[0] > corners[1] == 5


# Iterations to a goal

SOLVED_AT = {
    "sigmoid": np.array([9000.0, 9500.0, np.inf, 9900.0, 9100.0]),
    "ReLU": np.array([900.0, 700.0, 800.0, 0.0, 950.0]),
}


def test_iterations_show_every_member_and_put_the_unsolved_behind_the_limit(axes):
    plotting.plot_iterations(axes, SOLVED_AT, limit=10_000)
    dots = [line for line in axes.lines if line.get_marker() == "."]
    assert [len(line.get_xdata()) for line in dots] == [5, 5]
    behind = dots[0].get_xdata() > 10_000
    np.testing.assert_array_equal(behind, [False, False, True, False, False])
    assert dots[0].get_xdata().max() < axes.get_xlim()[1]
    assert dots[1].get_xdata().min() == 1  # 0 has no place on a logarithmic axis
    assert [text.get_text() for text in axes.texts] == ["4/5 solved", "5/5 solved"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["sigmoid", "ReLU"]


def test_iterations_mark_medians_quartiles_and_reports_in_their_rows(axes):
    reports = {"2018 a": {"ReLU": 800, "sigmoid": 10_000}, "2018 b": {"ReLU": 917}}
    plotting.plot_iterations(axes, SOLVED_AT, limit=10_000, reports=reports)
    medians = [line for line in axes.lines if line.get_marker() == "|"]
    assert [float(line.get_xdata()[0]) for line in medians] == [9500, 800]
    bars = [line for line in axes.lines if line.get_linewidth() == 3]
    assert [list(line.get_xdata()) for line in bars] == [[9100, 9900], [700, 900]]
    marked = {line.get_label(): line for line in axes.lines if line.get_label() in reports}
    np.testing.assert_array_equal(marked["2018 a"].get_xdata(), [800, 10_000])
    np.testing.assert_array_equal(marked["2018 a"].get_ydata(), [1, 0])
    np.testing.assert_array_equal(marked["2018 b"].get_ydata(), [1])
    assert marked["2018 a"].get_marker() != marked["2018 b"].get_marker()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(reports)


def test_more_reports_than_markers_are_all_drawn(axes):
    figures = {f"report {i}": float(i) for i in range(len(plotting.MARKERS) + 3)}
    plotting.mark_reports(axes, figures, 1.0)
    assert [line.get_label() for line in axes.lines] == list(figures)
