"""Write the README's results from the JSON that the notebooks store.

``python -m tests.tools.results_table`` rewrites what stands between the two markers in README.md:
the results that a newcomer understands. The site and the notebooks have them all.
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterable
from functools import cache

from helpers.reporting import VERDICTS, markdown_table
from tests.tools.notebook_tools import PROJECT, notebook_paths, read_notebook, stored_report

README = PROJECT / "README.md"
START, END = "<!-- results:start -->", "<!-- results:end -->"
HEADER = ("Notebook", "Setting", "Reports", "Measured here")
HEADLINES = {  # notebook and how its setting begins -> the same for a newcomer
    ("02", "each at its own best rate"): "iterations to 100% with sigmoid + L2, sigmoid + CE, "
    "ReLU + L2, ReLU + CE, each at its own best rate (at one rate they are 14 to 1 apart)",
    ("03", "XOR, solved in 10,000 iterations, std 0.1"): "XOR: networks that learn it in 10,000 "
    "iterations",
    ("04", "fresh line images right"): "new images right, after training on 512",
    ("05", "ellipse set, loss"): "points in an ellipse: loss with the right gradient",
    ("05", "the same, report's gradient"): "the same with a report's wrong gradient",
    ("06", "N(0, 1), 0.03, 10 epochs on all 60,000 images, asked the last"): "a network tested on "
    "digits that it was trained on",
    ("06", "N(0, 1), 0.03, 10 epochs on all 60,000 images, asked the test"): "the same network on "
    "new digits",
    ("07", "600 images, shift"): "trained on 600 digits, shifted at random (88% without)",
    ("08", "test mistakes in %, 40 steps, equal cost"): "mistakes in % of LeNet-5 and ResNet-18 "
    "after the same computing time, that of 40 steps of ResNet-18",
    ("08", "mistakes of 10,000 test images, stored runs"): "mistakes of the two, of 10,000, after "
    "three epochs of ResNet-18, at equal steps (2,580) or at equal time (56,289 of LeNet-5)",
}


def results_section() -> str:
    """Return the headlines and the count of verdicts, as markdown, with the markers."""
    rows = []
    for (notebook, begin), words in HEADLINES.items():
        found = [row for row in _rows() if row[0][1:3] == notebook and row[1].startswith(begin)]
        assert len(found) == 1, f"{len(found)} results of {notebook} begin with {begin!r}"
        rows.append((found[0][0], words, *found[0][2:]))
    return f"{START}\n{markdown_table(HEADER, rows)}\n\n{verdicts_text(_verdicts())}\n{END}"


def all_results() -> str:
    """Return all results and the count of verdicts, as markdown."""
    return f"{markdown_table(HEADER, _rows())}\n\n{verdicts_text(_verdicts())}\n"


def _rows() -> list[tuple[str, ...]]:
    return [
        (
            f"[{report['notebook'][:2]}](notebooks/{report['notebook']}.ipynb)",
            *(result[key] for key in ("setting", "reported", "measured")),
        )
        for report in _reports()
        for result in report["results"]
    ]


def _verdicts() -> list[str]:
    return [claim["verdict"] for report in _reports() for claim in report["claims"]]


@cache
def _reports() -> list[dict]:
    return [stored_report(read_notebook(path)) for path in notebook_paths()]


def verdicts_text(verdicts: Iterable[str]) -> str:
    """Return how many claims there are, and how many of each verdict that occurs."""
    counted = Counter(verdicts)
    counts = [f"{counted[verdict]} *{verdict}*" for verdict in VERDICTS if verdict in counted]
    return f"Of {counted.total()} claims in the reports, the notebooks find {'; '.join(counts)}."


if __name__ == "__main__":
    argparse.ArgumentParser("python -m tests.tools.results_table", None, __doc__).parse_args()
    text = README.read_text(encoding="utf-8")
    section = results_section()
    text = re.sub(f"{START}.*{END}", lambda _: section, text, flags=re.DOTALL)
    README.write_text(text, encoding="utf-8", newline="\n")
