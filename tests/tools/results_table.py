"""Write the README's results from the JSON that the notebooks store.

``python -m tests.tools.results_table`` rewrites what stands between the two markers in README.md.
"""

import re
from collections import Counter
from collections.abc import Iterable

from helpers.reporting import VERDICTS, markdown_table
from tests.tools.notebook_tools import PROJECT, notebook_paths, read_notebook, stored_report

README = PROJECT / "README.md"
START, END = "<!-- results:start -->", "<!-- results:end -->"


def results_section() -> str:
    """Return the results table and the count of verdicts, as markdown, with the markers."""
    reports = [stored_report(read_notebook(path)) for path in notebook_paths()]
    rows = [
        (
            f"[{report['notebook'][:2]}](notebooks/{report['notebook']}.ipynb)",
            result["setting"],
            result["reported"],
            result["measured"],
        )
        for report in reports
        for result in report["results"]
    ]
    verdicts = (claim["verdict"] for report in reports for claim in report["claims"])
    table = markdown_table(("Notebook", "Setting", "Reports", "Measured here"), rows)
    return f"{START}\n{table}\n\n{verdicts_text(verdicts)}\n{END}"


def verdicts_text(verdicts: Iterable[str]) -> str:
    """Return how many claims there are, and how many of each verdict that occurs."""
    counted = Counter(verdicts)
    counts = [f"{counted[verdict]} *{verdict}*" for verdict in VERDICTS if verdict in counted]
    return f"Of {counted.total()} claims in the reports, the notebooks find {'; '.join(counts)}."


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    section = results_section()
    text = re.sub(f"{START}.*{END}", lambda _: section, text, flags=re.DOTALL)
    README.write_text(text, encoding="utf-8", newline="\n")
