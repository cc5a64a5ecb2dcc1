"""Run notebooks as a student does: in JupyterLab, in a browser, with Run → Run All Cells.

`jupyterlab` starts one JupyterLab server and one headless Chromium, both gone afterwards. The
server sees a copy of the project without stored outputs, so that what is on a page is from this run
and no autosave changes the checkout; it knows none of the user's Jupyter settings.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webdriver import WebDriver

from tests.collection.notebook_page import NotebookPage, wait_until
from tests.tools.notebook_tools import PROJECT, read_notebook

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DRIVER = "chromedriver"
BROWSER_OPTIONS = (
    *("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "disable-quic"),
    *("no-first-run", "disable-background-networking", "disable-component-update", "disable-sync"),
    "window-size=1440,900",  # a common laptop's
)
# Cells outside the window are attached, too, and nothing asks about news from the network.
LAB_SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
START_SECONDS = 300


def find_browser() -> tuple[str, str] | None:
    """Return the paths of a Chromium or Chrome and of its driver on the PATH, None without one."""
    browser, driver = next(filter(None, map(shutil.which, BROWSERS)), None), shutil.which(DRIVER)
    return (browser, driver) if browser and driver else None


def require_browser() -> None:
    """Skip the test where there is no browser, but fail it where ``REQUIRE_BROWSER`` is set."""
    if not find_browser():
        advice = "no Chromium with chromedriver; on Debian: apt-get install chromium-driver"
        pytest.fail(advice) if os.environ.get("REQUIRE_BROWSER") else pytest.skip(advice)


@contextmanager
def jupyterlab(notebooks: Sequence[Path]) -> Iterator[Callable[[Path], NotebookPage]]:
    """Give a function that opens one of these notebooks, which are only read."""
    with TemporaryDirectory(prefix="jupyterlab-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _copy_project(folder / "project", notebooks)
        with _server(folder) as address, chromium(folder / "profile") as window:

            def open_notebook(path: Path) -> NotebookPage:
                page = NotebookPage(window, read_notebook(path))
                # A workspace for each, or the last notebook's tab would be opened, too.
                page.open(address.format(f"lab/workspaces/{path.stem}/tree/notebooks/{path.name}"))
                return page

            yield open_notebook


def _copy_project(target: Path, notebooks: Sequence[Path]) -> None:
    """Copy what notebooks use, and the notebooks without their outputs."""
    for part in ("helpers", "data"):
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(PROJECT / part, target / part, ignore=ignored)
    (target / "notebooks").mkdir()
    for path in notebooks:
        copied = read_notebook(path)
        for cell in copied.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(copied, target / "notebooks" / path.name)


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    """Run JupyterLab on ``folder/project``; yield its address with ``{}`` for the page."""
    unset = ("JUPYTER", "IPYTHON", "DATA_ROOT")  # the copy has its own data
    environment = {k: v for k, v in os.environ.items() if not k.startswith(unset)}
    token, runtime, settings = secrets.token_hex(), folder / "runtime", folder / "settings"
    environment |= {
        "JUPYTER_TOKEN": token,  # not on the command line, where everybody could read it
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "share"),  # where a user's own python3 kernel would be
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    for plugin, values in LAB_SETTINGS.items():
        file = settings / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(values), encoding="utf-8")
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"]  # 0: any that is free
    command += [f"--ServerApp.root_dir={folder / 'project'}"]
    # The kernel of a page that was left ends and gives its memory back.
    command += ["--MappingKernelManager.cull_idle_timeout=60"]
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        wait_until(
            lambda: any(runtime.glob("jpserver-*.json")) or process.poll() is not None,
            START_SECONDS,
            log.read_text,
        )
        assert process.poll() is None, f"JupyterLab ended at its start:\n{log.read_text()}"
        (information,) = runtime.glob("jpserver-*.json")
        yield json.loads(information.read_text())["url"] + "{}?token=" + token
    finally:
        process.terminate()  # the server ends its kernels
        try:
            process.wait(timeout=30)
        finally:
            process.kill()


@contextmanager
def chromium(profile: Path, *more_options: str) -> Iterator[WebDriver]:
    """Run a Chromium without a screen and with a profile of its own."""
    browser, driver = find_browser()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for option in (*BROWSER_OPTIONS, *more_options, f"user-data-dir={profile}"):
        options.add_argument(f"--{option}")
    # With both paths given, selenium looks for nothing on the network.
    window = webdriver.Chrome(options, Service(driver))
    try:
        yield window
    finally:
        window.quit()
