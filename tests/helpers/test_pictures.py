"""Pictures say what they show, animations play, diagrams and sliders are what they were given."""

import base64
import io
from unittest.mock import Mock

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from helpers import plotting
from helpers.diagrams import draw_graph, draw_network
from helpers.plotting import explore


@pytest.fixture(autouse=True)
def tidy():
    yield
    plt.close("all")


@pytest.fixture
def displayed(monkeypatch):
    """What was displayed last: the picture, and its text."""
    display = Mock()
    monkeypatch.setattr(plotting, "display", display)

    def last():
        (data,), options = display.call_args
        picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
        assert options["raw"] and data["text/plain"] == options["metadata"]["image/png"]["alt"]
        return picture, data["text/plain"]

    return last


def moving_dot(size=(6.4, 3.2)):
    figure, axes = plt.subplots(figsize=size, dpi=100)
    (dot,) = axes.plot(0, 0, "o", color=plotting.COLORS[2])
    axes.set(xlim=(0, 1), ylim=(-1, 1))

    def draw(x):
        dot.set_xdata([x])
        return figure

    return draw


def test_a_shown_figure_has_its_text_and_is_closed(displayed):
    figure, _ = plt.subplots(figsize=(2, 1), dpi=100)
    plotting.show(figure, alt="an empty square")
    picture, text = displayed()
    assert picture.size == (200, 100) and text == "an empty square"
    assert not plt.fignum_exists(figure.number)


@pytest.mark.parametrize(
    "publish", [plotting.show, lambda f, alt: plotting.animate(f, [0, 1], alt=alt)]
)
def test_a_picture_without_a_text_is_refused(publish):
    draw = moving_dot()
    with pytest.raises(ValueError, match="alt is empty"):
        publish(draw(0) if publish is plotting.show else draw, alt=" ")


def test_an_animation_plays_all_frames_twice_and_rests_on_the_last(displayed):
    draw, places = moving_dot(), np.linspace(0, 1, 40)
    plotting.animate(draw, places, alt="a dot moves", seconds=4.0)
    picture, _ = displayed()
    assert not plt.get_fignums()
    # One more than was drawn: the first is for who can't play them.
    assert (picture.n_frames, picture.info["loop"]) == (41, 2)
    assert picture.size == (640, 320) and len(picture.fp.getvalue()) < 250_000
    frames = []
    for index in range(picture.n_frames):
        picture.seek(index)
        frames.append((np.asarray(picture.convert("RGB")), picture.info.get("duration")))
    assert (frames[0][0] == frames[-1][0]).all() and (frames[1][0] != frames[-1][0]).any()
    assert frames[1][1] == 100 and frames[-1][1] >= 2000
    dot = np.array([0, 0x9E, 0x73])
    assert all((pixels == dot).all(2).any() for pixels, _ in frames), "a house colour was lost"


def test_bad_animations_are_refused():
    for frames in ([0], range(61)):
        with pytest.raises(ValueError, match="expected 2 to 60"):
            plotting.animate(moving_dot(), frames, alt="a dot")
    plt.close("all")
    with pytest.raises(ValueError, match="different sizes"):
        plotting.animate(lambda x: moving_dot((2 + x, 2))(x), [0, 1], alt="a dot")
    assert not plt.get_fignums()


def test_each_name_has_a_look_of_its_own():
    looks = plotting.looks_of("abcdefgh")
    for part in ("color", "linestyle", "marker"):
        assert len({str(look[part]) for look in looks.values()}) == 8
    with pytest.raises(ValueError, match="9 names; expected at most 8"):
        plotting.looks_of("abcdefghi")


def test_a_network_shows_signs_sizes_and_values():
    axes = plt.figure().add_subplot()
    weights = [np.array([[1.0, -2.0], [0.0, 4.0], [0.5, 0.5]])]
    draw_network(axes, (2, 3), weights=weights, values=[["x", "y"], [0.25, -1.5, 0]])
    lines = [line for line in axes.lines if len(line.get_xdata()) == 2]
    widths = [line.get_linewidth() for line in lines]
    np.testing.assert_allclose(widths, 5 * np.abs(weights[0]).ravel() / 4)
    assert (lines[0].get_color(), lines[0].get_linestyle()) == (plotting.COLORS[0], "-")
    assert (lines[1].get_color(), lines[1].get_linestyle()) == (plotting.COLORS[1], "--")
    assert lines[2].get_linestyle() == "-"  # of weight 0
    assert [text.get_text() for text in axes.texts] == ["x", "y", "0.25", "−1.5", "0"]


def test_a_wide_layer_is_drawn_around_an_ellipsis():
    axes = plt.figure().add_subplot()
    draw_network(axes, (16, 1), values=[[f"{i}" for i in range(16)], ["y"]], most=6)
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["0", "1", "2", "13", "14", "15", "⋮", "y"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weights": [np.ones((2, 3))]}, r"\(2, 3\)\]; sizes \(2, 3\) need \[\(3, 2\)\]"),
        ({"values": [[1, 2], [3]]}, r"expected \(2, 3\) values, found \[2, 1\]"),
        ({"titles": ["inputs"]}, "1 titles for 2 layers"),
    ],
)
def test_what_does_not_fit_the_layers_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        draw_network(plt.figure().add_subplot(), (2, 3), **wrong)


GRAPH = {"x": (), "w": (), "z": ("w", "x"), "y": (), "L": ("z", "y")}


def test_a_graph_runs_from_left_to_right_with_values_above_and_gradients_below():
    axes = plt.figure().add_subplot()
    draw_graph(axes, GRAPH, values={"z": 0.98201}, gradients={"z": -0.5})
    places = {text.get_text(): text.get_position() for text in axes.texts}
    columns = [places[node][0] for node in GRAPH]
    assert columns == [0, 0, 1, 1, 2]  # y beside z, just left of what it is used for
    assert len(axes.patches) == 4
    notes = {text.get_text(): text for text in axes.texts if hasattr(text, "xyann")}
    assert notes["0.982"].xyann[1] > 0 > notes["−0.5"].xyann[1]
    assert notes["0.982"].xy == notes["−0.5"].xy == places["z"]


@pytest.mark.parametrize(
    ("graph", "message"),
    [({"z": ("x",)}, r"\['x'\] are operands and no"), ({"a": ("b",), "b": ("a",)}, "cycle")],
)
def test_a_graph_that_is_none_is_refused(graph, message):
    with pytest.raises(ValueError, match=message):
        draw_graph(plt.figure().add_subplot(), graph)


def test_sliders_and_lists_draw_the_picture_anew():
    drawn = []

    def draw(x, loss):
        drawn.append((x, loss))
        return plt.figure(figsize=(1 + x, 1), dpi=50)

    box = explore(draw, x=(0, 3, 0.5, 1), loss=["L2", "CE"])
    (slider, choice), picture = box.children[0].children, box.children[1]
    assert not slider.continuous_update
    before = picture.value
    slider.value, choice.value = 2, "CE"
    assert drawn == [(1, "L2"), (2, "L2"), (2, "CE")] and picture.value != before
    assert Image.open(io.BytesIO(picture.value)).size == (150, 50)
    assert not plt.get_fignums()
