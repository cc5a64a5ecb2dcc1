"""Notebook 05: the pure Python network, its checks, and automatic differentiation."""

from math import exp, log
from random import Random

import numpy as np
import pytest

from tests.tools.notebook_tools import (
    NOTEBOOKS,
    cell_tags,
    execute_cell,
    load_implementation,
    read_notebook,
)

NAME = "05_scalar_backpropagation"


@pytest.fixture(scope="module")
def lesson():
    return load_implementation(NAME)


def copies(parameters):
    return [np.array(p).tolist() for p in parameters]


def test_the_network_needs_no_library_but_pythons_own():
    """The cells that teach, up to the training, run without NumPy, PyTorch and the helpers."""
    namespace = {"__name__": "notebook_core", "exp": exp, "log": log, "Random": Random}
    for cell in read_notebook(NOTEBOOKS / f"{NAME}.ipynb").cells:
        if cell.source.startswith("## Does it learn?"):
            break
        if "implementation" in cell_tags(cell):
            execute_cell(cell, namespace)
        if not {"implementation", "experiment"}.isdisjoint(cell_tags(cell)):
            assert "np." not in cell.source and "torch." not in cell.source
    else:
        pytest.fail("the section on training is gone")
    x, t, parameters = namespace["random_case"](7)
    h, _, y = namespace["forward"](x, *parameters)
    found = namespace["rows_of"](*namespace["backward"](x, t, h, y, parameters[2]))
    wanted = namespace["nudged"](x, t, parameters)
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-8)


def test_nudging_leaves_the_parameters_as_they_were(lesson):
    x, t, parameters = lesson.random_case(3)
    before = copies(parameters)
    lesson.nudged(x, t, parameters)
    assert parameters == before


def test_nothing_overflows(lesson):
    huge = [lesson.sigmoid(1000.0), lesson.sigmoid(-1000.0), *lesson.softmax([1000.0, -1000.0])]
    assert huge == [1.0, 0.0, 1.0, 0.0]
    assert lesson.cross_entropy([1000.0, -1000.0], 1) == 2000.0


def test_the_ellipse_set_has_the_quadratic_form_beyond_its_level_as_class_1(lesson):
    ellipse = lesson.generate_ellipse(60_000, seed=0)
    forms = np.einsum("ni,ij,nj->n", ellipse.points, [[1, -0.05], [1, 0.4]], ellipse.points)
    np.testing.assert_array_equal(ellipse.labels, forms > 0.6)
    assert ellipse.points.shape == (60_000, 2) and ellipse.labels.dtype == np.int64
    # 5 standard errors of a mean, a variance and a covariance of 60,000 standard normals
    np.testing.assert_allclose(ellipse.points.mean(0), 0, atol=5 / np.sqrt(60_000))
    np.testing.assert_allclose(np.cov(ellipse.points.T), np.eye(2), atol=5 * np.sqrt(2 / 60_000))
    assert not np.array_equal(ellipse.points, lesson.generate_ellipse(60_000, seed=1).points)


def test_initial_parameters_belong_to_their_seed(lesson):
    first, again, other = map(lesson.initial_parameters, (0, 0, 1))
    assert first == again and first != other
    assert [np.shape(p) for p in first] == [(2, 3), (3,), (3, 2), (2,)]
    assert [np.shape(p) for p in lesson.initial_parameters(0, 6)] == [(2, 6), (6,), (6, 2), (2,)]
    assert first[1] == [0.0] * 3 and first[3] == [0.0] * 2
    points = lesson.generate_ellipse(3, seed=0).points
    assert not np.isin(first[0], points).any()  # the data set has numbers of its own
    weights = [w for seed in range(300) for w in np.ravel(lesson.initial_parameters(seed)[0])]
    assert np.mean(weights) == pytest.approx(0, abs=0.1)
    assert np.std(weights) == pytest.approx(1, abs=0.1)


def test_an_update_changes_the_lists_themselves(lesson):
    given = [[4.0], [3.0]], [2.0], [[1.0, 0.0]], [-1.0, -2.0]
    lesson.update(given, ([[1.0], [-1.0]], [0.5], [[2.0, -2.0]], [0.0, 3.0]), 0.1)
    for found, wanted in zip(
        given, ([[3.9], [3.1]], [1.95], [[0.8, 0.2]], [-1, -2.3]), strict=True
    ):
        np.testing.assert_allclose(found, wanted)


def test_a_value_that_is_used_again_and_again_has_its_whole_gradient(lesson):
    """x^8 by squaring three times has the gradient 8 x^7; log and exp undo each other."""
    x = lesson.Value(1.1)
    square = x * x
    fourth = square * square
    eighth = fourth * fourth
    (eighth.log().exp() + x**-2).backward()
    assert x.gradient == pytest.approx(8 * 1.1**7 - 2 * 1.1**-3)
