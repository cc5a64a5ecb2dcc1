"""One thread per training, and threads that sleep while they wait: set by ``import helpers``."""

import os
import subprocess
import sys

from tests.tools.notebook_tools import PROJECT

SEEN = """
import os
import helpers
import numpy
import torch
from threadpoolctl import threadpool_info
threads = {library["num_threads"] for library in threadpool_info()} | {torch.get_num_threads()}
print(*threads, os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"])
"""


def seen(before: str = "", **chosen: str) -> str:
    """Return what a fresh interpreter sees, after some code, whose user has set these variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    command = [sys.executable, "-c", before + SEEN]
    return subprocess.check_output(command, env=kept | chosen, cwd=PROJECT, text=True).strip()


def test_one_thread_that_sleeps_and_a_users_own_choice_is_respected() -> None:
    """NumPy's and PyTorch's, of which Colab's kernel has imported the first before."""
    assert seen() == seen(before="import numpy") == "1 1 PASSIVE"
    assert seen(OMP_NUM_THREADS="2", OMP_WAIT_POLICY="ACTIVE") == "2 2 ACTIVE"


def test_tests_and_their_kernels_have_it_too() -> None:
    assert {"OMP_NUM_THREADS", "OMP_WAIT_POLICY"} <= {*os.environ}
