"""The code that notebook 04 teaches, against PyTorch and SciPy: training, images, pairs."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.datasets import ImageSet
from helpers.training import initial_parameters
from tests.tools.notebook_tools import load_implementation

NOTEBOOK = load_implementation("04_convolutional_network")
RNG = np.random.default_rng(0)


def test_fully_connected_networks_of_both_image_sizes():
    for side, hidden_size in ((4, 3), (16, 28)):
        network = NOTEBOOK.fully_connected(side, hidden_size)
        assert network(torch.zeros(5, 1, side, side)).shape == (5, 1)
        weights = (side * side + 1) * hidden_size
        assert NOTEBOOK.multiplications(network, side) == weights
        assert NOTEBOOK.count_parameters(network) == weights + hidden_size + 1


# ---- losses and training


def test_losses_and_accuracies_of_one_network_and_of_many():
    logits, labels = torch.tensor([2.0, -1.0, 3.0, 0.5]), torch.tensor([1.0, 0.0, 0.0, 1.0])
    widths, radii = torch.tensor([1.0, 2.6, 4.5, 7.0]), torch.tensor([1.0, 2.0, 4.0, 5.0])
    one = (logits, widths), (labels, radii)
    many = tuple(tuple(torch.stack([x, x.flip(0)]) for x in pair) for pair in one)
    entropy = F.binary_cross_entropy_with_logits(logits, labels)
    for loss, value in (
        (NOTEBOOK.classification_loss, entropy),
        (NOTEBOOK.width_loss, F.mse_loss(widths, radii)),
    ):
        torch.testing.assert_close(loss(*one), value)
        torch.testing.assert_close(loss(*many), value.expand(2))
    for outputs, targets in (one, many):
        right = NOTEBOOK.classification_accuracy(outputs, targets)
        assert right.float().mean(-1).eq(0.75).all()
        near = NOTEBOOK.width_accuracy(outputs, targets)  # exactly half a pixel off is right
        assert near.float().mean(-1).eq(0.5).all() and near.shape == outputs[1].shape


def one_network(make_network, seed):
    network = make_network()
    start = initial_parameters(make_network, [seed])
    network.load_state_dict({name: values[0] for name, values in start.items()})
    return network


def assert_trained_alike(history, network):
    for name, parameter in network.named_parameters():
        trained = history.parameters[name][-1]
        torch.testing.assert_close(trained, parameter.detach(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("PLAIN", {"lr": 0.1}),
        ("MOMENTUM", {"lr": 0.01, "momentum": 0.99, "weight_decay": 0.0005}),
    ],
)
def test_both_recipes_are_those_of_pytorch(recipe, options):
    data, make = NOTEBOOK.generate_line(12, seed=4), NOTEBOOK.ConvolutionalNetwork
    network = one_network(make, 5)
    optimizer = torch.optim.SGD(network.parameters(), **options)
    for _ in range(4):
        optimizer.zero_grad()
        logits = network(NOTEBOOK.image_tensor(data))
        F.binary_cross_entropy_with_logits(logits, torch.tensor(data.labels).float()).backward()
        optimizer.step()
    settings = getattr(NOTEBOOK, recipe) | {"stop_when": None}
    assert_trained_alike(NOTEBOOK.train_classifier(make, data, [3, 5], 4, **settings), network)


def test_training_on_two_losses_is_two_steps_with_two_learning_rates():
    data = NOTEBOOK.generate_detection(12, seed=4)
    network, images = one_network(NOTEBOOK.DetectionNetwork, 5), NOTEBOOK.image_tensor(data)
    targets = tuple(torch.tensor(t).float() for t in (data.labels, data.widths))
    heads = {"classifier": (0.1, "classification_loss"), "width": (0.001, "width_loss")}
    for _ in range(3):
        outputs, steps = network(images), []
        for head, (rate, loss) in heads.items():
            moved = [p for n, p in network.named_parameters() if n.startswith(("conv", head))]
            value = getattr(NOTEBOOK, loss)(outputs, targets)
            gradients = torch.autograd.grad(value, moved, retain_graph=True)
            steps += [(p, rate * gradient) for p, gradient in zip(moved, gradients, strict=True)]
        with torch.no_grad():
            for parameter, step in steps:
                parameter -= step
    assert_trained_alike(NOTEBOOK.train_detector(data, [3, 5], None, 3), network)


def test_each_network_trains_until_it_is_solved():
    data = NOTEBOOK.generate_line(8, seed=1)
    history = NOTEBOOK.train_classifier(
        NOTEBOOK.ConvolutionalNetwork, data, range(5), 200, **NOTEBOOK.PLAIN
    )
    assert history.solved.all() and history.iterations == history.solved_at.max() < 200
    assert len(set(history.solved_at)) > 1 and (history.curve("accuracy")[:, 0] < 1).all()


# ---- the images


def extents(pixels):
    """First and last row and column of a part of an image: ((top, left), (bottom, right))."""
    places = np.argwhere(pixels)
    return places.min(axis=0), places.max(axis=0)


def test_line_images_are_a_bar_and_a_square_on_the_side_of_the_label():
    line = NOTEBOOK.generate_line(1000, seed=7)
    bar_sizes, sides, bar_places = set(), set(), ([], [])
    for image, label in zip(line.images, line.labels, strict=True):
        is_bar = image.sum(axis=0) > 9  # the longest side of a square
        (bar_top, bar_left), (bar_bottom, bar_right) = extents(image * is_bar)
        (top, left), (bottom, right) = extents(image * ~is_bar)
        again = np.zeros((16, 16))
        again[bar_top : bar_bottom + 1, bar_left : bar_right + 1] = 1
        again[top : bottom + 1, left : right + 1] = 1
        np.testing.assert_array_equal(image, again)
        gap = bar_left - right if label == 1 else left - bar_right
        assert gap >= 2  # at least one black column between
        assert top <= bar_bottom and bottom >= bar_top  # beside, not above or below
        side = max(bottom - top, right - left) + 1
        for first, last in ((top, bottom), (left, right)):
            clipped = first == 0 or last == 15
            assert last - first + 1 == side or (clipped and 2 * (last - first + 1) >= side)
        sides.add(side)
        bar_sizes.add((bar_right - bar_left + 1, bar_bottom - bar_top + 1))
        bar_places[int(label)].append(bar_left)
    assert bar_sizes == {(w, h) for w in (2, 3, 4) for h in (11, 12, 13, 14)}
    assert sides == set(range(1, 10))
    # The place of the bar alone does not give the label away.
    assert len(set(bar_places[0]) & set(bar_places[1])) >= 8


def test_detection_images_are_the_shape_of_their_label_and_width():
    detection = NOTEBOOK.generate_detection(1000, seed=7)
    parts = zip(detection.images, detection.labels, detection.widths, strict=True)
    for image, label, width in parts:
        first, last = extents(image)
        assert list(last - first) == [2 * width, 2 * width]  # wholly inside
        dy, dx = np.abs(np.indices((16, 16)) - (first + last)[:, None, None] / 2)
        expected = (np.maximum(dx, dy) if label else dx + dy) <= width
        np.testing.assert_array_equal(image, expected)


def test_detection_radii_have_a_mean_of_three_and_a_half_and_centres_reach_every_place():
    detection = NOTEBOOK.generate_detection(3000, seed=7)
    assert abs(detection.widths.mean() - 3.5) < 0.2  # 6 standard errors
    assert set(detection.widths) == set(range(1, 8))
    for radius in range(1, 8):
        images = detection.images[detection.widths == radius]
        for axis in (1, 2):
            first = images.any(axis=axis).argmax(axis=1)
            assert set(first.tolist()) == set(range(16 - 2 * radius))


# ---- intervals, blips, curvature, fresh images


def test_median_interval_of_ten_values_is_the_second_to_the_ninth():
    # Of ten fair coins at most one falls on a given side with probability 11 / 1024.
    assert NOTEBOOK.median_interval(RNG.permutation(np.arange(10.0))) == (1.0, 8.0)


def test_median_interval_covers_as_often_as_it_says():
    samples = np.random.default_rng(3).normal(size=(2000, 30))
    limits = np.array([NOTEBOOK.median_interval(sample) for sample in samples])
    covered = np.mean((limits[:, 0] <= 0) & (0 <= limits[:, 1]))
    margin = NormalDist().inv_cdf(0.9999) * math.sqrt(0.05 * 0.95 / 2000)
    assert 0.95 - margin <= covered < 0.99


def test_blips_are_unbroken_rises():
    curves = np.array(
        [
            [1.0, 0.9, 1.0, 1.1, 0.8, 0.7, 0.76, 0.6],  # + 0.2 in two steps, + 0.06
            [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.6],  # the last rise is not over
            [1.0, 1.5, 0.8, 0.7, 0.6, 0.5, np.nan, np.nan],  # a curve that was cut
        ]
    )
    np.testing.assert_array_equal(NOTEBOOK.count_blips(curves, 0.15), [1, 1, 1])
    np.testing.assert_array_equal(NOTEBOOK.count_blips(curves, 0.05), [2, 1, 1])


def test_the_largest_curvature_is_that_of_the_whole_hessian():
    torch.manual_seed(0)
    network, sizes = NOTEBOOK.fully_connected(3, 2).double(), [18, 2, 2, 1]
    images, labels = torch.randn(9, 1, 3, 3).double(), torch.tensor([0.0, 1, 1] * 3).double()

    def loss(vector):
        named = zip(dict(network.named_parameters()), vector.split(sizes), strict=True)
        state = {name: v.view_as(network.get_parameter(name)) for name, v in named}
        outputs = torch.func.functional_call(network, state, images)
        return F.binary_cross_entropy_with_logits(outputs[:, 0], labels)

    start = torch.nn.utils.parameters_to_vector(network.parameters()).detach()
    exact = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, start))[-1].item()
    found, vector = NOTEBOOK.largest_curvature(network, images, labels)
    assert found == pytest.approx(exact, rel=0.02) and vector.shape == (23,)


def test_unseen_leaves_out_the_training_images():
    training, fresh = (
        NOTEBOOK.generate_detection(64, seed=0),
        NOTEBOOK.generate_detection(400, seed=9),
    )
    parts = [[getattr(d, k) for d in (training, fresh)] for k in ("images", "labels", "widths")]
    mixed = ImageSet("detection", *map(np.concatenate, parts))
    chosen = NOTEBOOK.unseen(mixed, training, 50)
    assert [np.sum(chosen.labels == label) for label in (0, 1)] == [50, 50]
    assert not (chosen.images[:, None] == training.images[None]).all((2, 3)).any()
    for image, label, width in zip(chosen.images, chosen.labels, chosen.widths, strict=True):
        at = (mixed.images == image).all((1, 2))
        assert (mixed.labels[at] == label).all() and (mixed.widths[at] == width).all()
    with pytest.raises(ValueError, match="expected 5 new images a class, found 0"):
        NOTEBOOK.unseen(training, training, 5)
