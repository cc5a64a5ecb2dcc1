"""Train one network on mini-batches, with measurements, time limits and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from helpers.checkpoints import mismatch, read_checkpoint, write_checkpoint
from helpers.files import file_message
from helpers.progress import progress_bar

Loss = Callable[[Tensor, Tensor], Tensor]
Evaluate = Callable[[nn.Module], Mapping[str, float]]

LIMITS = ("epochs", "max_steps", "max_seconds")
PROGRESS = ("step", "steps", "times", "measured", "before")


@dataclass(frozen=True)
class MinibatchHistory:
    """What happened while a network was trained on mini-batches.

    Attributes
    ----------
    batch_losses : float32 array, shape (steps,)
        The loss of each batch, before the update that it caused.
    steps : int array, shape (measurements,)
        The number of updates made before each measurement; the first is 0, the untrained network.
    seconds : float array, shape (measurements,)
        Wall-clock time of the training up to each measurement; evaluations are not counted.
    measured : name -> float array, shape (measurements,)
        What `evaluate` returned.
    steps_per_epoch : int
    """

    batch_losses: np.ndarray
    steps: np.ndarray
    seconds: np.ndarray
    measured: dict[str, np.ndarray]
    steps_per_epoch: int

    @property
    def epochs(self) -> np.ndarray:
        """The measurements' times in epochs; shape (measurements,)."""
        return self.steps / self.steps_per_epoch


def train_minibatches(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Loss,
    inputs: Tensor,
    labels: Tensor,
    *,
    generator: torch.Generator,
    epochs: int | None = None,
    max_steps: int | None = None,
    max_seconds: float | None = None,
    batch_size: int = 64,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
    evaluate: Evaluate | None = None,
    evaluate_every: int | None = None,
    checkpoint: str | Path | None = None,
) -> MinibatchHistory:
    """Train `network` in place; every sample is seen once an epoch, in a new random order.

    Training ends at the first limit that is reached: `epochs`, `max_steps` or `max_seconds`.

    Parameters
    ----------
    network, optimizer
        Batches are moved to the device of the network's parameters. The network is left in
        training mode.
    loss : function(outputs, labels) returning a scalar tensor, the mean over the batch
    inputs, labels : tensors, shapes (n, ...) and (n,)
    generator : torch.Generator on the CPU
        Orders the samples; with the network's own initialisation it decides the result. Layers
        that draw (dropout) use PyTorch's global generator, as everywhere.
    batch_size : int
        The last batch of an epoch has what is left (batch normalisation needs more than one
        sample).
    scheduler : optional
        Its `step` is called after every update.
    evaluate : function(network) returning name -> number, optional
        Called in evaluation mode and without gradients before the first update, every
        `evaluate_every` updates (default: at the end of each epoch), and after the last one. It
        returns the same names each time.
    checkpoint : path, optional
        Written at each of these moments: weights, optimiser, scheduler, history and random state.
        If the file exists, training continues from it, as if it had never stopped; so calling
        this function again with the same arguments continues an interrupted training, and with
        higher limits prolongs a finished one. The learning rate and its schedule are the
        checkpoint's then.

    Returns
    -------
    MinibatchHistory

    Raises
    ------
    ValueError
        Without any limit, for a limit or size that is not positive, for inputs and labels of
        different lengths, for measurements whose names change, and for a checkpoint that is
        damaged, of another training (seed, sizes, optimiser, scheduler), or beyond the limits.
    TypeError
        For inputs or labels that are no tensors, and for a count that is no integer.

    Notes
    -----
    An interrupted training repeats the updates since its last checkpoint. Equal histories need
    equal measurements: one that stopped at a limit between two of them has measured there, too.
    """
    _check(
        inputs, labels, epochs=epochs, max_steps=max_steps, max_seconds=max_seconds,
        batch_size=batch_size, evaluate_every=evaluate_every,
    )  # fmt: skip
    run = _Run(network, optimizer, scheduler, generator, len(inputs), batch_size)
    steps = _steps(epochs, max_steps, run.steps_per_epoch)
    if checkpoint is not None and Path(checkpoint).exists():
        state = read_checkpoint(Path(checkpoint))
        _require_within(steps, state, Path(checkpoint))
        run.restore(state, Path(checkpoint))
    every = evaluate_every or run.steps_per_epoch

    def pause() -> None:
        run.measure(evaluate)
        if checkpoint is not None:
            write_checkpoint(run.state(), Path(checkpoint))

    if not run.steps:
        pause()
    network.train()
    with progress_bar(None if np.isinf(steps) else steps, initial=run.step) as progress:
        run.start_clock()
        while run.step < steps and (max_seconds is None or run.seconds() < max_seconds):
            run.update(loss, inputs, labels)
            progress.update()
            if run.step % every == 0:
                pause()
                run.start_clock()
    if run.steps[-1] != run.step:
        pause()
    return run.history()


