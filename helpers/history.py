"""What the training of many networks leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

Parameters = dict[str, Tensor]  # name -> tensor, shape (members, ...)


@dataclass(frozen=True)
class History:
    """What happened while one network per seed was trained.

    A member's training ends when it is solved or has diverged, else with all others.

    Attributes
    ----------
    seeds : int array, shape (members,)
    curves : name -> float32 array, shape (members, points)
        Point t is measured after t updates: on all samples (then there is one more point than
        updates), or on the next mini-batch. NaN once a member has diverged or its training ended.
    solved_at, diverged_at : float arrays, shape (members,)
        Updates until the stopping metric was first 1, or a loss not finite; infinite if never.
    parameters : name -> tensor, shape (members, ...)
        Parameters and running statistics when each member's training ended.
    snapshots : iteration -> parameters, as far as the training got
    seconds : float, wall-clock time
    """

    seeds: np.ndarray
    curves: dict[str, np.ndarray]
    solved_at: np.ndarray
    diverged_at: np.ndarray
    parameters: Parameters
    snapshots: dict[int, Parameters]
    seconds: float

    @property
    def members(self) -> int:
        return len(self.seeds)

    @property
    def iterations(self) -> int:
        """The number of points of the curves, less the one before the first update."""
        return next(iter(self.curves.values())).shape[1] - 1

    @property
    def solved(self) -> np.ndarray:
        """Whether each member's stopping metric ever was 1; bool array, shape (members,)."""
        return np.isfinite(self.solved_at)

    def curve(self, name: str, after_end: str = "keep") -> np.ndarray:
        """One curve of all members; `after_end="keep"` repeats a solved member's last value.

        With "cut" it is NaN there. Another name is a KeyError, another word a ValueError.
        """
        if name not in self.curves:
            raise KeyError(f"no curve {name!r}; this history has {sorted(self.curves)}")
        if after_end not in ("keep", "cut"):
            raise ValueError(f"after_end is 'keep' or 'cut', not {after_end!r}")
        if after_end == "cut":
            return self.curves[name]
        last = np.minimum(np.arange(self.iterations + 1), self.solved_at[:, None]).astype(int)
        return np.take_along_axis(self.curves[name], last, axis=1)

    def quantiles(self, probabilities: Sequence[float] = (0.25, 0.5, 0.75)) -> np.ndarray:
        """Quantiles of `solved_at`, without interpolation: unsolved members come last."""
        return np.quantile(self.solved_at, probabilities, method="inverted_cdf")
