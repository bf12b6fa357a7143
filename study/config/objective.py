"""What an adaptive sweep looks for: an expression over the columns of one trial's row.

The expression is arithmetic and a few functions, nothing else: it is parsed, never executed as
Python, so a sweep file cannot run code.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Direction = Literal["minimize", "maximize"]

_BINARY: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_UNARY: dict[type, Callable[[float], float]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
FUNCTIONS: dict[str, Callable[..., float]] = {
    "abs": abs,
    "min": min,
    "max": max,
    "sqrt": math.sqrt,
    "log": math.log,
    "exp": math.exp,
}
MAX_CHARS = 500
_TWO_OR_MORE = ("min", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One quantity to be made small or large.

    Parameters
    ----------
    expression : str
        Such as "abs(coverage_samples_calibrated - 1)".
    direction : "minimize" or "maximize"
    """

    expression: str
    direction: Direction = "minimize"

    @property
    def sign(self) -> float:
        """Factor that turns it into something to be minimized."""
        return 1.0 if self.direction == "minimize" else -1.0

    @property
    def columns(self) -> tuple[str, ...]:
        """Names in the expression: columns, functions left out."""
        nodes = ast.walk(_parse(self.expression))
        found = (node.id for node in nodes if isinstance(node, ast.Name))
        return tuple(dict.fromkeys(name for name in found if name not in FUNCTIONS))

    def evaluate(self, row: Mapping[str, Any]) -> float | None:
        """Compute the value of one trial.

        Parameters
        ----------
        row : mapping
            The trial's columns.

        Returns
        -------
        float or None
            None where a column is missing or the result is not finite.
        """
        return evaluate(self.expression, row)


def check_expression(text: str, columns: Collection[str]) -> tuple[str, ...]:
    """Check an expression and list the columns it uses.

    Parameters
    ----------
    text : str
    columns : collection of str
        Names that may occur.

    Returns
    -------
    tuple of str
        Names that occur, in order.

    Raises
    ------
    ValueError
        It is too long, is no arithmetic, or names what is no column.

    Examples
    --------
    >>> check_expression("abs(mode_recall - 1)", ["mode_recall"])
    ('mode_recall',)
    """
    if len(text) > MAX_CHARS:
        raise ValueError(f"must have at most {MAX_CHARS} characters; found {len(text)}")
    names: list[str] = []
    _check(_parse(text), frozenset(columns), names)
    if not names:
        raise ValueError("must name at least one column of the trials table")
    return tuple(dict.fromkeys(names))


def evaluate(text: str, row: Mapping[str, Any]) -> float | None:
    """Compute an expression that `check_expression` has passed; None if it has no finite value."""
    try:
        value = _value(_parse(text), row)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return value if isinstance(value, float) and math.isfinite(value) else None


def _parse(text: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError("is no arithmetic expression") from None


def _check(node: ast.expr, columns: frozenset[str], names: list[str]) -> None:
    match node:
        case ast.Constant(value=bool()):
            raise ValueError("may hold numbers, not true or false")
        case ast.Constant(value=int() | float()):
            return
        case ast.Name(id=name):
            if name not in columns:
                raise ValueError(f"{name} is no numeric column of the trials table")
            names.append(name)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            _check(operand, columns, names)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            _check(left, columns, names)
            _check(right, columns, names)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            wanted = len(args) >= 2 if name in _TWO_OR_MORE else len(args) == 1
            if not wanted:
                raise ValueError(
                    f"{name} takes {'two or more' if name in _TWO_OR_MORE else 'one'}"
                )
            for argument in args:
                _check(argument, columns, names)
        case _:
            allowed = ", ".join(FUNCTIONS)
            raise ValueError(f"may hold columns, numbers, + - * / **, and {allowed}")


def _value(node: ast.expr, row: Mapping[str, Any]) -> float:
    match node:
        case ast.Constant(value=value):
            return float(value)  # type: ignore[arg-type]  # checked to be a number
        case ast.Name(id=name):
            return float(row[name]) if row.get(name) is not None else math.nan
        case ast.UnaryOp(op=op, operand=operand):
            return _UNARY[type(op)](_value(operand, row))
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_value(left, row), _value(right, row))
        case ast.Call(func=ast.Name(id=name), args=args):
            return float(FUNCTIONS[name](*(_value(argument, row) for argument in args)))
    raise ValueError("unchecked expression")