class _Run:
    """One training: its parts, how far it is, and what was measured."""

    def __init__(self, network, optimizer, scheduler, generator, samples, batch_size):
        self.network, self.optimizer, self.scheduler = network, optimizer, scheduler
        self.generator, self.samples, self.batch_size = generator, samples, batch_size
        self.steps_per_epoch = -(-samples // batch_size)
        self.device = next(network.parameters()).device
        self.step = 0
        self.order_state = generator.get_state()
        self.batch_losses: list[Tensor] = []
        self.steps: list[int] = []
        self.times: list[float] = []
        self.measured: list[dict[str, float]] = []
        self.before, self.since = 0.0, None  # seconds up to the last pause, and when it ended

    def start_clock(self) -> None:
        self.since = time.perf_counter()

    def seconds(self) -> float:
        return self.before + (0.0 if self.since is None else time.perf_counter() - self.since)

    def update(self, loss: Loss, inputs: Tensor, labels: Tensor) -> None:
        """Take the next batch and make one step."""
        position = self.step % self.steps_per_epoch
        if position == 0:
            self._draw_order()
        batch = self.order[position * self.batch_size : (position + 1) * self.batch_size]
        outputs = self.network(inputs[batch.to(inputs.device)].to(self.device))
        value = loss(outputs, labels[batch.to(labels.device)].to(self.device))
        self.optimizer.zero_grad()
        value.backward()
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        self.batch_losses.append(value.detach().float())
        self.step += 1

    def _draw_order(self) -> None:
        """Order the samples of an epoch; the state that is kept draws them again."""
        self.order_state = self.generator.get_state()
        self.order = torch.randperm(self.samples, generator=self.generator)

    def measure(self, evaluate: Evaluate | None) -> None:
        """Stop the clock and evaluate the network as it is now."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # what was queued belongs to the training's time
        self.before, self.since = self.seconds(), None
        self.steps.append(self.step)
        self.times.append(self.before)
        self.network.eval()
        with torch.no_grad():
            found = evaluate(self.network) if evaluate else {}
        self.network.train()
        names = list(self.measured[0]) if self.measured else list(found)
        if set(found) != set(names):
            raise ValueError(
                f"evaluate: expected the names of its first measurement, {names}, found "
                f"{list(found)}; return the same names each time"
            )
        self.measured.append({name: float(value) for name, value in found.items()})

    def history(self) -> MinibatchHistory:
        return MinibatchHistory(
            self._losses().numpy(),
            np.array(self.steps),
            np.array(self.times),
            {name: np.array([m[name] for m in self.measured]) for name in self.measured[0]},
            self.steps_per_epoch,
        )

    def _losses(self) -> Tensor:
        return torch.stack(self.batch_losses).cpu() if self.batch_losses else torch.empty(0)

    def _settings(self) -> dict[str, str]:
        """What must be the same for a checkpoint to fit."""
        groups = [len(group["params"]) for group in self.optimizer.param_groups]
        return {
            **{
                f"the network's {name}": f"{tuple(value.shape)} {value.dtype}"
                for name, value in self.network.state_dict().items()
            },
            "the optimiser": f"{type(self.optimizer).__name__} {self.optimizer.defaults}",
            "the optimiser's groups": f"of {groups} tensors",
            "the scheduler": type(self.scheduler).__name__,
            "the data": f"{self.samples} samples in batches of {self.batch_size}",
            "the generator": f"seeded with {self.generator.initial_seed()}",
        }

    def state(self) -> dict:
        on_cuda = self.device.type == "cuda"
        return {
            "settings": self._settings(),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler and self.scheduler.state_dict(),
            "order_state": self.order_state,
            "generator_state": self.generator.get_state(),
            "torch_state": torch.get_rng_state(),
            "cuda_state": torch.cuda.get_rng_state(self.device) if on_cuda else None,
            "progress": {name: getattr(self, name) for name in PROGRESS},
            "batch_losses": self._losses(),
        }

    def restore(self, state: dict, path: Path) -> None:
        """Go on from a checkpoint; nothing is changed if it is one of another training."""
        expected, found = self._settings(), state["settings"]
        for what in expected | found:
            if found.get(what) != expected.get(what):
                raise mismatch(path, what, expected.get(what, "absent"), found.get(what, "none"))
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        for name, value in state["progress"].items():
            setattr(self, name, value)
        self.batch_losses = list(state["batch_losses"].to(self.device))
        self.generator.set_state(state["order_state"])
        self._draw_order()
        self.generator.set_state(state["generator_state"])
        torch.set_rng_state(state["torch_state"])
        if state["cuda_state"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_state"], self.device)


def _steps(epochs: int | None, max_steps: int | None, steps_per_epoch: int) -> float:
    """The number of updates after which training ends, infinite if only time ends it."""
    limits = [np.inf if epochs is None else epochs * steps_per_epoch]
    return min([*limits, np.inf if max_steps is None else max_steps])


def _require_within(steps: float, state: dict, path: Path) -> None:
    """Refuse to return a longer training than the limits ask for."""
    made = state["progress"]["step"]
    if made > steps:
        remedy = "Raise the limits, or delete it to start anew."
        expected = f"a checkpoint of at most {steps} updates, the limit"
        raise ValueError(file_message(path, expected, f"one of {made}", remedy))


def _check(inputs, labels, **numbers) -> None:
    for name, values in {"inputs": inputs, "labels": labels}.items():
        if not isinstance(values, Tensor):
            found = type(values).__name__
            raise TypeError(f"{name}: expected a tensor, found {found}; use torch.as_tensor")
    if len(inputs) != len(labels) or len(inputs) == 0:
        raise ValueError(
            f"inputs and labels have {len(inputs)} and {len(labels)} samples; "
            "expected as many labels as inputs, and at least one"
        )
    for name, value in numbers.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} is {value}; expected a positive number")
        if value is not None and name != "max_seconds" and not isinstance(value, Integral):
            raise TypeError(f"{name} is {value!r}; expected an integer")
    if all(numbers[name] is None for name in LIMITS):
        raise ValueError(f"nothing ends this training; give one of {', '.join(LIMITS)}")
