from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.config.objective import Objective, check_expression, evaluate

COLUMNS = ("mode_recall", "spurious_mass", "k_samples_calibrated")


def test_value_is_that_of_the_arithmetic() -> None:
    row = {"mode_recall": 0.8, "spurious_mass": 0.1}
    objective = Objective(expression="abs(mode_recall - 1) + 2 * max(spurious_mass, 0.05) ** 2")
    assert objective.evaluate(row) == pytest.approx(0.2 + 2 * 0.01)


@pytest.mark.parametrize("row", [{}, {"mode_recall": None}, {"mode_recall": math.nan}])
def test_missing_columns_have_no_value(row: dict) -> None:
    assert evaluate("mode_recall", row) is None


@pytest.mark.parametrize(
    "text", ["1 / mode_recall", "log(mode_recall)", "9 ** 9 ** 9 ** 9 + mode_recall"]
)
def test_what_is_not_finite_has_no_value(text: str) -> None:
    assert evaluate(text, {"mode_recall": 0}) is None


def test_columns_are_listed_once() -> None:
    text = "mode_recall * spurious_mass - mode_recall"
    assert check_expression(text, COLUMNS) == ("mode_recall", "spurious_mass")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode_recal", "mode_recal is no numeric column"),
        ("__import__('os')", "may hold columns"),
        ("mode_recall.real", "may hold columns"),
        ("mode_recall if 1 else 2", "may hold columns"),
        ("True + mode_recall", "not true or false"),
        ("1 + 1", "at least one column"),
        ("abs(mode_recall, 1)", "abs takes one"),
        ("max(mode_recall)", "max takes two or more"),
        ("mode_recall +", "no arithmetic"),
        ("x" * 501, "at most 500"),
    ],
)
def test_wrong_expressions_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_expression(text, COLUMNS)


@given(st.text(max_size=60))
def test_any_text_is_refused_or_checked(text: str) -> None:
    try:
        check_expression(text, COLUMNS)
    except ValueError:
        return
    evaluate(text, dict.fromkeys(COLUMNS, 0.5))


def test_columns_are_known_without_functions() -> None:
    assert Objective(expression="max(a, log(b)) + a").columns == ("a", "b")


def test_maximizing_turns_the_sign() -> None:
    assert Objective(expression="mode_recall", direction="maximize").sign == -1
