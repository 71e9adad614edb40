"""Numbers in the emitted function: computed by Python, which is ten times faster than NumPy there.

Python raises where NumPy gives inf or nan, so only what cannot raise is left to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce.program.ir import Step, Var

OPERATORS = {
    "add": "+", "subtract": "-", "multiply": "*", "greater": ">", "greater_equal": ">=",
    "less": "<", "less_equal": "<=", "equal": "==", "not_equal": "!=",
}  # fmt: skip
FLOATS = (None, np.dtype(np.float64), np.dtype(np.float32))
TRUTHS = ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal")


def by_python(step: Step) -> bool:
    """Whether Python computes as NumPy does: its integers never wrap around, it knows no float16,
    and it adds truths as if they were numbers.
    """
    if any(x.dtype not in FLOATS for x in step.operands):
        return False
    return step.op in TRUTHS or step.out.dtype in FLOATS


def scalar_text(step: Step, texts: list[str], constants: dict[Var, Any]) -> str:
    """The expression for a number computed from numbers."""
    op = step.op
    if op in OPERATORS:
        return f"{texts[0]} {OPERATORS[op]} {texts[1]}"
    if op == "negative":
        return f"-{texts[0]}"
    if op == "square":
        return f"{texts[0]} * {texts[0]}"
    if op == "absolute":
        return f"abs({texts[0]})"
    if op == "astype":  # Python's floats have 64 bits: what is cast to fewer is rounded
        rounded = step.out.dtype == np.float32 and step.operands[0].dtype != np.float32
        return f"float(single({texts[0]}))" if rounded else f"float({texts[0]})"
    if op == "divide":
        divisor = constants.get(step.operands[1])
        if divisor is not None and float(divisor):
            return f"{texts[0]} / {texts[1]}"
        return f"divide({texts[0]}, {texts[1]}).item()"
    if op == "sqrt":
        return f"msqrt({texts[0]}) if {texts[0]} >= 0.0 else nan"
    if op == "power":
        base = constants.get(step.operands[0])
        if base is not None and 0.0 < float(base) <= 1.0:
            otherwise = f"power({texts[0]}, {texts[1]}).item()"
            return f"{texts[0]} ** {texts[1]} if {texts[1]} >= 0 else {otherwise}"
    return f"{op}({', '.join(texts)}).item()"
