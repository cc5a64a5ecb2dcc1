"""Notebook 05's network, for many seeds at once: one sample, one update, in NumPy."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.special import expit  # SciPy comes with scikit-learn

Parameters = Sequence[np.ndarray]


def train_side_by_side(
    starts: Sequence[Parameters],
    points: np.ndarray,
    labels: np.ndarray,
    orders: Iterable[np.ndarray],
    learning_rate: float | np.ndarray,
    shared: bool | np.ndarray = False,
) -> tuple[np.ndarray, list[list[np.ndarray]]]:
    """Train n networks 2 -> 3 sigmoid -> 2 softmax, each one sample at a time, side by side.

    `starts` holds W (2, 3), b (3,), V (3, 2) and c (2,) of each network, `points` (samples, 2) and
    `labels` (samples,) the data. Each of `orders`, (n, steps), has the numbers of the samples that
    each network takes one after the other. `learning_rate` is one number, (n,), or (2, n): that of
    W and b, and that of V and c. Where `shared`, (n,), is true, every hidden unit is given
    ∂l/∂o_1 (V_01 + V_11), as in the report, in place of its own gradient. Returns the mean losses,
    (n, orders), each taken before its own update, and before the first and after each of the orders
    W (n, 2, 3), b, V and c. ValueError for labels other than 0, 1, or orders of other networks.
    """
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels {np.unique(labels)}; expected 0 and 1")
    each = zip(*starts, strict=True)
    W, b, V, c = (np.stack([np.array(p, float) for p in ps], -1) for ps in each)
    weights, rows = np.concatenate([W, b[None]]), np.concatenate([V, c[None]])
    # A bias is the weight of an input 1. The softmax of two logits needs their difference alone;
    # what it does to one it undoes to the other, so that their sum stays.
    d, total = rows[:, 1] - rows[:, 0], rows[:, 1] + rows[:, 0]  # (4, n)
    fixed, h, losses, stages = (total[0] + total[1]) / 2, np.ones_like(d), [], []
    one, half = h[:3].copy(), h[0] / 2  # arrays: faster than numbers
    rate, twice = np.broadcast_to(learning_rate, (2, len(starts))) * [[1.0], [2.0]]
    any_shared = np.any(shared)

    def keep() -> None:
        V = np.stack([total - d, total + d], -1).swapaxes(0, 1) / 2  # (n, 4, 2)
        W = np.moveaxis(weights, -1, 0).copy()  # (n, 3, 3)
        stages.append([W[:, :2], W[:, 2], V[:, :3], V[:, 3]])

    keep()
    for order in orders:
        if len(order) != len(starts):
            raise ValueError(f"an order for {len(order)} networks; expected {len(starts)}")
        x = np.ones((order.shape[1], 3, 1, len(order)))
        x[:, :2, 0] = points[order].transpose(1, 2, 0)
        t, units = np.ascontiguousarray(labels[order].T, float), h[:3]  # (steps, n), (3, n)
        logits = np.empty_like(t)  # o_1 - o_0
        for x_now, t_now, logit in zip(x, t, logits, strict=True):
            expit(np.add.reduce(weights * x_now, 0), units)
            np.add.reduce(h * d, 0, None, logit)
            error, signal = expit(logit) - t_now, d[:3]
            if any_shared:
                signal = np.where(shared, (d[0] + d[1]) * half + fixed, signal)
            slope = units * (one - units) * (signal * (rate * error))  # before d moves
            d -= (twice * error) * h  # V_j0 and V_j1 both move
            weights -= x_now * slope
        losses.append(np.logaddexp(0, np.where(t == 1, -logits, logits)).mean(0))
        keep()
    return np.array(losses).T, stages
