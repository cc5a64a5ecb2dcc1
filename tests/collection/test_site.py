"""The built site in Chromium, without a network: what a reader sees, and that nothing is fetched.

The environment's ``SITE`` names the folder into which `tests.tools.site` built it, as in
``.ci/run``; without it, or without a browser, these tests are skipped.
"""

import base64
import os
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from selenium.webdriver.remote.webdriver import WebDriver

from tests.collection.jupyterlab_in_chromium import chromium, require_browser
from tests.collection.notebook_form import images
from tests.collection.notebook_page import wait_until
from tests.tools.notebook_tools import PROJECT, notebook_paths, read_notebook

SITE = Path(os.environ.get("SITE", ""))
OFFLINE = "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
FIGURES = "return [...document.querySelectorAll('.cell_output img')].map((i) => [i.alt, i.src])"
# Clicks every fold; gives those that were open, or stay closed.
FOLDS = """
return [...document.querySelectorAll("article summary")].filter((summary) => {
  const isOpen = () => summary.nextElementSibling?.checkVisibility();
  return isOpen() || (summary.click(), !isOpen());
}).map((summary) => `this fold does not open: ${summary.innerText}`);
"""
# Waits for MathJax; gives what is not rendered, not drawn, too wide or fetched from elsewhere.
FAULTS = r"""
const [badge, done] = arguments;
const all = (selector) => [...document.querySelectorAll(selector)];
(window.MathJax?.startup.promise ?? Promise.resolve()).then(() => {
  const prose = document.querySelector("article")?.cloneNode(true);
  prose?.querySelectorAll("code, pre, script, mjx-container").forEach((e) => e.remove());
  const text = /\$\$?[^$]*\$|\\[([]|\\begin\{/.exec(prose?.textContent);
  const excess = document.documentElement.scrollWidth - innerWidth;
  const named = {
    "a formula that is not rendered": all(".math").filter((e) => !e.querySelector("mjx-container")),
    "a formula with an error": all('mjx-merror, mjx-mtext[style*="red"]'),
    "not drawn": all("article img").filter((e) => e.src !== badge && !e.naturalWidth),
    "too wide": all("article :is(p, li, h2, summary, img):not(table *, pre *)").filter(
      (e) => e.getBoundingClientRect().right > innerWidth + 1),
  };
  done([
    ...(text ? [`a formula as text: ${text[0].slice(0, 80)}`] : []),
    ...(excess > 0 ? [`the page is ${excess} px too wide`] : []),
    ...Object.entries(named).flatMap(([fault, elements]) =>
      elements.map((e) => `${fault}: ${(e.innerText || e.outerHTML).slice(0, 80)}`)),
    ...performance.getEntriesByType("resource").map((entry) => entry.name).filter(
      (name) => name !== badge && !/^data:/.test(name) && !name.startsWith(location.origin)),
  ]);
});
"""


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    if not SITE.name:
        pytest.skip("SITE names no folder with the site, which `tests.tools.site` builds")
    require_browser()
    handler = partial(SimpleHTTPRequestHandler, directory=SITE)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with chromium(tmp_path_factory.mktemp("profile"), OFFLINE) as window:
            window.get(f"http://127.0.0.1:{server.server_port}/")  # which leads to README.html
            wait_until(lambda: "README" in window.current_url, 30, lambda: f"{SITE} holds no site")
            yield window
        server.shutdown()


def open_page(window: WebDriver, page: str) -> None:
    window.get(url := window.execute_script("return location.origin + '/'") + page)
    loaded = "return document.readyState === 'complete' && location.href"  # get() may be too early
    wait_until(lambda: window.execute_script(loaded) == url, 60, lambda: f"no {page}")


def test_pages_are_whole_and_their_folds_open(window: WebDriver) -> None:
    pages = [path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html")]
    faults = []
    for page in (page for page in pages if not page.startswith(("_static/", "index."))):
        open_page(window, page)
        found = window.execute_script(FOLDS)
        for width in (1280, 400):
            metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            found += window.execute_async_script(FAULTS, BADGE)
        found += [e["message"] for e in window.get_log("browser") if BADGE not in e["message"]]
        faults += [f"{page}: {fault}" for fault in dict.fromkeys(found)]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)
def test_figures_are_the_stored_ones_with_their_alt_texts(path: Path, window: WebDriver) -> None:
    open_page(window, path.relative_to(PROJECT).with_suffix(".html").as_posix())
    shown = window.execute_script(FIGURES)
    stored = [image for cell in read_notebook(path).cells for image in images(cell)]
    assert [alt for alt, _ in shown] == [alt for _, alt in stored]
    files = [SITE / "_images" / src.rpartition("/")[2] for _, src in shown]
    assert [file.read_bytes() for file in files] == [base64.b64decode(data) for data, _ in stored]


def test_search_finds_a_word_with_a_hyphen(window: WebDriver) -> None:
    open_page(window, "search.html?q=cross-entropy")
    found = """return document.querySelector("#search-results li a[href*='01_loss']")"""
    wait_until(lambda: window.execute_script(found), 60, lambda: "nothing found")
