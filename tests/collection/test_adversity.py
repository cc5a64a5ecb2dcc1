"""A full disk, a read-only checkout, an odd path, a killed kernel, two downloads at once.

Nothing is lost or half written, and the message says what to do. What needs an own file system or
other rights runs in a process of its own.
"""

import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from jupyter_client import KernelManager
from nbformat.v4 import new_code_cell

from helpers import mnist
from helpers.checkpoints import read_checkpoint
from helpers.mnist_download import LIMIT_SECONDS, PREFIX
from tests.collection.trial_notebook import write_notebook
from tests.helpers.small_mnist import write_small_mnist
from tests.tools.execute_notebooks import NativeKernelManager
from tests.tools.notebook_tools import PROJECT, cell_tags, is_taught, read_notebook

NOTEBOOK = "06_mnist_backpropagation"
# Lets a process take the small set under ROOT for MNIST, downloads and all.
ONLINE = """
import sys
import time
from pathlib import Path
from helpers import files, mnist, mnist_download
from tests.helpers.small_mnist import pretend_online, take_for_mnist
root = Path(sys.argv[1])
take_for_mnist(root, setattr)
pretend_online(root, setattr)
"""
LOAD = "print(mnist.load_mnist().description)"
TRAIN = """
import time
import torch
from helpers.minibatch import train_minibatches
def pause(network):
    time.sleep(0.05)
    return {"bias": float(network.bias)}
generator = torch.Generator().manual_seed(0)
network = torch.nn.Linear(1, 1)
torch.nn.init.zeros_(network.weight), torch.nn.init.zeros_(network.bias)
history = train_minibatches(
    network, torch.optim.SGD(network.parameters(), 0.01), torch.nn.functional.mse_loss,
    torch.arange(8.0)[:, None], torch.arange(8.0)[:, None] ** 2,
    batch_size=3, epochs=40, generator=generator, evaluate=pause, checkpoint=CHECKPOINT)
print(history.measured["bias"].tolist(), network.weight.item())
"""


