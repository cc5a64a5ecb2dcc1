"""Write the README's results from the JSON that the notebooks store.

``python -m tests.tools.results_table`` rewrites what stands between the two markers in README.md.
"""

import sys
from collections import Counter
from collections.abc import Sequence

from helpers.reporting import VERDICTS, format_value, markdown_table
from tests.tools.notebook_tools import PROJECT, notebook_paths, read_notebook, stored_report

README = PROJECT / "README.md"
START, END = "<!-- results:start -->", "<!-- results:end -->"


def stored_reports() -> list[dict]:
    """Return the reports of all notebooks, in the notebooks' order.

    Raises
    ------
    ValueError
        If a notebook stores none.
    """
    reports = []
    for path in notebook_paths():
        report = stored_report(read_notebook(path))
        if report is None:
            raise ValueError(
                f"{path.name} stores no results: end it with helpers.reporting.show_report and "
                f"run `python -m tests.tools.execute_notebooks notebooks/{path.name}`"
            )
        reports.append(report)
    return reports


def results_section(reports: Sequence[dict]) -> str:
    """Return the results table and the count of verdicts, as markdown."""
    rows = [
        (
            f"[{report['notebook'][:2]}](notebooks/{report['notebook']}.ipynb)",
            result["setting"],
            format_value(result["reported"]),
            format_value(result["measured"]),
        )
        for report in reports
        for result in report["results"]
    ]
    verdicts = Counter(claim["verdict"] for report in reports for claim in report["claims"])
    counts = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in VERDICTS)
    table = markdown_table(("Notebook", "Setting", "Reports", "Measured here"), rows)
    return f"{table}\n\nOf {verdicts.total()} claims in the reports, the notebooks find {counts}."


def replace_section(text: str, section: str) -> str:
    """Return `text` with `section` between the markers.

    Raises
    ------
    ValueError
        If the text does not have each marker once, in this order.
    """
    before, found_start, rest = text.partition(START)
    _, found_end, after = rest.partition(END)
    if not found_start or not found_end or START in rest or END in after:
        raise ValueError(f"README.md needs {START} and {END} once each, in this order")
    return f"{before}{START}\n{section}\n{END}{after}"


def main() -> int:
    """Run the command; return its exit status."""
    text = README.read_text(encoding="utf-8")
    updated = replace_section(text, results_section(stored_reports()))
    README.write_text(updated, encoding="utf-8", newline="\n")
    print("README.md: results " + ("unchanged" if updated == text else "updated"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
