"""Settings of all tests."""

import matplotlib

# Set here and not by MPLBACKEND, which the notebooks' kernels would inherit.
matplotlib.use("Agg")
