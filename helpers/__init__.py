"""What two or more notebooks share: data, training, checks, figures, reports.

To be imported before PyTorch and NumPy, which read the number of their threads when they start.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

# One thread, which sleeps while it waits. Two threads of PyTorch spin while they wait for each
# other, and on a busy machine that is most of the time: beside one busy process, an iteration of
# notebook 04 took 158 ms with two threads, 68 ms with one, 58 ms with two that sleep. Two trainings
# side by side use two cores better. Who sets these variables is obeyed.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if os.environ.setdefault("OMP_NUM_THREADS", "1") == "1" and "numpy" in sys.modules:
    # Colab's kernel has imported NumPy before, and it takes no notice of the variable any more.
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    threadpool_limits(1)

PACKAGES = {"pooch": "pooch", "sklearn": "scikit-learn", "tqdm": "tqdm", "ipywidgets": "ipywidgets"}
LARGE_PACKAGES = {name: name for name in ("numpy", "matplotlib", "torch", "torchvision")}


def require_packages(install: bool) -> None:
    """Raise ImportError, with the remedy, if this Python lacks a package; `install` some before.

    The large packages are never installed, the others in Colab and Kaggle in any case.
    """
    hosted = "google.colab" in sys.modules or "KAGGLE_KERNEL_RUN_TYPE" in os.environ
    missing = [name for module, name in PACKAGES.items() if find_spec(module) is None]
    if missing and (install or hosted):
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *missing], check=True)
    every = (PACKAGES | LARGE_PACKAGES).items()
    if missing := [name for module, name in every if find_spec(module) is None]:
        requirements = Path(__file__).parent.parent / "requirements.txt"
        raise ImportError(
            f"This kernel's Python, {sys.executable}, has no {', '.join(missing)}. Choose the "
            "kernel in whose environment you installed the requirements, or install them, and "
            f'restart: "{sys.executable}" -m pip install -r "{requirements}"'
        )
