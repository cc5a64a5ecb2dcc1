"""The trainer of notebook 05's networks: each is what a plain loop makes of it, step by step."""

import numpy as np
import pytest

from helpers.scalar import train_side_by_side


def plain_loop(start, points, labels, order, rate, shared):
    """The same in the mathematics' own letters, one network: its losses and parameters."""
    W, b, V, c = (np.array(p, float) for p in start)
    losses = []
    for n in order:
        x, t = points[n], np.eye(2)[labels[n]]
        h = 1 / (1 + np.exp(-(x @ W + b)))
        y = np.exp(h @ V + c) / np.exp(h @ V + c).sum()
        losses.append(-np.log(y @ t))
        dl_do = y - t
        dl_dh = np.full(3, dl_do[1] * (V[0, 1] + V[1, 1])) if shared else V @ dl_do
        dl_dz = dl_dh * h * (1 - h)
        V, c = V - rate[1] * np.outer(h, dl_do), c - rate[1] * dl_do
        W, b = W - rate[0] * np.outer(x, dl_dz), b - rate[0] * dl_dz
    return losses, [W, b, V, c]


def test_members_train_like_a_plain_loop():
    """Six networks at rates of their own, some with the report's gradient, some with V frozen."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 2))
    labels = (np.square(points).sum(1) > 1).astype(int)
    starts = [[rng.normal(size=s) for s in ((2, 3), 3, (3, 2), 2)] for _ in range(6)]
    before = [[p.copy() for p in start] for start in starts]
    rates, shared = np.linspace([0.05, 0.1], [0.3, 0.2], 6).T, np.arange(6) >= 4
    rates[1, [2, 5]] = 0  # V and c stay
    orders = rng.integers(0, 60, (2, 6, 150))
    losses, stages = train_side_by_side(starts, points, labels, orders, rates, shared)
    assert losses.shape == (6, 2) and len(stages) == 3
    for n, start in enumerate(starts):
        wanted, ends = plain_loop(
            start, points, labels, orders[:, n].ravel(), rates[:, n], shared[n]
        )
        np.testing.assert_allclose(losses[n], np.reshape(wanted, (2, 150)).mean(1), rtol=1e-10)
        for found, first, end in zip(zip(*stages, strict=True), before[n], ends, strict=True):
            np.testing.assert_allclose(found[0][n], first, rtol=0, atol=1e-14)
            np.testing.assert_allclose(found[-1][n], end, rtol=0, atol=1e-11)


def test_one_rate_is_the_same_for_every_network_and_layer():
    rng = np.random.default_rng(1)
    points, labels, orders = (
        rng.normal(size=(9, 2)),
        np.arange(9) % 2,
        rng.integers(0, 9, (1, 2, 9)),
    )
    starts = [[rng.normal(size=s) for s in ((2, 3), 3, (3, 2), 2)] for _ in range(2)]
    rates = (0.1, np.full(2, 0.1), np.full((2, 2), 0.1))
    losses = [train_side_by_side(starts, points, labels, orders, rate)[1][-1][0] for rate in rates]
    np.testing.assert_array_equal(losses[1:], [losses[0]] * 2)


def test_what_does_not_fit_is_refused():
    start, points = [np.ones(s) for s in ((2, 3), 3, (3, 2), 2)], np.ones((4, 2))
    with pytest.raises(ValueError, match="expected 0 and 1"):
        train_side_by_side([start], points, np.arange(4), [np.zeros((1, 2), int)], 0.1)
    with pytest.raises(ValueError, match="expected 1"):
        train_side_by_side([start], points, np.ones(4, int), [np.zeros((2, 2), int)], 0.1)
