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
        Point t is measured after t updates, so point 0 is the untrained network: on all samples
        (then there is one point more than there were updates), or on the mini-batch of the next
        update. NaN after a member's training has ended, and where its loss is not finite.
    solved_at, diverged_at : float arrays, shape (members,)
        The number of updates after which the stopping metric was first 1, or a loss was first not
        finite; infinite if that never was.
    parameters : name -> tensor, shape (members, ...)
        Each member's parameters (and running statistics) when its training ended.
    snapshots : iteration -> parameters
        Copies taken at the iterations that were asked for, as far as the training got; of members
        whose training had ended, what they ended with.
    evaluations : data's name -> {name -> float32 array, shape (members, evaluations)}
        Losses and metrics on other data; NaN once a member's training has ended.
    evaluated_at, evaluated_after : float arrays, shape (members, evaluations)
        The updates, and the seconds of training, before each evaluation.
    seconds : float
        Wall-clock time of the training, without evaluations.
    """

    seeds: np.ndarray
    curves: dict[str, np.ndarray]
    solved_at: np.ndarray
    diverged_at: np.ndarray
    parameters: Parameters
    snapshots: dict[int, Parameters]
    evaluations: dict[str, dict[str, np.ndarray]]
    evaluated_at: np.ndarray
    evaluated_after: np.ndarray
    seconds: float

    @property
    def members(self) -> int:
        """Number of networks."""
        return len(self.seeds)

    @property
    def iterations(self) -> int:
        """Number of points of the longest curve, less the one before the first update."""
        return next(iter(self.curves.values())).shape[1] - 1

    @property
    def solved(self) -> np.ndarray:
        """Whether each member's stopping metric ever was 1; bool array, shape (members,)."""
        return np.isfinite(self.solved_at)

    def curve(self, name: str, after_end: str = "keep") -> np.ndarray:
        """One measured quantity of all members, shape (members, points).

        `after_end="keep"` repeats a solved member's last value up to the last point, `"cut"` leaves
        NaN there. A diverged member's values are NaN either way.
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
        """Quantiles of `solved_at`; an unsolved member counts as later than every solved one.

        Returned values are iterations that a member really had (no interpolation, which could not
        cross from a finite number to infinity); infinite where too few members were solved.
        """
        return np.quantile(self.solved_at, probabilities, method="inverted_cdf")