def environment_of(project: Path) -> dict[str, str]:
    """Return an environment in which a checkout's modules are found, and no DATA_ROOT."""
    unset = {"DATA_ROOT", "DIGITS_SOURCE"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    return kept | {"PYTHONPATH": str(project), "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def python(
    code: str, *arguments: object, before: tuple[str, ...] = (), project: Path = PROJECT
) -> subprocess.CompletedProcess[str]:
    """Run code in a new process, in the environment of a checkout."""
    command = [*before, sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(
        command,
        env=environment_of(project),
        cwd=project,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A root with a small set in MNIST's format."""
    write_small_mnist(tmp_path / "mirror")
    return tmp_path / "mirror"


def copy_project(target: Path) -> Path:
    """Copy what a user works with."""
    for name in ("helpers", "data", "tests", "notebooks"):
        ignored = shutil.ignore_patterns("__pycache__", "MNIST", ".*", "[!0]*.ipynb", "test_*")
        shutil.copytree(PROJECT / name, target / name, ignore=ignored)
    shutil.copy(PROJECT / "pyproject.toml", target)
    return target


def first_cells(checkout: Path) -> Path:
    """Cut a checkout's notebook off after the cell that loads the digits."""
    path = checkout / "notebooks" / f"{NOTEBOOK}.ipynb"
    book = read_notebook(path)
    (loads,) = [i for i, c in enumerate(book.cells) if "= load_mnist(" in c.source]
    book.cells = [*book.cells[: loads + 1], new_code_cell("print(digits.description)")]
    return write_notebook(book, path.parent, path.stem)


# ---- a full disk


@cache
def small_disk_command() -> tuple[str, ...]:
    """Return the start of a command that sees a disk of 48 KiB mounted on /mnt."""
    mount = 'mount -t tmpfs -o size=48k none /mnt && exec "$@"'
    command = ("unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh")
    if not shutil.which("unshare") or subprocess.run([*command, "true"], check=False).returncode:
        pytest.skip("a small disk needs Linux's unshare and the right to mount in its namespace")
    return command


def on_small_disk(code: str, *arguments: object) -> str:
    """Run code that sees a full disk as `disk`; return what it prints."""
    begin = "import os\nfrom pathlib import Path\ndisk = Path('/mnt')\n"
    result = python(begin + code, *arguments, before=small_disk_command())
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_full_disk_while_downloading_leaves_nothing_and_the_reason_is_told(mirror: Path) -> None:
    code = """
mnist.DATA_FOLDER = files.DATA_FOLDER = disk
print(mnist.load_mnist().description)
print(sorted(os.listdir(disk)))
os.system("mount -o remount,size=1m /mnt")
print(mnist.load_mnist().description)
"""
    printed = on_small_disk(ONLINE + code, mirror)
    before, _, after = printed.partition("[]\n")
    assert "No space left on device" in before and "Digits in use: bundled digits" in before
    assert mnist.HOW_TO_GET_MNIST in before
    assert after.startswith("Digits in use: MNIST, 40 training")


def test_a_full_disk_leaves_the_checkpoint_before_it() -> None:
    printed = on_small_disk("""
import torch
from helpers.checkpoints import read_checkpoint, write_checkpoint
write_checkpoint({"step": 1}, disk / "run.pt")
try:
    write_checkpoint({"step": 2, "weights": torch.zeros(100_000)}, disk / "run.pt")
except OSError as error:
    print(error.strerror)
print(read_checkpoint(disk / "run.pt")["step"], os.listdir(disk))
""")
    assert printed.splitlines() == ["No space left on device", "1 ['run.pt']"]


def test_a_full_disk_leaves_the_stored_notebook() -> None:
    printed = on_small_disk("""
import sys
from nbformat.v4 import new_code_cell, new_notebook
from tests.tools.execute_notebooks import main
from tests.collection.trial_notebook import write_notebook
sys.stderr = sys.stdout
path = write_notebook(new_notebook(cells=[new_code_cell("print(90_000 * 'a')")]), disk)
before = path.read_bytes()
print(main([str(path)]), path.read_bytes() == before, os.listdir(disk))
""")
    assert "01_trial.ipynb: not stored: [Errno 28] No space left on device" in printed
    assert "make room" in printed
    assert printed.splitlines()[-1] == "1 True ['01_trial.ipynb']"


def test_a_full_disk_leaves_no_part_of_an_edition() -> None:
    printed = on_small_disk("""
import sys
from tests.tools.exercise_edition import main
sys.stderr = sys.stdout
print(main([str(disk / "exercises")]), os.listdir(disk / "exercises"))
""")
    assert "No space left on device" in printed
    assert printed.splitlines()[-1] == "1 []"


# ---- a read-only checkout


@cache
def without_override() -> tuple[str, ...]:
    """Return the start of a command for which read-only files are read-only, even for root."""
    if not hasattr(os, "geteuid"):
        pytest.skip("a folder cannot be made read-only by its mode on this system")
    if os.geteuid() != 0:
        return ()
    if not shutil.which("setpriv"):
        pytest.skip("root needs setpriv to be refused by a read-only folder")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A checkout whose files and folders are read-only."""
    checkout = copy_project(tmp_path / "checkout")
    first_cells(checkout)
    paths = [checkout, *checkout.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    yield checkout
    for path in paths:
        path.chmod(path.stat().st_mode | stat.S_IWUSR)


def test_a_read_only_checkout_can_be_read_and_run(read_only: Path) -> None:
    run = "import sys; from tests.tools.execute_notebooks import main; sys.exit(main(sys.argv[1:]))"
    path = read_only / "notebooks" / f"{NOTEBOOK}.ipynb"
    before = path.read_bytes()
    begin = without_override()
    result = python(run, "--check", path, before=begin, project=read_only)
    assert (result.returncode, result.stderr) == (0, "")
    result = python(run, path, before=begin, project=read_only)
    assert result.returncode == 1 and path.read_bytes() == before
    assert f"{NOTEBOOK}.ipynb: not stored: [Errno 13] Permission denied" in result.stderr
    assert "run with --check" in result.stderr


def test_in_a_read_only_checkout_the_digits_come_with_the_reason(
    read_only: Path, mirror: Path
) -> None:
    result = python(ONLINE + LOAD, mirror, before=without_override(), project=read_only)
    assert "Permission denied" in result.stdout and mnist.HOW_TO_GET_MNIST in result.stdout
    assert "Digits in use: bundled digits" in result.stdout
    assert not (read_only / "data" / "MNIST").exists()


# ---- a path with spaces and letters beyond ASCII


def test_a_path_with_spaces_and_other_letters_changes_nothing(tmp_path: Path, mirror: Path) -> None:
    checkout = copy_project(tmp_path / "Größe und Übung" / "深層 学習")
    path = first_cells(checkout)
    downloaded = python(ONLINE + LOAD, mirror, project=checkout)
    assert downloaded.stdout.startswith("Digits in use: MNIST, 40 training"), downloaded.stderr
    shutil.rmtree(checkout / "data" / "MNIST")
    code = """
import sys
from tests.tools import execute_notebooks, exercise_edition
print(execute_notebooks.main([sys.argv[1]]), exercise_edition.main([sys.argv[2]]))
"""
    result = python(code, path, tmp_path / "Übungen für alle", project=checkout)
    assert (result.stderr, result.stdout.splitlines()[-1]) == ("", "0 0")
    outputs = read_notebook(path).cells[-1].outputs
    assert "Digits in use:" in outputs[0].text
    assert len(list((tmp_path / "Übungen für alle").glob("*.ipynb"))) == 7


# ---- a kernel that is restarted, a process that is killed


@pytest.fixture
def kernel() -> Iterator[KernelManager]:
    manager = KernelManager(kernel_spec_manager=NativeKernelManager().kernel_spec_manager)
    manager.start_kernel(cwd=PROJECT / "notebooks", extra_arguments=["--log-level=ERROR"])
    yield manager
    manager.shutdown_kernel(now=True)


def run_in(manager: KernelManager, code: str, wait: bool = True) -> list[str]:
    """Run code in a kernel; return what it printed, and the error if there is one."""
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    texts: list[str] = []

    def collect(message: dict) -> None:
        content = message["content"]
        if message["msg_type"] == "stream":
            texts.extend(content["text"].splitlines())
        elif message["msg_type"] == "error":
            texts.append(f"{content['ename']}: {content['evalue']}")

    try:
        if wait:
            client.execute_interactive(code, timeout=120, output_hook=collect)
        else:
            client.execute(code)
            while client.get_iopub_msg(timeout=60)["msg_type"] != "execute_input":
                pass  # closing the channels earlier would take the request back
    finally:
        client.stop_channels()
    return texts


def updates_in(checkpoint: Path) -> int:
    return read_checkpoint(checkpoint)["progress"]["step"] if checkpoint.exists() else 0


def test_after_a_restart_the_setup_cell_is_what_is_missing(kernel: KernelManager) -> None:
    cells = read_notebook(PROJECT / "notebooks" / "05_scalar_backpropagation.ipynb").cells
    setup = next(cell.source for cell in cells if "setup" in cell_tags(cell))
    taught = [c.source for c in cells if is_taught(c)]
    assert [run_in(kernel, code) for code in (setup, *taught)] == [[]] * (1 + len(taught))
    kernel.restart_kernel(now=True)
    assert run_in(kernel, "\n".join(taught)) == ["ModuleNotFoundError: No module named 'helpers'"]
    assert "run this cell first, and again whenever the kernel was restarted" in setup
    assert [run_in(kernel, code) for code in (setup, *taught)] == [[]] * (1 + len(taught))


def test_a_training_goes_on_where_a_killed_kernel_left_it(
    kernel: KernelManager, tmp_path: Path
) -> None:
    here = f"import sys\nsys.path.insert(0, {str(PROJECT)!r})\n"
    code = {name: here + TRAIN.replace("CHECKPOINT", repr(str(tmp_path / name))) for name in "ab"}
    uninterrupted = run_in(kernel, code["a"])
    run_in(kernel, code["b"], wait=False)
    deadline = time.monotonic() + 60
    while updates_in(tmp_path / "b") < 9 and time.monotonic() < deadline:
        time.sleep(0.01)
    kernel.restart_kernel(now=True)  # kills it
    assert 9 <= updates_in(tmp_path / "b") < updates_in(tmp_path / "a") == 120
    assert run_in(kernel, code["b"]) == uninterrupted
    assert len(uninterrupted) == 1 and uninterrupted[0].startswith("[0.0, ")


def test_a_download_that_is_killed_is_not_in_the_way_of_the_next(
    mirror: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    set_folder = f"mnist.DATA_FOLDER = files.DATA_FOLDER = Path({str(data)!r})\n"
    slow = "mnist_download.SCRIPT = 'import time; time.sleep(5);' + mnist_download.SCRIPT\n"
    command = [sys.executable, "-c", ONLINE + set_folder + slow + LOAD, str(mirror)]
    process = subprocess.Popen(command, env=environment_of(PROJECT))
    deadline = time.monotonic() + 60
    while not list(data.glob(f"{PREFIX}*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    (left,) = data.iterdir()
    result = python(ONLINE + set_folder + LOAD, mirror)
    assert result.stdout.startswith("Digits in use: MNIST, 40 training"), result.stderr
    assert left.is_dir()  # another download may use it
    shutil.rmtree(data / "MNIST")
    old = time.time() - 3 * LIMIT_SECONDS
    os.utime(left, (old, old))
    assert python(ONLINE + set_folder + LOAD, mirror).returncode == 0
    assert [path.name for path in data.iterdir()] == ["MNIST"]


# ---- two notebooks at once


def test_two_processes_that_download_at_once_both_get_mnist(mirror: Path, tmp_path: Path) -> None:
    data, there = tmp_path / "data", tmp_path / "there"
    data.mkdir(), there.mkdir()
    # Neither goes on before both are downloading; what says so outlasts the faster one.
    meet = f"""
mnist.DATA_FOLDER = files.DATA_FOLDER = Path({str(data)!r})
script = "import os, sys, time, pathlib; there = pathlib.Path({str(there)!r})\\n"
script += "(there / str(os.getpid())).touch()\\n"
script += "while len(list(there.iterdir())) < 2: time.sleep(0.01)\\n"
mnist_download.SCRIPT = script + mnist_download.SCRIPT
"""
    command = [sys.executable, "-c", ONLINE + meet + LOAD, str(mirror)]
    processes = [
        subprocess.Popen(
            command, env=environment_of(PROJECT), stdout=subprocess.PIPE, encoding="utf-8"
        )
        for _ in range(2)
    ]
    printed = [process.communicate(timeout=120)[0] for process in processes]
    assert [text.startswith("Digits in use: MNIST, 40 training") for text in printed] == 2 * [True]
    assert [path.name for path in data.iterdir()] == ["MNIST"]
    assert {path.name for path in (data / mnist.FOLDER).iterdir()} == set(mnist.CHECKSUMS)
