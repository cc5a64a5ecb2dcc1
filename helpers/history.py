"""What an ensemble's training leaves behind, and the recorder that collects it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class History:
    """What happened while an ensemble was trained.

    Attributes
    ----------
    seeds : int array, shape (members,)
    curves : name -> float32 array, shape (members, iterations + 1)
        Column t is measured after t updates, so column 0 is the untrained network. A diverged
        member's values are NaN from the iteration at which its loss stopped being finite.
    solved_at : float array, shape (members,)
        The number of updates after which the stopping metric was first 1; infinite if it never was.
    diverged_at : float array, shape (members,)
        The number of updates after which the loss was first not finite; infinite if it always was.
    parameters : name -> tensor, shape (members, ...)
        Each member's parameters when it was first solved (the last ones if it never was): what
        training that member alone would have returned.
    final_parameters : name -> tensor, shape (members, ...)
        The parameters after the last iteration of the whole ensemble.
    snapshots : iteration -> parameters
        Copies taken at the iterations that were asked for, as far as the training got.
    seconds : float
        Wall-clock time of the training loop.
    """

    seeds: np.ndarray
    curves: dict[str, np.ndarray]
    solved_at: np.ndarray
    diverged_at: np.ndarray
    parameters: Parameters
    final_parameters: Parameters
    snapshots: dict[int, Parameters]
    seconds: float

    @property
    def members(self) -> int:
        """Number of networks."""
        return len(self.seeds)

    @property
    def iterations(self) -> int:
        """Number of updates that were made."""
        return next(iter(self.curves.values())).shape[1] - 1

    @property
    def solved(self) -> np.ndarray:
        """Whether each member's stopping metric ever was 1; bool array, shape (members,)."""
        return np.isfinite(self.solved_at)

    def curve(self, name: str, after_solved: str = "keep") -> np.ndarray:
        """One measured quantity of all members, shape (members, iterations + 1).

        `after_solved="keep"` returns the whole curve, `"cut"` sets it to NaN after the iteration
        at which the member was solved, where training that member alone would have ended.
        """
        if name not in self.curves:
            raise KeyError(f"no curve {name!r}; this history has {sorted(self.curves)}")
        if after_solved not in ("keep", "cut"):
            raise ValueError(f"after_solved is 'keep' or 'cut', not {after_solved!r}")
        if after_solved == "keep":
            return self.curves[name]
        later = np.arange(self.iterations + 1) > self.solved_at[:, None]
        return np.where(later, np.nan, self.curves[name])

    def quantiles(self, probabilities: Sequence[float] = (0.25, 0.5, 0.75)) -> np.ndarray:
        """Quantiles of `solved_at`; an unsolved member counts as later than every solved one.

        Returned values are iterations that a member really had (no interpolation, which could not
        cross from a finite number to infinity); infinite where too few members were solved.
        """
        return np.quantile(self.solved_at, probabilities, method="inverted_cdf")


class Recorder:
    """Keeps curves, first solutions, divergences and snapshots while an ensemble trains."""

    def __init__(self, names, n_losses, stop_when, parameters, max_iterations, snapshots_at):
        first = next(iter(parameters.values()))
        self.names, self.n_losses, self.live = names, n_losses, parameters
        self.stop_row = names.index(stop_when) if stop_when else None
        self.values = first.new_empty((max_iterations + 1, len(names), len(first)))
        self.waiting = torch.ones(len(first), dtype=torch.bool, device=first.device)
        self.solved_at = torch.full((len(first),), torch.inf, dtype=torch.float64)
        self.at_solution = None
        self.snapshots_at, self.snapshots = frozenset(snapshots_at), {}
        self.finished = False
        self.iteration = 0

    def record(self, iteration: int, values: Tensor) -> None:
        """Store one iteration's values, shape (names, members)."""
        self.iteration = iteration
        self.values[iteration] = values
        if iteration in self.snapshots_at:
            self.snapshots[iteration] = _copy(self.live)
        if not bool(torch.isfinite(values[: self.n_losses].sum())):
            self.waiting &= torch.isfinite(values[: self.n_losses]).all(0)
        if self.stop_row is None:
            return
        newly = self.waiting & (values[self.stop_row] == 1)
        if bool(newly.any()):
            self._keep_solutions(iteration, newly)
        self.finished = not bool(self.waiting.any())

    def _keep_solutions(self, iteration: int, newly: Tensor) -> None:
        if self.at_solution is None:
            self.at_solution = _copy(self.live)
        for name, kept in self.at_solution.items():
            kept[newly] = self.live[name].detach()[newly]
        self.solved_at[newly.cpu()] = iteration
        self.waiting &= ~newly

    def history(self, seeds: np.ndarray, seconds: float) -> History:
        values = self.values[: self.iteration + 1].float().cpu().numpy().transpose(1, 2, 0)
        broken = ~np.isfinite(values[: self.n_losses]).all(0)  # (members, iterations + 1)
        diverged_at = np.where(broken.any(1), broken.argmax(1), np.inf)
        values = np.where(np.maximum.accumulate(broken, axis=1), np.nan, values)
        final = _copy(self.live)
        solved_at = self.solved_at.numpy()
        solved = torch.as_tensor(np.isfinite(solved_at))
        kept = self.at_solution or final
        parameters = {
            name: torch.where(
                solved.to(last.device).view(-1, *[1] * (last.dim() - 1)), kept[name], last
            )
            for name, last in final.items()
        }
        curves = dict(zip(self.names, values, strict=True))
        return History(
            seeds, curves, solved_at, diverged_at, parameters, final, self.snapshots, seconds
        )


def _copy(parameters: Parameters) -> Parameters:
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}
