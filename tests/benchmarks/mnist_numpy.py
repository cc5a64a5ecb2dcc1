"""Notebook 06's fast NumPy step: ``[OMP_NUM_THREADS=2] python -m tests.benchmarks.mnist_numpy``.

Compares images per second of the notebook's own implementations, 784 → 300 → 10 with batches of
64: NumPy per image, on batches and fast, PyTorch eager, and the matrix products alone. Rounds of
all alternate and the fastest round of each counts, because other work on the machine can only slow
a round down. NumPy's BLAS and PyTorch have one thread each, or as many as OMP_NUM_THREADS says.
"""

import argparse
import sys

import helpers  # noqa: F401 - before NumPy and PyTorch: sets how many threads they take

# isort: split
import numpy as np
import torch

from tests.tools.notebook_tools import load_implementation

REQUIRED_OVER_TORCH = 1.4  # times PyTorch eager's images per second
REQUIRED_OVER_FLOOR = 1.7  # times the time of the matrix products, at most
REQUIRED_OVER_IMAGE = 25.0  # times the images per second of NumPy per image


def problem(count: int = 10_000) -> tuple[np.ndarray, np.ndarray]:
    """Images with as much ink as MNIST's (a fifth of the pixels), and labels; no data needed."""
    rng = np.random.default_rng(0)
    images = rng.random((count, 784), dtype=np.float32)
    images *= rng.random((count, 784), dtype=np.float32) < 0.2
    return images, rng.integers(10, size=count)


def measure(rounds: int) -> dict[str, float]:
    """Images per second of each contender in its fastest round."""
    lesson = load_implementation("06_mnist_backpropagation")
    images, labels = problem()
    contenders = lesson.make_contenders(images, labels)
    contenders.pop("pure Python")
    # Without the pause a library's idle threads would still spin, on the next one's cores.
    return lesson.images_per_second(contenders, len(images), rounds, pause=0.05)


def ratios(rates: dict[str, float]) -> tuple[float, float, float]:
    """Fast over PyTorch and over NumPy per image, and its time over that of its products."""
    fast = rates["NumPy, fast"]
    return (
        fast / rates["PyTorch eager"],
        rates["matrix products"] / fast,
        fast / rates["NumPy, an image"],
    )


def main() -> int:
    """Print the ratios; the exit status is 1 if one of them misses what is required."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    threads = torch.get_num_threads()
    rates = measure(parser.parse_args().rounds)
    over_torch, over_floor, over_image = ratios(rates)
    print(f"images per second, batches of 64, threads: {threads}")
    for name, rate in rates.items():
        print(f"  {name:<16} {rate:10,.0f}")
    print(f"{over_torch:6.2f}  fast / PyTorch eager")
    print(f"{over_floor:6.2f}  time of fast / of its matrix products")
    print(f"{over_image:6.2f}  fast / NumPy per image")
    # One image is too little work for a second thread; on one thread the matrix products alone are
    # hardly 27 times as fast.
    missed = over_torch < REQUIRED_OVER_TORCH or over_floor > REQUIRED_OVER_FLOOR
    missed |= threads > 1 and over_image < REQUIRED_OVER_IMAGE
    print(
        f"required: at least {REQUIRED_OVER_TORCH:g}, at most {REQUIRED_OVER_FLOOR:g}, and with "
        f"two threads at least {REQUIRED_OVER_IMAGE:g}: {'missed' if missed else 'met'}"
    )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
