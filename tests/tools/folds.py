"""The folds of a notebook's texts: hints, derivations that can be skipped, and answers.

A fold is raw HTML, in which markdown and mathematics are rendered only between blank lines::

    <details><summary>Hint</summary>

    Text, without links: GitHub shows them unformatted.

    </details>
"""

import re
from collections.abc import Iterator

FOLD = re.compile(
    r"^<details><summary>(Hint|Derivation|Answer)</summary>\n\n(.+?)\n\n</details>(?=\n\n|\s*\Z)",
    re.MULTILINE | re.DOTALL,
)
PART_OF_FOLD = re.compile(r"</?(?:details|summary)\b[^\n]*")
LINKED = re.compile(r"\]\(|https?://|<a\b")


def folds(markdown: str, kind: str) -> list[str]:
    """Return the texts inside the folds of a kind, such as ``"Answer"``."""
    return [match[2] for match in FOLD.finditer(markdown) if match[1] == kind]


def without_answers(markdown: str) -> str:
    """Return a text with a place to write an answer instead of each fold that holds one."""
    return FOLD.sub(lambda fold: "*Your answer:*" if fold[1] == "Answer" else fold[0], markdown)


def without_folds(markdown: str) -> str:
    """Return what a reader sees before any fold is opened, without the summaries."""
    return FOLD.sub("", markdown)


def fold_faults(markdown: str) -> Iterator[str]:
    """Yield what keeps folds from opening or from being rendered, or the edition from its cut."""
    for fold in FOLD.finditer(markdown):
        if PART_OF_FOLD.search(fold[2]):
            yield f"a fold inside the fold {fold[1]!r}, or one that is not closed"
        if LINKED.search(fold[2]):
            yield f"a link in the fold {fold[1]!r}"
    for part in PART_OF_FOLD.findall(without_folds(markdown)):
        yield f"{part!r} belongs to no fold as tests/tools/folds.py describes them"
