"""Settings of all tests, the notebooks' too: workers and kernels inherit this environment."""

import os

import helpers  # noqa: F401 - before NumPy: sets how many threads PyTorch and NumPy take

# isort: split
import matplotlib

# With MNIST two notebooks would take minutes more; .ci/run has a run of its own for them.
os.environ.setdefault("DIGITS_SOURCE", "digits")
# Set here and not by MPLBACKEND, which the notebooks' kernels would inherit.
matplotlib.use("Agg")
