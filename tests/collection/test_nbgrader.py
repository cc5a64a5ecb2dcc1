"""Real nbgrader makes an assignment of a notebook's exercises, and grades three copies of it.

It is not among the requirements: `.ci/run` installs it into an environment of its own and puts that
one's ``bin`` on the path. Elsewhere this is skipped, but fails where ``REQUIRE_NBGRADER`` is set.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.notebooks.test_exercises import wrong_answers
from tests.tools.exercise_edition import main
from tests.tools.exercises import find_exercises
from tests.tools.notebook_tools import NOTEBOOKS, PROJECT, read_notebook, write_notebook

PATH = NOTEBOOKS / "03_xor_perceptron.ipynb"  # whose third check needs the first solution
MISTAKE = "the margin has the wrong sign"
SCORES = f"""
import json
from nbgrader.api import Gradebook

with Gradebook("sqlite:///gradebook.db") as book:
    graded = [copy.notebooks[0] for copy in book.assignment_submissions({PATH.stem!r})]
    grades = {{copy.student.id: {{g.name: g.score for g in copy.grades}} for copy in graded}}
    print(json.dumps([grades, book.find_assignment({PATH.stem!r}).max_score]))
"""


@pytest.fixture
def nbgrader() -> Path:
    if not (found := shutil.which("nbgrader")):
        advice = "no nbgrader on the path; .ci/run says how to install it"
        pytest.fail(advice) if os.environ.get("REQUIRE_NBGRADER") else pytest.skip(advice)
    return Path(found)


def test_each_mistake_costs_one_point(nbgrader: Path, tmp_path: Path) -> None:
    def run(*command: str | Path) -> str:
        environment = os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path), "HOME": str(tmp_path)}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, text=True, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    for folder in ("helpers", "data"):  # the course lies in the project
        (tmp_path / folder).symlink_to(PROJECT / folder)
    assert main(["--nbgrader", str(tmp_path / "source")]) == 0
    run(nbgrader, "generate_assignment", PATH.stem)
    solved, exercises = read_notebook(PATH), find_exercises(read_notebook(PATH))
    sources = {solved.cells[e.solution].id: solved.cells[e.solution].source for e in exercises}
    first = solved.cells[exercises[0].solution]
    mistaken = sources | {first.id: first.source.replace(*wrong_answers(PATH)[1][MISTAKE])}
    warned = first.source.replace("    _, logits", "    np.log(np.zeros(1))\n    _, logits")
    assert first.source not in (warned, mistaken[first.id])
    release = tmp_path / "release" / PATH.stem / PATH.name
    copies = {"right": sources | {first.id: warned}, "mistaken": mistaken, "idle": {}}
    for student, answers in copies.items():
        copy = read_notebook(release)
        text = "".join(cell.source for cell in copy.cells)
        assert "END" not in text and not any(source in text for source in sources.values())
        for cell in copy.cells:
            cell.source = answers.get(cell.id, cell.source)
        folder = tmp_path / "submitted" / student / PATH.stem
        folder.mkdir(parents=True)
        write_notebook(copy, folder / PATH.name)
    run(nbgrader, "autograde", PATH.stem)

    grades, most = json.loads(run(nbgrader.with_name("python"), "-c", SCORES))
    checks = [solved.cells[e.check].id for e in exercises]
    scores = {student: [given[check] for check in checks] for student, given in grades.items()}
    assert scores == {"right": [1, 1, 1, 1], "mistaken": [0, 1, 1, 1], "idle": [0, 0, 0, 0]}
    assert most == 4 and all(sum(given.values()) == sum(scores[s]) for s, given in grades.items())
