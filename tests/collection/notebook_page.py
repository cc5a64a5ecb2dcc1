"""A notebook's page in JupyterLab: run it by the menu, look at it, move its sliders.

What is asked of the page itself is in ``notebook_page.js``.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement

from tests.collection.notebook_form import images, is_animated

INSPECTION = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
FOLD_OPENS = [[False, False], [True, True]]  # before and after a click
OPEN_SECONDS = 300
REST_SECONDS = 30


class RunFailed(Exception):
    """A cell raised, took too long or took the kernel with it, or JupyterLab did not answer."""


def wait_until(
    condition: Callable[[], object], seconds: float, complaint: Callable[[], str]
) -> None:
    """Return as soon as `condition` holds; after `seconds`, raise `RunFailed` with `complaint`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RunFailed(f"after {seconds:g} s: {complaint()}")
        time.sleep(0.5)


class NotebookPage:
    """A notebook in JupyterLab, as the browser shows it, beside what is stored of it."""

    def __init__(self, window: WebDriver, notebook: NotebookNode) -> None:
        self.window, self.notebook = window, notebook

    def open(self, url: str) -> None:
        """Open the page; wait until every cell is there and the kernel is idle."""
        self.window.get(url)
        count = len(self.notebook.cells)

        def is_open() -> bool:
            page = self._inspect()
            ready = page["status"] == "idle" and not page["dialog"]
            return ready and len(page["cells"]) == count

        wait_until(is_open, OPEN_SECONDS, lambda: f"{count} cells are expected: {self._state()}")

    def closed_faults(self) -> list[str]:
        """Return what is wrong before a run: captions of collapsed cells, folds; open all folds."""
        found = []
        for cell, seen in self._cells(self._inspect()):
            hidden = cell.metadata.get("jupyter", {}).get("source_hidden", False)
            expected = cell.source.partition("\n")[0] if hidden else ""
            if seen["caption"] != expected or (hidden and not expected.startswith("# @title ")):
                found.append(f"{cell.id}: shows the caption {seen['caption']!r}, not {expected!r}")
        for summary in self.window.find_elements(By.CSS_SELECTOR, ".jp-Notebook summary"):
            before = self._ask("stateOf(arguments[0])", summary)
            self._ask("arguments[0].scrollIntoView({block: 'center'})", summary)
            summary.click()
            if (states := [before, self._ask("stateOf(arguments[0])", summary)]) != FOLD_OPENS:
                found.append(f"fold {summary.text!r}: (open, shows a text) is at first {states}")
        return found

    def run_all(self, seconds: float) -> None:
        """Choose Run → Run All Cells and wait until every code cell ran and the page is at rest.

        Collapsed cells are expanded first, since JupyterLab hides their numbers with their code.

        Raises `RunFailed` when the run stops at a cell, when JupyterLab asks something, for
        instance since the kernel died, and when the time is over. An error in the last cell is
        not raised, but among the `faults`.
        """
        self._click_text(".lm-MenuBar-item", "View")
        self._click_text(".lm-Menu-item", "Expand All Code")
        self._click_text(".lm-MenuBar-item", "Run")
        self._click_text(".lm-Menu-item", "Run All Cells")
        wait_until(self._has_run, seconds, lambda: f"not all cells ran: {self._state()}")
        # MathJax and the widgets are drawn a little later than the kernel is idle.
        before, end = None, time.monotonic() + REST_SECONDS
        while (now := self._inspect()) != before and time.monotonic() < end:
            before = now
            time.sleep(1)

    def _has_run(self) -> bool:
        page = self._inspect()
        if page["dialog"]:
            raise RunFailed(f"JupyterLab asks: {self._state()}")
        code = [(cell, seen) for cell, seen in self._cells(page) if seen["code"]]
        if page["status"] != "idle" or any(seen["running"] for _, seen in code):
            return False
        cell, last = max(code, key=lambda item: item[1]["count"])
        if last["count"] and any(not seen["count"] for _, seen in code):
            raise RunFailed("\n".join([f"cell {cell.id} failed", cell.source, *last["stderr"]]))
        return last["count"] > 0

    def faults(self) -> list[str]:
        """Return what is wrong on the page after `run_all`, a sentence each, with the cell."""
        found = []
        for cell, seen in self._cells(self._inspect()):
            stored = [data for data, _ in images(cell)]
            moving = sum(map(is_animated, stored))
            if seen["images"] < len(stored) or seen["moving"] < moving:
                drawn = f"{seen['images']} figures, of which {seen['moving']} move"
                found.append(f"{cell.id}: {drawn}, {len(stored)} and {moving} are stored")
            found += [f"{cell.id}: {fault}" for fault in seen["faults"]]
        return found

    def sliders(self) -> list[WebElement]:
        """Return the handles of the sliders on the page."""
        return self.window.find_elements(By.CSS_SELECTOR, ".widget-slider .noUi-handle")

    def move_slider(self, handle: WebElement, seconds: float) -> None:
        """Move a slider by a key; wait until the figure in its output has other pixels."""
        before = self._figure_of(handle)
        if before is None:
            raise RunFailed("no figure belongs to the slider")
        at_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
        handle.send_keys(Keys.ARROW_LEFT if at_end else Keys.ARROW_RIGHT)
        wait_until(
            lambda: self._figure_of(handle) not in (None, before),  # None: not yet drawn
            seconds,
            lambda: "the slider moved, but its figure did not change",
        )

    def _figure_of(self, handle: WebElement) -> str | None:
        return self._ask("figureOf(arguments[0])", handle)

    def _click_text(self, selector: str, text: str) -> None:
        """Click the element that shows this text as soon as it is there."""

        def found() -> bool:
            try:
                for element in self.window.find_elements(By.CSS_SELECTOR, selector):
                    if element.text.partition("\n")[0] == text:
                        element.click()
                        return True
            except (StaleElementReferenceException, ElementClickInterceptedException):
                pass  # JupyterLab has drawn the menu again, or asks something
            return False

        wait_until(found, OPEN_SECONDS, lambda: f"cannot click {text!r}: {self._state()}")

    def _state(self) -> str:
        """Describe the page for somebody who was not there."""
        page = self._inspect()
        count = sum(cell["count"] > 0 for cell in page["cells"])
        return (
            f"{len(page['cells'])} cells, of which {count} were run, kernel {page['status']}, "
            f"dialog {page['dialog']!r}"
        )

    def _cells(self, page: dict) -> list[tuple[NotebookNode, dict]]:
        return list(zip(self.notebook.cells, page["cells"], strict=True))

    def _inspect(self) -> dict:
        return self._ask("inspectPage()")

    def _ask(self, expression: str, *arguments: WebElement) -> Any:
        return self.window.execute_script(f"{INSPECTION}return {expression}", *arguments)
