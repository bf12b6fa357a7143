"""What an adaptive sweep looks for: an expression over the columns of one trial's row.

The expression is arithmetic and a few functions, nothing else: it is parsed, never executed as
Python, so a sweep file cannot run code.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

Direction = Literal["minimize", "maximize"]
Range = tuple[float, float]

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
            None where a column is missing, or anything in the expression is not a finite real
            number.
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
        It is too long, is not arithmetic, names something that is not a column, or has no finite
        value whatever the columns hold.

    Examples
    --------
    >>> check_expression("abs(mode_recall - 1)", ["mode_recall"])
    ('mode_recall',)
    """
    if len(text) > MAX_CHARS:
        raise ValueError(f"must have at most {MAX_CHARS} characters; found {len(text)}")
    names: list[str] = []
    tree = _parse(text)
    _check(tree, frozenset(columns), names)
    if not names:
        raise ValueError("must name at least one column of the trials table")
    _reach(tree)
    return tuple(dict.fromkeys(names))


def evaluate(text: str, row: Mapping[str, Any]) -> float | None:
    """Compute an expression that `check_expression` has passed.

    Parameters
    ----------
    text : str
    row : mapping
        The trial's columns.

    Returns
    -------
    float or None
        None if any part of it, down to a single column, is missing or not a finite real number:
        whatever surrounds that part, and in whatever order.

    Examples
    --------
    >>> evaluate("max(1.0, fragmentation)", {"fragmentation": 2.5})
    2.5
    >>> evaluate("max(1.0, fragmentation)", {"fragmentation": float("nan")}) is None
    True
    """
    try:
        return _value(_parse(text), row)
    except (TypeError, ValueError, ArithmeticError):
        return None


def _parse(text: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError("is not an arithmetic expression") from None


def _check(node: ast.expr, columns: frozenset[str], names: list[str]) -> None:
    match node:
        case ast.Constant(value=bool()):
            raise ValueError("may hold numbers, not true or false")
        case ast.Constant(value=int() | float()):
            return
        case ast.Name(id=name):
            if name not in columns:
                raise ValueError(f"{name} is not a numeric column of the trials table")
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
    """Compute a part, and refuse it unless it is a finite real number.

    Each part is checked and not only the whole: max(1, nan) is 1, and 1 / exp(1000) would be 0.
    """
    return _finite(_computed(node, row))


def _computed(node: ast.expr, row: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return row.get(name)
        case ast.UnaryOp(op=op, operand=operand):
            return _UNARY[type(op)](_value(operand, row))
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_value(left, row), _value(right, row))
        case ast.Call(func=ast.Name(id=name), args=args):
            return FUNCTIONS[name](*[_value(argument, row) for argument in args])
    raise ValueError("unchecked expression")


def _finite(value: Any) -> float:
    plain = value.item() if hasattr(value, "item") else value  # of numpy's kinds
    if not isinstance(plain, Real):  # text, too: float("3") would be a number
        raise ValueError("not a real number")
    number = float(plain)
    if not math.isfinite(number):
        raise ValueError("not a finite number")
    return number


def _reach(node: ast.expr) -> Range:
    """Bound what a part can be, over all finite values of the columns.

    Raises
    ------
    ValueError
        No values of the columns give it a finite value.
    """
    try:
        low, high = _range_of(node)
    except (ValueError, ArithmeticError):
        low, high = math.inf, -math.inf
    if low > high or low == math.inf or high == -math.inf:
        raise ValueError(f"{ast.unparse(node)} has no finite value, whatever is measured")
    return low, high


def _range_of(node: ast.expr) -> Range:
    match node:
        case ast.Constant(value=value):
            return _finite(value), _finite(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            low, high = _reach(operand)
            return -high, -low
        case ast.UnaryOp(operand=operand):
            return _reach(operand)
        case ast.BinOp(left=left, op=op, right=right):
            return _range_of_pair(op, _reach(left), _reach(right))
        case ast.Call(func=ast.Name(id=name), args=args):
            return _range_of_call(name, [_reach(argument) for argument in args])
    return -math.inf, math.inf


def _range_of_pair(op: ast.operator, left: Range, right: Range) -> Range:
    if left[0] == left[1] and right[0] == right[1]:
        value = _finite(_BINARY[type(op)](left[0], right[0]))
        return value, value
    if isinstance(op, ast.Div) and right == (0.0, 0.0):
        raise ZeroDivisionError
    if isinstance(op, ast.Add):
        return left[0] + right[0], left[1] + right[1]
    if isinstance(op, ast.Sub):
        return left[0] - right[1], left[1] - right[0]
    return -math.inf, math.inf


def _range_of_call(name: str, ranges: Sequence[Range]) -> Range:
    low, high = ranges[0]
    match name:
        case "min" | "max":
            choose = FUNCTIONS[name]
            return choose(*(r[0] for r in ranges)), choose(*(r[1] for r in ranges))
        case "abs":
            nearest = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
            return nearest, max(abs(low), abs(high))
        case "exp":
            return _exp(low), _exp(high)
        case "log" if high > 0:
            return math.log(low) if low > 0 else -math.inf, math.log(high)
        case "sqrt" if high >= 0:
            return math.sqrt(max(low, 0.0)), math.sqrt(high)
    raise ValueError(f"{name} of nothing that it takes")


def _exp(power: float) -> float:
    try:
        return math.exp(power)
    except OverflowError:
        return math.inf
