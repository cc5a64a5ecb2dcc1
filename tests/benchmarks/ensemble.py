"""Many networks at once against a plain PyTorch loop: ``python -m tests.benchmarks.ensemble``.

Both train the same network on the same data, with losses and accuracies recorded, on one thread.
Rounds of both alternate; each ratio is the median over the rounds of the plain loop's time for one
iteration of one network over the stack's. What is required was set before the trainer was written.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import helpers  # noqa: F401 - before torch: sets how many threads it takes
from helpers.datasets import generate_random
from helpers.objectives import (
    accuracy,
    binary_accuracy,
    binary_cross_entropy,
    cross_entropy,
    squared_error,
)
from helpers.training import train, truncated_normal_
from tests.tools.notebook_tools import load_implementation

ADAM = partial(torch.optim.Adam, fused=True)


def l2_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return F.mse_loss(torch.sigmoid(logits), labels)


class UnknownSigmoid(nn.Module):
    """A sigmoid that the trainer has no slope for: autograd differentiates."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.sigmoid(z)


def one_hidden_layer(activation: type[nn.Module]) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 4), activation(), nn.Linear(4, 1))


def three_layers() -> nn.Module:
    widths = nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    return nn.Sequential(nn.Flatten(), *widths)


def problems() -> dict[str, tuple]:
    """Name -> (network, inputs, labels, plain loss, the trainer's loss, required ratios, options).

    The required ratios are those for each number of members; 0 where none is required.
    """
    losses = {
        "L2": (l2_loss, squared_error),
        "CE": (F.binary_cross_entropy_with_logits, binary_cross_entropy),
    }
    data = generate_random(seed=0)
    images = torch.tensor(data.images, dtype=torch.float32)
    labels = torch.tensor(data.labels, dtype=torch.float32)
    by_hand, by_autograd = {64: 80, 256: 150, 1024: 180}, {64: 35, 256: 65, 1024: 75}
    found = {}
    for name, activation in (("sigmoid", nn.Sigmoid), ("ReLU", nn.ReLU)):
        for loss, pair in losses.items():
            make = partial(one_hidden_layer, activation)
            found[f"{name} + {loss}"] = make, images, labels, *pair, by_hand, {}
    make = partial(one_hidden_layer, UnknownSigmoid)
    found["sigmoid + CE, autograd"] = make, images, labels, *losses["CE"], by_autograd, {}
    lesson = load_implementation("04_convolutional_network")
    make, line = lesson.ConvolutionalNetwork, lesson.generate_line(seed=0)
    pictures = torch.tensor(line.images[:, None], dtype=torch.float32)
    sides = torch.tensor(line.labels, dtype=torch.float32)
    found["convolutional"] = make, pictures, sides, *losses["CE"], {32: 0}, {}
    rng = torch.Generator().manual_seed(0)
    digits, classes = torch.rand(3200, 1, 28, 28, generator=rng), torch.randint(10, (3200,))
    options = {"batch_size": 64, "optimizer": ADAM, "learning_rate": 0.001}
    pair = F.cross_entropy, cross_entropy
    found["784-128-64-10, Adam"] = three_layers, digits, classes, *pair, {5: 1}, options
    return found


def seconds_of_plain_loop(make, inputs, labels, loss: Callable, iterations: int, options) -> float:
    """Seconds per iteration of one network, trained the ordinary way."""
    network = make()
    truncated_normal_(network, torch.Generator().manual_seed(0))
    optimizer = options.get("optimizer", torch.optim.SGD)
    optimizer = optimizer(network.parameters(), lr=options.get("learning_rate", 0.1))
    size, losses, accuracies = options.get("batch_size", len(inputs)), [], []
    order = torch.randperm(len(inputs))
    begin = time.perf_counter()
    for i in range(iterations):
        chosen = order[i * size % len(inputs) :][:size] if size < len(inputs) else slice(None)
        outputs, targets = network(inputs[chosen]), labels[chosen]
        outputs = outputs.flatten() if outputs[0].numel() == 1 else outputs
        value = loss(outputs, targets)
        losses.append(value.item())
        if outputs.dim() == 1:
            right = binary_accuracy(outputs, targets)
        else:
            right = outputs.argmax(1) == targets
        accuracies.append(right.float().mean().item())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return (time.perf_counter() - begin) / iterations


def seconds_of_stack(make, inputs, labels, loss, members: int, iterations: int, options) -> float:
    """Seconds per iteration of so many networks together."""
    metric = accuracy if loss is cross_entropy else binary_accuracy
    settings = {"metrics": {"accuracy": metric}, "iterations": iterations, **options}
    history = train(make, range(members), inputs, labels, {"loss": loss}, **settings)
    return history.seconds / iterations


def measure(problem: tuple, rounds: int) -> dict[int | str, float]:
    """Members -> median ratio; "plain" -> median seconds of the plain loop's iteration."""
    make, inputs, labels, plain_loss, loss, required, options = problem
    iterations = 200 if inputs[0].numel() < 100 else 20
    plain, ratios = [], {members: [] for members in required}
    for _ in range(rounds):
        for members, found in ratios.items():
            plain.append(
                seconds_of_plain_loop(make, inputs, labels, plain_loss, iterations, options)
            )
            stacked = seconds_of_stack(make, inputs, labels, loss, members, iterations, options)
            found.append(members * plain[-1] / stacked)
    return {members: float(np.median(found)) for members, found in ratios.items()} | {
        "plain": float(np.median(plain))
    }


def main() -> int:
    """Print the ratios; the exit status is 1 if one of them misses what is required."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print("ratios: plain loop / stack, per iteration of one network (required)")
    missed = []
    for name, problem in problems().items():
        found, required = measure(problem, rounds), problem[5]
        cells = [f"{m} members {found[m]:6.1f} ({least})" for m, least in required.items()]
        print(f"{name:<24}{1e6 * found['plain']:6.0f} us  " + "  ".join(cells), flush=True)
        missed += [f"{name}, {m}" for m, least in required.items() if found[m] < least]
    print("missed by: " + "; ".join(missed) if missed else "all met")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
