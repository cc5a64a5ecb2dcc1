"""The ensemble trainer against a plain PyTorch loop: ``python -m tests.benchmarks.ensemble``.

Both train notebook 02's network on its data, with the same losses and accuracies recorded. Rounds
of both alternate, and the fastest round of each counts, because other work on the machine can only
slow a round down. Everything runs on one thread; the tensors are too small for more.
"""

import argparse
import subprocess
import sys
import time
from functools import partial

import torch

from helpers.datasets import generate_random
from helpers.training import binary_accuracy, train_ensemble, truncated_normal_
from tests.tools.notebook_tools import load_implementation

MEMBERS = (1, 16, 64, 256)
REQUIRED_SPEEDUP = 20.0  # of 64 members, per iteration of one network
REQUIRED_GROWTH = 2.5  # cost of 256 members over that of 64, at most


def seconds_of_plain_loop(make_network, loss, images, labels, iterations: int) -> float:
    """Seconds per iteration of one network, trained the ordinary way."""
    network = make_network()
    truncated_normal_(network, torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    losses, accuracies = [], []
    begin = time.perf_counter()
    for _ in range(iterations):
        logits = network(images)
        value = loss(logits, labels)
        losses.append(value.item())
        accuracies.append(binary_accuracy(logits, labels).item())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return (time.perf_counter() - begin) / iterations


def seconds_of_ensemble(make_network, loss, images, labels, iterations: int, members: int) -> float:
    """Seconds per iteration of an ensemble of `members`."""
    history = train_ensemble(
        make_network,
        range(members),
        images,
        labels,
        {"loss": loss},
        metrics={"accuracy": binary_accuracy},
        max_iterations=iterations,
    )
    return history.seconds / iterations


def problem(setting: str) -> tuple:
    """Network, loss and data of one of notebook 02's settings: the arguments of both loops."""
    lesson = load_implementation("02_fully_connected_network")
    activation, loss_name = setting.split(" + ")
    activations = {"sigmoid": torch.sigmoid, "ReLU": torch.relu}
    loss = {"L2": lesson.l2_loss, "CE": lesson.cross_entropy}[loss_name]
    data = generate_random(seed=0)
    images = torch.tensor(data.images, dtype=torch.float32)
    labels = torch.tensor(data.labels, dtype=torch.float32)
    return partial(lesson.FullyConnected, activations[activation]), loss, images, labels


def measure(setting: str, rounds: int, iterations: int) -> dict[str | int, float]:
    """Fastest seconds per iteration: of the plain loop ("plain") and of each ensemble size."""
    task = problem(setting)
    runs = {"plain": partial(seconds_of_plain_loop, *task, iterations)} | {
        members: partial(seconds_of_ensemble, *task, iterations, members) for members in MEMBERS
    }
    fastest = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            fastest[name] = min(fastest[name], run())
    return fastest


def memory_mib(members: int, iterations: int) -> float:
    """Peak resident memory of a fresh process that trains an ensemble; 0 members: only imports.

    Read from `resource`, which Windows lacks.
    """
    script = (
        "import resource, sys; from tests.benchmarks.ensemble import train_once; "
        f"train_once({members}, {iterations}); "
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
        "print(peak / (2**20 if sys.platform == 'darwin' else 2**10))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    return float(result.stdout)


def train_once(members: int, iterations: int) -> None:
    """Train sigmoid + CE once; with 0 members only load the problem."""
    task = problem("sigmoid + CE")
    if members:
        seconds_of_ensemble(*task, iterations, members)


def main() -> int:
    """Print the ratios; the exit status is 1 if one of them misses what is required."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=300)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("setting       plain loop   speed-up per network-iteration at members    256 : 64 cost")
    missed = []
    for setting in ("sigmoid + L2", "sigmoid + CE", "ReLU + L2", "ReLU + CE"):
        seconds = measure(setting, options.rounds, options.iterations)
        speedups = {m: seconds["plain"] * m / seconds[m] for m in MEMBERS}
        growth = seconds[256] / seconds[64]
        cells = "  ".join(f"{m}: {speedup:5.1f} x" for m, speedup in speedups.items())
        plain = f"{1e6 * seconds['plain']:7.0f} us"
        print(f"{setting:<13} {plain}   {cells}   {growth:.2f}", flush=True)
        if speedups[64] < REQUIRED_SPEEDUP or growth > REQUIRED_GROWTH:
            missed.append(setting)
    base = memory_mib(0, 1)
    for members in (64, 256):
        peak = memory_mib(members, 10_000)
        print(
            f"memory, {members} members, 10,000 iterations: {peak:.0f} MiB, "
            f"{peak - base:.0f} above an idle process ({peak / base:.2f} times it)"
        )
    print(f"required: {REQUIRED_SPEEDUP:g} x at 64, at most {REQUIRED_GROWTH:g} for 256 : 64")
    print("missed by: " + ", ".join(missed) if missed else "met by all settings")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
