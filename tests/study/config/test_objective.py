from __future__ import annotations

import math

import numpy as np
import pandas as pd
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


MISSING = (
    None,
    math.nan,
    math.inf,
    -math.inf,
    pd.NA,
    pd.NaT,
    np.float32("nan"),
    1j,
    np.complex64(1j),
    "0.5",
    [0.5],
)
ABSORBING = (
    "max(1.0, a)",
    "max(a, 1.0)",
    "min(a, 0)",
    "min(0, a)",
    "0 * a",
    "a ** 0",
    "1 ** a",
    "1 / (1 + a)",
    "exp(-a)",
    "max(b, min(b, a))",
    "abs(a - a)",
)


@pytest.mark.parametrize("text", ABSORBING)
@pytest.mark.parametrize("value", MISSING, ids=repr)
def test_nothing_absorbs_what_is_missing(text: str, value: object) -> None:
    assert evaluate(text, {"a": value, "b": 0.5}) is None
    assert evaluate(text, {"b": 0.5}) is None
    assert evaluate(text, {"a": 0.5, "b": 0.5}) is not None


@pytest.mark.parametrize(
    "text",
    [
        "max(1, log(a))",
        "max(1, a / 0)",
        "min(1, exp(1000 + a))",
        "1 / exp(1000 + a)",
        "1 / (1e308 * (10 + a))",
        "abs((a - 1) ** 0.5)",
        "0 * sqrt(a - 1)",
    ],
)
def test_nothing_absorbs_a_part_without_value(text: str) -> None:
    assert evaluate(text, {"a": 0.0}) is None


_LEAVES = st.sampled_from(["a", "b", "1.5", "2"])
_EXPRESSIONS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "**"]), inner).map(
            lambda part: f"({part[0]} {part[1]} {part[2]})"
        ),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(
            lambda part: f"{part[0]}({part[1]}, {part[2]})"
        ),
        st.tuples(st.sampled_from(["abs", "sqrt", "log", "exp", "-"]), inner).map(
            lambda part: f"{part[0]}({part[1]})"
        ),
    ),
    max_leaves=6,
)


@given(_EXPRESSIONS, st.sampled_from(MISSING), st.floats(-3, 3))
def test_no_expression_has_a_value_without_its_columns(
    text: str, missing: object, value: float
) -> None:
    for name in Objective(expression=text).columns:
        assert evaluate(text, {"a": value, "b": value, name: missing}) is None


@given(_EXPRESSIONS, st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_what_is_refused_as_never_finite_never_is(text: str, a: float, b: float) -> None:
    try:
        check_expression(text, ("a", "b"))
    except ValueError as error:
        if "no finite value" in str(error):
            assert evaluate(text, {"a": a, "b": b}) is None


@pytest.mark.parametrize(
    "text",
    [
        "1e999 + mode_recall",
        "mode_recall / 0",
        "mode_recall / (1 - 1)",
        "mode_recall + log(0)",
        "log(-exp(mode_recall) - 1)",
        "sqrt(-abs(mode_recall) - 1)",
        "exp(1000 + abs(mode_recall))",
        "mode_recall * (-8) ** 0.5",
        "10 ** 400 * mode_recall",
    ],
)
def test_what_is_never_finite_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="has no finite value, whatever is measured"):
        check_expression(text, COLUMNS)


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
        ("mode_recal", "mode_recal is not a numeric column"),
        ("__import__('os')", "may hold columns"),
        ("mode_recall.real", "may hold columns"),
        ("mode_recall if 1 else 2", "may hold columns"),
        ("True + mode_recall", "not true or false"),
        ("1 + 1", "at least one column"),
        ("abs(mode_recall, 1)", "abs takes one"),
        ("max(mode_recall)", "max takes two or more"),
        ("mode_recall +", "not an arithmetic"),
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
