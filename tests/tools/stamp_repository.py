"""Write the repository's address wherever it is needed: for a fork, ``… OWNER/REPO``.

``python -m tests.tools.stamp_repository OWNER/REPO`` sets the address in pyproject.toml, its one
place, and from there in badges, setup cells and README.md. Without an argument it
repeats the address that pyproject.toml has, for a notebook that is new.
"""

import argparse
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from helpers.files import replaced_as_a_whole
from tests.tools.notebook_tools import PROJECT

PYPROJECT = "pyproject.toml"
OWNER_AND_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?/[A-Za-z0-9._-]+")
IN_PYPROJECT = re.compile(r'(?<=^repository = ")[^"]*(?="$)', re.MULTILINE)
# The badge's link, the setup cell's address (its quotes are escaped in the file) and git clone.
IN_TEXTS = re.compile(
    r"(?<=https://colab\.research\.google\.com/github/)[\w.-]+/[\w.-]+(?=/blob/main/)"
    r'|(?<=REPOSITORY = \\"https://github\.com/)[^"\\]+(?=\\")'
    r"|(?<=git clone https://github\.com/)[\w.-]+/[\w.-]+(?=`)"
)


def stored_repository(project: Path = PROJECT) -> str:
    """Return the address in pyproject.toml, as OWNER/REPO."""
    settings = tomllib.loads((project / PYPROJECT).read_text(encoding="utf-8"))
    return settings["tool"]["deep-learning-basics"]["repository"]


def stamped_files(project: Path = PROJECT) -> list[Path]:
    """Return the files with an address, pyproject.toml excepted."""
    return [*sorted((project / "notebooks").glob("[0-9][0-9]_*.ipynb")), project / "README.md"]


def addresses(path: Path) -> list[str]:
    """Return every OWNER/REPO of the project in a file, in order."""
    return IN_TEXTS.findall(path.read_text(encoding="utf-8"))


def stamp(repository: str, project: Path = PROJECT) -> list[Path]:
    """Write OWNER/REPO to all its places; return the files that changed.

    Raises
    ------
    ValueError
        If `repository` is no OWNER/REPO; then no file is changed.
    """
    if not OWNER_AND_NAME.fullmatch(repository):
        raise ValueError(
            f"expected OWNER/REPO as in the repository's address, found {repository!r}"
        )
    changed = []
    patterns = {project / PYPROJECT: IN_PYPROJECT} | dict.fromkeys(stamped_files(project), IN_TEXTS)
    for path, pattern in patterns.items():
        text = path.read_text(encoding="utf-8")
        stamped = pattern.sub(repository, text)
        if stamped != text:
            with replaced_as_a_whole(path) as temporary:
                temporary.write_text(stamped, encoding="utf-8", newline="\n")
            changed.append(path)
    return changed


def main(arguments: Sequence[str] | None = None, project: Path = PROJECT) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.stamp_repository", description=__doc__
    )
    parser.add_argument("repository", nargs="?", metavar="OWNER/REPO")
    repository = parser.parse_args(arguments).repository or stored_repository(project)
    try:
        changed = stamp(repository, project)
    except ValueError as error:
        parser.error(str(error))
    for path in changed:
        print(path.relative_to(project))
    print(f"{repository}: {len(changed)} files changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
