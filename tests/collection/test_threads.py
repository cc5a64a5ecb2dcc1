"""One thread per training, and threads that sleep while they wait: set by ``import helpers``."""

import os
import subprocess
import sys

from tests.tools.notebook_tools import PROJECT

SEEN = """
import os
import helpers
import torch
print(torch.get_num_threads(), os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"])
"""


def seen(**chosen: str) -> str:
    """Return what a fresh interpreter sees whose user has set these variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    command = [sys.executable, "-c", SEEN]
    return subprocess.check_output(command, env=kept | chosen, cwd=PROJECT, text=True).strip()


def test_torch_has_one_thread_that_sleeps_and_a_users_own_choice_is_respected() -> None:
    assert seen() == "1 1 PASSIVE"
    assert seen(OMP_NUM_THREADS="2", OMP_WAIT_POLICY="ACTIVE") == "2 2 ACTIVE"


def test_tests_and_their_kernels_have_it_too() -> None:
    assert {"OMP_NUM_THREADS", "OMP_WAIT_POLICY"} <= {*os.environ}
