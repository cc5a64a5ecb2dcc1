"""Pure Python against PyTorch, one sample at a time: ``python -m tests.benchmarks.scalar``.

Both train notebook 05's network, 2 -> 3 sigmoid -> 2 softmax, from the same weights on the same
samples of the ellipse set: forward, backward and an update of stochastic gradient descent for each
sample. PyTorch does so in two ways: the usual one, `nn.Module` and `torch.optim.SGD`, and a lean
one with bare tensors. Rounds alternate, and the fastest round of each counts, because other work
on the machine can only slow a round down. Everything runs on one thread, in 64 bits.
"""

import argparse
import sys
import time
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tests.tools.notebook_tools import load_implementation

LEARNING_RATE = 0.01
REQUIRED_SPEEDUP = 5.0  # per sample, against each of PyTorch's two ways
AGREEMENT = 1e-9  # of the trained weights


def pure_python(lesson, points, labels) -> tuple[float, list]:
    """Seconds per sample, and the trained parameters W, b, V, c."""
    parameters = lesson.initial_parameters(0)
    points, labels, order = points.tolist(), labels.tolist(), range(len(labels))
    begin = time.perf_counter()
    lesson.train_epoch(parameters, points, labels, order, LEARNING_RATE)
    return (time.perf_counter() - begin) / len(order), list(map(np.array, parameters))


def samples_of(points, labels) -> list:
    """Pairs of tensors (1, 2) and (1,), made before the clock starts."""
    return list(zip(torch.tensor(points)[:, None], torch.tensor(labels)[:, None], strict=True))


def torch_module(lesson, points, labels) -> tuple[float, list]:
    """The same with `nn.Module`, `F.cross_entropy` and `torch.optim.SGD`."""
    network = nn.Sequential(nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 2)).double()
    for value, parameter in zip(lesson.initial_parameters(0), network.parameters(), strict=True):
        parameter.data = torch.tensor(np.array(value).T.copy())
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE)
    samples, total = samples_of(points, labels), 0.0
    begin = time.perf_counter()
    for x, target in samples:
        optimizer.zero_grad()
        loss = F.cross_entropy(network(x), target)
        loss.backward()
        optimizer.step()
        total += loss.item()
    seconds = (time.perf_counter() - begin) / len(samples)
    return seconds, [p.detach().numpy().T for p in network.parameters()]


def torch_tensors(lesson, points, labels) -> tuple[float, list]:
    """The same with bare tensors, `torch.autograd.grad` and an update in place."""
    parameters = [
        torch.tensor(value, dtype=torch.float64, requires_grad=True)
        for value in lesson.initial_parameters(0)
    ]
    W, b, V, c = parameters
    samples, total = samples_of(points, labels), 0.0
    begin = time.perf_counter()
    for x, target in samples:
        logits = torch.addmm(c, torch.sigmoid(torch.addmm(b, x, W)), V)
        loss = F.cross_entropy(logits, target)
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=LEARNING_RATE)
        total += loss.item()
    seconds = (time.perf_counter() - begin) / len(samples)
    return seconds, [p.detach().numpy() for p in parameters]


def measure(rounds: int, count: int) -> dict[str, float]:
    """Fastest seconds per sample of each; raises AssertionError if the trained weights differ."""
    lesson = load_implementation("05_scalar_backpropagation")
    data = lesson.generate_ellipse(count, seed=0)
    runs = {
        "pure Python": partial(pure_python, lesson, data.points, data.labels),
        "PyTorch, module and optimiser": partial(torch_module, lesson, data.points, data.labels),
        "PyTorch, bare tensors": partial(torch_tensors, lesson, data.points, data.labels),
    }
    fastest = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        trained = {}
        for name, run in runs.items():
            seconds, trained[name] = run()
            fastest[name] = min(fastest[name], seconds)
        for name, parameters in trained.items():
            for mine, theirs in zip(trained["pure Python"], parameters, strict=True):
                np.testing.assert_allclose(theirs, mine, rtol=0, atol=AGREEMENT, err_msg=name)
    return fastest


def main() -> int:
    """Print the ratios; the exit status is 1 if one of them misses what is required."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--samples", type=int, default=2000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    fastest = measure(options.rounds, options.samples)
    own = fastest.pop("pure Python")
    print(f"pure Python: {1e6 * own:.1f} us per sample")
    for name, seconds in fastest.items():
        print(f"{name}: {1e6 * seconds:.1f} us per sample, {seconds / own:.1f} x")
    missed = [name for name, seconds in fastest.items() if seconds / own < REQUIRED_SPEEDUP]
    print(f"required: {REQUIRED_SPEEDUP:g} x; " + ("missed" if missed else "met"))
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
