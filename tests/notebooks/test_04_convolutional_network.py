"""The code that notebook 04 teaches: convolution, its gradients, networks, paired comparisons."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.datasets import ImageSet, generate_detection, generate_line
from helpers.gradient_check import assert_gradients_close
from helpers.training import initial_parameters
from tests.tools.notebook_tools import load_implementation

NOTEBOOK = load_implementation("04_convolutional_network")
RNG = np.random.default_rng(0)
# No two sizes are equal, so that an exchanged axis cannot pass.
IMAGES = RNG.normal(size=(2, 3, 9, 8))
KERNELS = RNG.normal(size=(4, 3, 5, 5))
BIASES = RNG.normal(size=4)
DLOSS_DZ = RNG.normal(size=(2, 4, 5, 4))


def in_float64(network, seed=0):
    start = initial_parameters(type(network), [seed])
    network = network.double()
    network.load_state_dict({name: values[0] for name, values in start.items()})
    return network


# ---- convolution


def test_one_patch_by_hand():
    image = np.arange(12.0).reshape(3, 4)
    kernel = np.array([[1.0, 2.0], [0.0, -1.0]])
    # The patch at (1, 2) is [[6, 7], [10, 11]]: 6 + 14 - 11 + 0.5.
    assert NOTEBOOK.patch_response(image, kernel, 0.5, row=1, column=2) == 9.5


def test_every_place_of_a_map_is_its_patch():
    z = NOTEBOOK.convolve(IMAGES[:, :1], KERNELS[:, :1], BIASES)
    for n, o, row, column in np.ndindex(z.shape):
        by_hand = NOTEBOOK.patch_response(IMAGES[n, 0], KERNELS[o, 0], BIASES[o], row, column)
        assert z[n, o, row, column] == pytest.approx(by_hand, abs=1e-12)


def test_convolve_equals_conv2d():
    expected = F.conv2d(*map(torch.tensor, (IMAGES, KERNELS, BIASES))).numpy()
    z = NOTEBOOK.convolve(IMAGES, KERNELS, BIASES)
    assert z.shape == (2, 4, 5, 4)
    np.testing.assert_allclose(z, expected, atol=1e-12)


def test_an_asymmetric_kernel_is_not_flipped():
    image = np.zeros((1, 1, 3, 3))
    image[0, 0, 0, 1] = 1.0
    kernel = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    z = NOTEBOOK.convolve(image, kernel, np.zeros(1))
    np.testing.assert_array_equal(z[0, 0], [[2.0, 1.0], [0.0, 0.0]])


def test_convolve_gradients_equal_central_differences():
    arrays = {"images": IMAGES, "kernels": KERNELS, "biases": BIASES}

    def loss(**arrays):
        return float(np.sum(DLOSS_DZ * np.sin(NOTEBOOK.convolve(**arrays))))

    dloss_dz = DLOSS_DZ * np.cos(NOTEBOOK.convolve(**arrays))
    gradients = NOTEBOOK.convolve_gradients(IMAGES, KERNELS, dloss_dz)
    assert_gradients_close(loss, arrays, gradients)


def test_convolve_gradients_equal_autograd():
    tensors = [torch.tensor(a, requires_grad=True) for a in (IMAGES, KERNELS, BIASES)]
    (F.conv2d(*tensors) * torch.tensor(DLOSS_DZ)).sum().backward()
    gradients = NOTEBOOK.convolve_gradients(IMAGES, KERNELS, DLOSS_DZ)
    for name, tensor in zip(("images", "kernels", "biases"), tensors, strict=True):
        np.testing.assert_allclose(gradients[name], tensor.grad.numpy(), atol=1e-12)


# ---- networks


def test_parameters_counted_by_hand():
    conv1, conv2, head = 16 * (7 * 7 * 1 + 1), 8 * (7 * 7 * 16 + 1), 8 * 4 * 4 + 1
    count = NOTEBOOK.count_parameters
    assert count(NOTEBOOK.ConvolutionalNetwork()) == conv1 + conv2 + head == 7209
    assert count(NOTEBOOK.DetectionNetwork()) == 7209 + head
    assert count(NOTEBOOK.fully_connected(4, 4)) == (16 * 4 + 4) + (4 + 1)
    assert count(NOTEBOOK.fully_connected(16, 28)) == (256 * 28 + 28) + (28 + 1)


def test_multiplications_counted_by_hand():
    conv = 10 * 10 * 16 * 49 + 4 * 4 * 8 * 16 * 49 + 128
    assert NOTEBOOK.multiplications(NOTEBOOK.ConvolutionalNetwork()) == conv
    assert NOTEBOOK.multiplications(NOTEBOOK.fully_connected(4, 4), side=4) == 16 * 4 + 4


def test_shapes():
    images = torch.zeros(5, 1, 16, 16)
    network = NOTEBOOK.DetectionNetwork()
    assert network.conv1(images).shape == (5, 16, 10, 10)
    assert network.features(images).shape == (5, 128)
    logits, widths = network(images)
    assert logits.shape == widths.shape == (5,)
    assert NOTEBOOK.ConvolutionalNetwork()(images).shape == (5,)
    assert NOTEBOOK.fully_connected(16, 3)(images).shape == (5,)


def test_the_network_equals_the_same_in_numpy():
    network = in_float64(NOTEBOOK.DetectionNetwork())
    data = generate_detection(6, seed=3)
    w = {name: p.detach().numpy() for name, p in network.named_parameters()}
    a1 = np.maximum(NOTEBOOK.convolve(data.images[:, None], w["conv1.weight"], w["conv1.bias"]), 0)
    h = np.maximum(NOTEBOOK.convolve(a1, w["conv2.weight"], w["conv2.bias"]), 0).reshape(6, 128)
    with torch.no_grad():
        outputs = network(NOTEBOOK.image_tensor(data).double())
    for output, head in zip(outputs, ("classifier", "width"), strict=True):
        expected = h @ w[f"{head}.weight"][0] + w[f"{head}.bias"]
        np.testing.assert_allclose(output.numpy(), expected, atol=1e-12)
        assert np.ptp(expected) > 0


def test_both_networks_share_their_start():
    alone = initial_parameters(NOTEBOOK.ConvolutionalNetwork, [0, 7])
    joint = initial_parameters(NOTEBOOK.DetectionNetwork, [0, 7])
    assert set(joint) - set(alone) == {"width.weight", "width.bias"}
    for name in alone:
        assert torch.equal(alone[name], joint[name])


# ---- losses and training


def test_losses_and_accuracies_by_hand():
    outputs = torch.tensor([2.0, -1.0, 3.0, 0.5]), torch.tensor([1.0, 2.6, 4.5, 7.0])
    targets = torch.tensor([1.0, 0.0, 0.0, 1.0]), torch.tensor([1.0, 2.0, 4.0, 5.0])
    wanted = [math.log1p(math.exp(-2)), math.log1p(math.exp(-1)), math.log1p(math.exp(3))]
    wanted.append(math.log1p(math.exp(-0.5)))
    loss = NOTEBOOK.classification_loss(outputs, targets).item()
    assert loss == pytest.approx(sum(wanted) / 4, rel=1e-6)
    assert NOTEBOOK.width_loss(outputs, targets).item() == pytest.approx((0.36 + 0.25 + 4) / 4)
    assert NOTEBOOK.classification_accuracy(outputs, targets) == 0.75
    assert NOTEBOOK.width_accuracy(outputs, targets) == 0.5  # exactly half a pixel off is right


def test_the_loss_weight_is_the_ratio_of_the_two_learning_rates():
    assert NOTEBOOK.WIDTH_WEIGHT == pytest.approx(0.001 / 0.1)


def test_one_step_of_training_is_two_steps_with_two_learning_rates():
    data = generate_detection(12, seed=4)
    history = NOTEBOOK.train_detector(data, [5], "width accuracy", 1)
    network = NOTEBOOK.DetectionNetwork()
    start = initial_parameters(NOTEBOOK.DetectionNetwork, [5])
    network.load_state_dict({name: values[0] for name, values in start.items()})
    images = NOTEBOOK.image_tensor(data)
    logits, widths = network(images)
    labels, radii = (torch.tensor(t, dtype=torch.float32) for t in (data.labels, data.widths))
    names, parameters = zip(*network.named_parameters(), strict=True)
    entropy = F.binary_cross_entropy_with_logits(logits, labels)
    pulls = [
        torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        for loss in (entropy, F.mse_loss(widths, radii))
    ]
    for name, parameter, by_class, by_width in zip(names, parameters, *pulls, strict=True):
        step = sum(
            rate * gradient
            for rate, gradient in ((0.1, by_class), (0.001, by_width))
            if gradient is not None
        )
        moved = history.final_parameters[name][0]
        torch.testing.assert_close(moved, parameter.detach() - step, atol=1e-6, rtol=1e-5)


def test_training_solves_a_few_images_and_stops():
    data = generate_line(8, seed=1)
    history = NOTEBOOK.train_classifier(
        NOTEBOOK.ConvolutionalNetwork, data, range(2), 200, **NOTEBOOK.PLAIN
    )
    assert history.solved.all() and history.iterations == history.solved_at.max() < 200
    assert (history.curve("accuracy")[:, 0] < 1).all()


# ---- paired differences and blips


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([-1.0] * 5, 2 / 32),
        ([1.0] * 5 + [0.0] * 7, 2 / 32),
        ([-1.0, 1.0], 1.0),
        ([-3.0] * 7 + [1.0], 2 * (1 + 8) / 256),
        ([0.0, 0.0], 1.0),
    ],
)
def test_sign_test_by_hand(differences, p):
    assert NOTEBOOK.sign_test(np.array(differences)) == pytest.approx(p)


def test_median_interval_of_ten_values_is_the_second_to_the_ninth():
    # Of ten fair coins at most one falls on a given side with probability 11 / 1024.
    low, high = NOTEBOOK.median_interval(RNG.permutation(np.arange(10.0)))
    assert (low, high) == (1.0, 8.0)


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


# ---- fresh images


def test_unseen_leaves_out_the_training_images():
    training = generate_detection(64, seed=0)
    fresh = generate_detection(400, seed=9)
    mixed = ImageSet(
        "detection",
        np.concatenate([training.images, fresh.images]),
        np.concatenate([training.labels, fresh.labels]),
        np.concatenate([training.widths, fresh.widths]),
    )
    chosen = NOTEBOOK.unseen(mixed, training, 50)
    assert [np.sum(chosen.labels == label) for label in (0, 1)] == [50, 50]
    assert not (chosen.images[:, None] == training.images[None]).all((2, 3)).any()
    for image, label, width in zip(chosen.images, chosen.labels, chosen.widths, strict=True):
        at = (mixed.images == image).all((1, 2))
        assert (mixed.labels[at] == label).all() and (mixed.widths[at] == width).all()


def test_too_few_new_images_are_an_error():
    training = generate_line(16, seed=0)
    with pytest.raises(ValueError, match="expected 5 new images a class, found 0"):
        NOTEBOOK.unseen(training, training, 5)
