"""Notebook 03: the XOR network, its gradient, the proofs about one layer and about stuck states."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.datasets import xor_points
from helpers.gradient_check import assert_gradients_close
from helpers.training import initial_parameters, train_ensemble, truncated_normal_
from tests.tools.notebook_tools import load_implementation

POINTS, LABELS = xor_points()
INPUTS, TARGETS = torch.tensor(POINTS), torch.tensor(LABELS)
LN2 = np.log(2)


@pytest.fixture(scope="module")
def xor():
    return load_implementation("03_xor_perceptron")


def random_parameters(seed: int, lead: tuple[int, ...] = (), scale: float = 1.0):
    """W, b, v, c with the given leading axes; none is near 0."""
    rng = np.random.default_rng(seed)
    shapes = {"W": (2, 2), "b": (2,), "v": (2,), "c": ()}
    return {name: np.asarray(scale * rng.normal(size=lead + s)) for name, s in shapes.items()}


def affine(w1, w2, beta):
    """Logits of a single layer at the four points, shape (..., 4)."""
    return np.stack([w1 * x1 + w2 * x2 + beta for x1, x2 in POINTS], axis=-1)


def mean_loss(logits):
    """Mean cross-entropy written independently of the notebook."""
    with np.errstate(over="ignore", divide="ignore"):
        probability = 1 / (1 + np.exp(-logits))
        costs = np.where(LABELS == 1, -np.log(probability), -np.log1p(-probability))
    return costs.mean(-1)


# The loss and its gradient


@pytest.mark.parametrize("seed", range(5))
def test_gradients_agree_with_central_differences(xor, seed):
    parameters = random_parameters(seed)
    loss = partial(xor.mean_cross_entropy, POINTS, LABELS)
    assert_gradients_close(loss, parameters, xor.loss_gradients(POINTS, LABELS, **parameters))


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_gradients_agree_with_autograd_through_the_network(xor, scale):
    network = xor.TwoLayerPerceptron().double()
    truncated_normal_(network, torch.Generator().manual_seed(3), std=scale, bias=0.3 * scale)
    F.binary_cross_entropy_with_logits(network(INPUTS), TARGETS).backward()
    parameters = xor.from_torch(dict(network.named_parameters()))
    expected = xor.from_torch({name: p.grad for name, p in network.named_parameters()})
    for name, written in xor.loss_gradients(POINTS, LABELS, **parameters).items():
        np.testing.assert_allclose(written, expected[name], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("lead", [(3,), (2, 3)])
def test_members_on_leading_axes_do_not_mix(xor, lead):
    parameters = random_parameters(0, lead)
    loss = xor.mean_cross_entropy(POINTS, LABELS, **parameters)
    gradients = xor.loss_gradients(POINTS, LABELS, **parameters)
    assert loss.shape == lead
    for index in np.ndindex(lead):
        alone = xor.select(parameters, index)
        assert xor.mean_cross_entropy(POINTS, LABELS, **alone) == pytest.approx(loss[index])
        for name, gradient in xor.loss_gradients(POINTS, LABELS, **alone).items():
            np.testing.assert_allclose(gradients[name][index], gradient, atol=1e-15)


def test_network_and_numpy_give_the_same_logits(xor):
    network = xor.TwoLayerPerceptron().double()
    truncated_normal_(network, torch.Generator().manual_seed(0), std=1.0)
    parameters = xor.from_torch(dict(network.named_parameters()))
    _, logits = xor.hidden_and_logits(POINTS, **parameters)
    np.testing.assert_allclose(network(INPUTS).detach().numpy(), logits, atol=1e-14)
    assert sum(p.numel() for p in network.parameters()) == 9
    loss = F.binary_cross_entropy_with_logits(network(INPUTS), TARGETS).item()
    assert xor.mean_cross_entropy(POINTS, LABELS, **parameters) == pytest.approx(loss, abs=1e-14)


def test_loss_and_gradient_are_finite_at_huge_logits(xor):
    parameters = {name: 1e4 * array for name, array in random_parameters(1).items()}
    assert np.isfinite(xor.mean_cross_entropy(POINTS, LABELS, **parameters))
    for gradient in xor.loss_gradients(POINTS, LABELS, **parameters).values():
        assert np.isfinite(gradient).all()


# Plausible mistakes in the gradient are seen by the checks above


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("(1 - hidden**2)", "hidden * (1 - hidden)"),  # the sigmoid's derivative
        ("(1 - hidden**2)", "(1 - hidden)"),
        ("/ len(labels)", ""),  # a sum in place of a mean
        ('parameters["v"][..., None, :]', "1.0"),  # the output weights forgotten
        ("np.swapaxes(dloss_da, -1, -2) @ inputs", "np.swapaxes(inputs, -1, -2) @ dloss_da"),
    ],
)
def test_wrong_gradient_formulas_fail_the_check(xor, right, wrong):
    import inspect

    source = inspect.getsource(xor.loss_gradients)
    assert source.count(right) == 1
    namespace = dict(vars(xor))
    exec(source.replace(right, wrong), namespace)
    parameters = random_parameters(0)
    loss = partial(xor.mean_cross_entropy, POINTS, LABELS)
    with pytest.raises(AssertionError):
        assert_gradients_close(
            loss, parameters, namespace["loss_gradients"](POINTS, LABELS, **parameters)
        )


# One layer


def test_no_line_of_a_grid_separates_xor_and_some_get_three_right():
    axis = np.linspace(-3, 3, 61)
    logits = affine(*np.meshgrid(axis, axis, axis, indexing="ij"))  # (61, 61, 61, 4)
    right = ((logits > 0) == (LABELS == 1)).sum(-1)
    assert right.max() == 3
    assert (((2 * LABELS - 1) * logits).min(-1) < 1e-12).all()


def test_the_same_search_finds_a_line_for_or():
    axis = np.linspace(-3, 3, 61)
    logits = affine(*np.meshgrid(axis, axis, axis, indexing="ij"))
    assert ((logits > 0) == np.array([False, True, True, True])).all(-1).any()


def test_margins_of_affine_logits_sum_to_zero_and_the_loss_is_at_least_ln_2():
    w1, w2, beta = np.random.default_rng(0).normal(scale=2, size=(3, 20_000))
    logits = affine(w1, w2, beta)
    np.testing.assert_allclose(((2 * LABELS - 1) * logits).sum(-1), 0, atol=1e-12)
    assert mean_loss(logits).min() >= LN2
    assert mean_loss(np.zeros(4)) == pytest.approx(LN2)


def test_without_activation_the_network_is_affine_and_its_loss_at_least_ln_2(xor):
    network = xor.TwoLayerPerceptron(torch.nn.Identity()).double()
    for seed in range(20):
        truncated_normal_(network, torch.Generator().manual_seed(seed), std=2.0)
        logits = network(INPUTS).detach().numpy()
        assert logits[0] + logits[3] == pytest.approx(logits[1] + logits[2], abs=1e-12)
        assert mean_loss(logits) >= LN2 - 1e-12


# When it is solved


def test_solution_by_hand_is_right_everywhere_and_its_loss_falls(xor):
    losses = []
    for s in (2, 4, 8):
        solution = xor.solution_by_hand(s)
        _, logits = xor.hidden_and_logits(POINTS, **solution)
        assert ((logits > 0) == (LABELS == 1)).all()
        assert xor.is_solved(torch.tensor(logits), TARGETS) == 1
        assert xor.solved_now(POINTS, LABELS, **solution)
        losses.append(xor.mean_cross_entropy(POINTS, LABELS, **solution))
    assert losses[0] > losses[1] > losses[2] > 0


@pytest.mark.parametrize(
    ("logits", "solved"),
    [
        ([-1.0, 1.0, 1.0, -1.0], 1),
        ([-0.011, 0.011, 0.011, -0.011], 1),
        ([-1.0, 1.0, 1.0, -0.009], 0),  # right, but by less than the margin
        ([-1e-9, 1e-9, 1e-9, -1e-9], 0),  # what rounding makes of 0
        ([1.0, -1.0, -1.0, 1.0], 0),
        ([-1.0, 1.0, 1.0, 1.0], 0),
    ],
)
def test_solved_means_every_margin(xor, logits, solved):
    assert xor.is_solved(torch.tensor(logits), TARGETS.float()) == solved


def test_solved_in_numpy_agrees_with_solved_in_torch(xor):
    shift = np.array([0.0, 3.84, 3.85, -5.0])  # least margins about 3.7, 0.016, 0.006 and -1.3
    members = {name: np.stack([a] * 4) for name, a in xor.solution_by_hand(4).items()}
    members["c"] = members["c"] + shift
    found = xor.solved_now(POINTS, LABELS, **members)
    _, logits = xor.hidden_and_logits(POINTS, **members)
    expected = [bool(xor.is_solved(torch.tensor(row), TARGETS)) for row in logits]
    assert found.tolist() == expected
    assert expected == [True, True, False, False]


def test_a_loss_below_a_quarter_of_ln_2_means_that_all_four_are_right(xor):
    logits = np.random.default_rng(0).normal(scale=20, size=(20_000, 4))
    wrong = (((2 * LABELS - 1) * logits) <= 0).any(-1)
    assert mean_loss(logits[wrong]).min() >= LN2 / 4


# Shared hidden images


def test_sharing_floors(xor):
    assert xor.FLOORS["two share"] == pytest.approx(LN2 / 2)
    assert xor.FLOORS["plateau"] == pytest.approx(LN2)
    assert xor.FLOORS["three share"] == pytest.approx(0.75 * (np.log(3) - 2 / 3 * LN2))
    assert xor.sharing_floor([[0], [1, 1], [0]]) == 0


@pytest.mark.parametrize("groups", [[[1, 3], [0], [2]], [[0, 1, 2], [3]], [[1, 2, 3], [0]]])
def test_floor_is_the_least_loss_over_shared_logits(xor, groups):
    floor = xor.sharing_floor([LABELS[group].tolist() for group in groups])
    rng, least = np.random.default_rng(0), np.inf
    logits = np.empty((20_000, 4))
    for group in groups:
        logits[:, group] = rng.uniform(-12, 12, size=(20_000, 1))
    for group in groups:  # the rest as sure as one likes
        if len(group) == 1:
            logits[:, group] = 40 * (2 * LABELS[group] - 1)
    least = mean_loss(logits).min()
    assert floor <= least < floor + 1e-4


@pytest.mark.parametrize(
    ("loss", "solved", "level"),
    [
        (0.01, True, "solved"), (LN2 / 2 + 1e-3, False, "two share"), (LN2, False, "plateau"),
        (0.478, False, "three share"), (0.6, False, "on the move"), (LN2 / 2, True, "solved"),
    ],
)  # fmt: skip
def test_levels(xor, loss, solved, level):
    assert xor.level_of(loss, solved) == level


# Descent, Hessian, statistics


def test_descent_by_hand_takes_the_path_of_the_trainer(xor):
    history = train_ensemble(
        xor.TwoLayerPerceptron, [0, 1], INPUTS, TARGETS,
        losses={"loss": F.binary_cross_entropy_with_logits},
        learning_rate=0.5, max_iterations=50, initialize=partial(truncated_normal_, std=1.0),
    )  # fmt: skip
    start = initial_parameters(xor.TwoLayerPerceptron, [0, 1], partial(truncated_normal_, std=1.0))
    # The initial draws are float32; the trainer goes on in float64, and so does `descend`.
    before = xor.from_torch(start)
    copies = {name: array.copy() for name, array in before.items()}
    after = xor.descend(POINTS, LABELS, before, 0.5, 50)
    for name, expected in xor.from_torch(history.final_parameters).items():
        np.testing.assert_allclose(after[name], expected, atol=1e-12)
        np.testing.assert_array_equal(before[name], copies[name])  # left as they were


def test_hessian_agrees_with_autograd(xor):
    parameters = random_parameters(2)
    vector = xor.flatten(parameters)

    def loss(theta):
        hidden = torch.tanh(INPUTS @ theta[:4].reshape(2, 2).T + theta[4:6])
        return F.binary_cross_entropy_with_logits(hidden @ theta[6:8] + theta[8], TARGETS)

    expected = torch.autograd.functional.hessian(loss, torch.tensor(vector))
    found = xor.hessian(POINTS, LABELS, vector)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-9)


def test_flatten_and_unflatten_are_inverse(xor):
    parameters = random_parameters(4, (5,))
    vector = xor.flatten(parameters)
    assert vector.shape == (5, 9)
    for name, array in xor.unflatten(vector).items():
        np.testing.assert_array_equal(array, parameters[name])


def test_wilson_interval_of_textbook_cases(xor):
    low, high = xor.wilson_interval(5, 10)
    assert (low, high) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    low, high = xor.wilson_interval(0, 256)
    assert low == pytest.approx(0, abs=1e-12)
    assert high == pytest.approx(1.96**2 / (256 + 1.96**2))


def test_share_solved_as_a_text(xor):
    assert xor.solved_text(np.array([True, False])).startswith("1 of 2 (50%; 95% interval ")
