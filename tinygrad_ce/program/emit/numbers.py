"""Numbers in the emitted function: computed by Python, which is ten times faster than NumPy there.

Python raises where NumPy gives inf or nan, so only what cannot raise is left to it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ce.program.ir import Step, Var
from tinygrad_ce.program.passes.patterns import TRUTHS

OPERATORS = {
    "add": "+", "subtract": "-", "multiply": "*", "greater": ">", "greater_equal": ">=",
    "less": "<", "less_equal": "<=", "equal": "==", "not_equal": "!=",
}  # fmt: skip
FORMS = {"negative": "-{0}", "square": "{0} * {0}", "absolute": "abs({0})"}
OTHERS = {"astype", "divide", "sqrt", "power", "exp", "log", "log1p", "maximum", "minimum"}
FLOATS = (None, np.dtype(np.float64), np.dtype(np.float32))


def by_python(step: Step) -> bool:
    """Whether Python computes this number from numbers, as NumPy does: its integers never wrap
    around, it knows no float16, and it adds truths as if they were numbers.
    """
    if not (step.op in OPERATORS or step.op in FORMS or step.op in OTHERS):
        return False
    if step.out.shape or any(x.shape or x.dtype not in FLOATS for x in step.operands):
        return False
    return step.op in TRUTHS or step.out.dtype in FLOATS


def number_text(step: Step, texts: list[str], constants: dict[Var, Any]) -> str:
    """The expression for a number computed from numbers."""
    op = step.op
    if op in OPERATORS:
        return f"{texts[0]} {OPERATORS[op]} {texts[1]}"
    if op in FORMS:
        return FORMS[op].format(*texts)
    if op == "astype":  # Python's floats have 64 bits: what is cast to fewer is rounded
        rounded = step.out.dtype == np.float32 and step.operands[0].dtype != np.float32
        return f"float(single({texts[0]}))" if rounded else f"float({texts[0]})"
    if op == "divide":
        divisor = constants.get(step.operands[1])
        if divisor is not None and float(divisor):
            return f"{texts[0]} / {texts[1]}"
    if op == "sqrt":
        return f"msqrt({texts[0]}) if {texts[0]} >= 0.0 else nan"
    if op == "power":
        base = constants.get(step.operands[0])
        if base is not None and 0.0 < float(base) <= 1.0:
            otherwise = f"power({texts[0]}, {texts[1]}).item()"
            return f"{texts[0]} ** {texts[1]} if {texts[1]} >= 0 else {otherwise}"
    return f"{op}({', '.join(texts)}).item()"


def constant_text(value: Any) -> str:
    """A constant number as Python writes it."""
    number = value.item() if isinstance(value, (np.generic, np.ndarray)) else value
    if isinstance(number, float) and not math.isfinite(number):
        return {math.inf: "inf", -math.inf: "(-inf)"}.get(number, "nan")
    text = repr(number)
    return f"({text})" if text[0] == "-" else text
