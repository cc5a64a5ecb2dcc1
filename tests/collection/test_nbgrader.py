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

from tests.tools.exercise_edition import main, write_all
from tests.tools.exercises import find_exercises
from tests.tools.notebook_tools import NOTEBOOKS, PROJECT, read_notebook

PATH = NOTEBOOKS / "03_xor_perceptron.ipynb"  # whose third check needs the first solution
SCORES = f"""
import json
from nbgrader.api import Gradebook

with Gradebook("sqlite:///gradebook.db") as book:
    graded = [copy.notebooks[0] for copy in book.assignment_submissions({PATH.stem!r})]
    print(json.dumps({{c.student.id: {{g.name: g.score for g in c.grades}} for c in graded}}))
"""


def test_each_mistake_costs_one_point(tmp_path: Path) -> None:
    if not (nbgrader := shutil.which("nbgrader")):
        stop = pytest.fail if os.environ.get("REQUIRE_NBGRADER") else pytest.skip
        stop("no nbgrader on the path; .ci/run says how to install it")

    def run(*command: str | Path) -> str:
        environment = os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path), "HOME": str(tmp_path)}
        return subprocess.check_output(command, cwd=tmp_path, env=environment, text=True)

    (tmp_path / "helpers").symlink_to(PROJECT / "helpers")  # the course lies in the project
    assert main(["--nbgrader", str(tmp_path / "source")]) == 0
    run(nbgrader, "generate_assignment", PATH.stem)
    solved, exercises = read_notebook(PATH), find_exercises(read_notebook(PATH))
    sources = {solved.cells[e.solution].id: solved.cells[e.solution].source for e in exercises}
    first = solved.cells[exercises[0].solution]
    mistaken = first.source.replace(".mean()", ".sum()")
    warned = first.source.replace("    _, logits", "    np.log(np.zeros(1))\n    _, logits")
    assert first.source not in (warned, mistaken)
    copies = {"warned": sources | {first.id: warned}, "mistaken": sources | {first.id: mistaken}}
    for student, answers in {**copies, "idle": {}}.items():
        copy = read_notebook(tmp_path / "release" / PATH.stem / PATH.name)
        text = "".join(cell.source for cell in copy.cells)
        assert "END" not in text and not any(source in text for source in sources.values())
        for cell in copy.cells:
            cell.source = answers.get(cell.id, cell.source)
        write_all({tmp_path / "submitted" / student / PATH.stem / PATH.name: copy})
    run(nbgrader, "autograde", PATH.stem)

    given = json.loads(run(Path(nbgrader).with_name("python"), "-c", SCORES))
    checks = [solved.cells[e.check].id for e in exercises]
    scores = {student: [points[check] for check in checks] for student, points in given.items()}
    assert scores == {"warned": [1, 1, 1, 1], "mistaken": [0, 1, 1, 1], "idle": [0, 0, 0, 0]}
    assert all(sum(points.values()) == sum(scores[s]) for s, points in given.items())
