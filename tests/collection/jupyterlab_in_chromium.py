"""Run a notebook as a student does: in JupyterLab, in a browser, with Run → Run All Cells.

`open_notebook` starts a JupyterLab server and a headless Chromium, both for one notebook and both
gone afterwards. The server sees a copy of the project without stored outputs, so that what is found
on the page is from this run and no autosave changes the checkout; it knows none of the user's
Jupyter settings. The `NotebookPage` runs the notebook, reports faults, moves sliders and takes
screenshots. The tests write those to the folder that the environment's ``ARTIFACTS`` names, else
to ``artifacts/`` in the project, which git ignores.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbformat import NotebookNode
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webdriver import WebDriver

from tests.collection.notebook_page import WINDOW, NotebookPage, RunFailed, wait_until
from tests.tools.notebook_tools import PROJECT, read_notebook

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DRIVER = "chromedriver"
BROWSER_OPTIONS = (
    *("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "disable-quic"),
    *("no-first-run", "disable-background-networking", "disable-component-update", "disable-sync"),
)
# Cells outside the window are attached, too; no empty page follows the last cell; and nothing asks
# about news from the network.
LAB_SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none", "scrollPastEnd": False},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
START_SECONDS = 120


class BrowserMissing(Exception):
    """There is no Chromium or no chromedriver; the message tells what to install."""


def find_browser() -> tuple[str, str]:
    """Return the paths of a Chromium (or Chrome) and of its driver, found on the PATH.

    Raises
    ------
    BrowserMissing
        If one of the two is not there. Nothing is downloaded.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which(DRIVER)
    if browser and driver:
        return browser, driver
    missing = [] if browser else ["browser (" + ", ".join(BROWSERS) + ")"]
    missing += [] if driver else [f"browser driver ({DRIVER})"]
    raise BrowserMissing(
        f"no {' and no '.join(missing)} on the PATH; on Debian: "
        "apt-get install chromium chromium-driver"
    )


@contextmanager
def open_notebook(path: Path) -> Iterator[NotebookPage]:
    """Open a copy of the notebook, in a copy of the project, in JupyterLab in Chromium.

    Parameters
    ----------
    path : Path
        The notebook; the file is only read.

    Raises
    ------
    FileNotFoundError
        If there is no such notebook.
    BrowserMissing
        See `find_browser`.
    RunFailed
        If JupyterLab's server does not start or does not show the notebook.
    """
    notebook, (browser, driver) = read_notebook(path), find_browser()
    with TemporaryDirectory(prefix="jupyterlab-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _copy_project(folder / "project", notebook, path.name)
        with _server(folder) as address, _chromium(browser, driver, folder / "profile") as window:
            page = NotebookPage(window, notebook)
            page.open(address.format(f"lab/tree/notebooks/{path.name}"))
            yield page


def _copy_project(target: Path, notebook: NotebookNode, name: str) -> None:
    """Copy what notebooks use, and the notebook without its outputs."""
    for part in ("helpers", "data"):
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(PROJECT / part, target / part, ignore=ignored)
    copied = nbformat.from_dict(notebook)
    for cell in copied.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    (target / "notebooks").mkdir()
    nbformat.write(copied, target / "notebooks" / name)


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    """Run JupyterLab on ``folder/project``; yield its address with ``{}`` for the page."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON"))}
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
    if environment.get("DATA_ROOT"):  # a relative one counts from the checkout, not from the copy
        environment["DATA_ROOT"] = str((PROJECT / environment["DATA_ROOT"]).resolve())
    for plugin, values in LAB_SETTINGS.items():
        file = settings / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(values), encoding="utf-8")
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"]  # 0: any that is free
    command += [f"--ServerApp.root_dir={folder / 'project'}"]
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        wait_until(
            lambda: any(runtime.glob("jpserver-*.json")) or process.poll() is not None,
            START_SECONDS,
            lambda: f"JupyterLab did not start:\n{log.read_text()}",
        )
        if process.poll() is not None:
            raise RunFailed(f"JupyterLab ended at its start:\n{log.read_text()}")
        (information,) = runtime.glob("jpserver-*.json")
        yield json.loads(information.read_text())["url"] + "{}?token=" + token
    finally:
        process.terminate()  # the server ends its kernels
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _chromium(browser: str, driver: str, profile: Path) -> Iterator[WebDriver]:
    """Run a Chromium without a screen and with a profile of its own."""
    options = Options()
    options.binary_location = browser
    for option in (
        *BROWSER_OPTIONS,
        f"user-data-dir={profile}",
        "window-size={},{}".format(*WINDOW),
    ):
        options.add_argument(f"--{option}")
    # With both paths given, selenium looks for nothing on the network.
    window = webdriver.Chrome(options, Service(driver))
    try:
        yield window
    finally:
        window.quit()
