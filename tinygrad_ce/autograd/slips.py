"""What goes wrong in a gradient that somebody derived, and which of it gives certain numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

FAULTS = {
    "sign": "the sign is the other way round",
    "scale": "a constant factor is missing, or is there twice",
    "missing factor": "a factor of the chain rule is left out",
    "factor twice": "a factor is there twice",
    "factor too many": "a factor is there that does not belong there",
    "share too many": "a share is added that does not belong there",
    "inverted factor": "a factor divides instead of multiplying, or the other way round",
    "sum for product": "slopes are added that should be multiplied",
    "no upstream": "the gradient that comes from above is left out",
    "value for slope": "f, or what f is taken of, stands where the slope f′ belongs",
    "value for gradient": "the value of a tensor stands where its gradient belongs",
    "wrong operand": "another tensor of the same shape stands there",
    "probability for target": "p stands for y, or y for p",
    "transpose": "a matrix is transposed that should not be, or the other way round",
    "elementwise": "elements are multiplied where a matrix product belongs",
    "wrong axis": "the sum runs over another axis",
    "missing keepdims": "a sum without keepdims is spread over the wrong axis of a square",
    "missing sum": "the sum over what was broadcast is missing",
    "product of sums": "sums are multiplied where products are to be summed",
    "mean for sum": "a mean stands where a sum belongs",
    "sum for mean": "a sum stands where a mean belongs",
    "lost share": "one of the gradients that are added up is lost",
    "overwritten": "`=` stands where `+=` belongs: only the last share is kept",
    "strict comparison": "`>` and `>=` are exchanged: it shows at the kink alone",
    "other branch": "the gradient goes to the other branch",
    "rows for columns": "the index picks columns instead of rows, or the other way round",
    "wrong power": "the exponent is not the one of the slope",
}
"""The kinds of faults that are looked for, and what each means."""

NEAR = 1e-4  # of the largest element: central differences are as good as 1e-8


def slip_in(
    ours: np.ndarray,
    right: np.ndarray,
    g: np.ndarray,
    y: np.ndarray,
    operands: Sequence[np.ndarray],
    others: Mapping[int, np.ndarray],
) -> str:
    """In words which slip gives `ours` for the gradient of an operand; nothing where none does.

    g: the gradient that comes from above, y: what the operation gave. others: what is right for
    the other operands, by their numbers.
    """
    ratio = ratio_of(ours, right)
    times = max(abs(ratio), 1 / abs(ratio)) if ratio else 0.0
    scale = (
        f"{FAULTS['scale']}: it is {times:.6g} times too {'large' if abs(ratio) > 1 else 'small'}"
    )
    scale += f", and {FAULTS['sign']}" * (ratio < 0)
    if abs(times - 2) < NEAR or (times > 1 + NEAR and right.size > 1):
        return scale  # one element has a ratio to anything, but 2 is forgotten the most often
    for kind, numbers, words in known(right, g, y, operands, others):
        if numbers.shape == ours.shape and is_near(ours, numbers):
            return f"{FAULTS[kind]}: {words}"
    return scale if ratio else ""


def ratio_of(ours: np.ndarray, right: np.ndarray) -> float:
    """How many times `right` it is, 0 if that is not the same for all elements."""
    size = float((right * right).sum())
    ratio = float((ours * right).sum()) / size if size and ours.shape == right.shape else 0.0
    return ratio if is_near(ours, ratio * right) else 0.0


def is_near(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays hold the same numbers."""
    return bool(np.abs(a - b).max(initial=0.0) <= NEAR * np.abs(b).max(initial=0.0))


def known(
    right: np.ndarray,
    g: np.ndarray,
    y: np.ndarray,
    operands: Sequence[np.ndarray],
    others: Mapping[int, np.ndarray],
) -> Iterator[tuple[str, np.ndarray, str]]:
    """What each slip would give: its kind, numbers, and where it is."""
    yield "sign", -right, "of all of it"
    if right.ndim > 1:
        yield "transpose", right.swapaxes(-1, -2), "the result"
    for j, other in others.items():
        yield "wrong operand", other, f"this is the gradient of operand {j}"
    yield from products(g, operands)
    if right.shape == g.shape:
        yield from elementwise(right, g, y, operands)


def elementwise(
    right: np.ndarray, g: np.ndarray, y: np.ndarray, operands: Sequence[np.ndarray]
) -> Iterator[tuple[str, np.ndarray, str]]:
    """What slips of an operation on single elements would give."""
    with np.errstate(all="ignore"):
        slope = right / g
        yield "missing factor", g, "g is handed on as it is, the slope is missing"
        yield "no upstream", slope, "g is missing"
        yield "value for slope", g * y, "g * y"
        for j, x in enumerate(operands):
            yield "value for slope", g * x, f"g times operand {j}"
        yield "inverted factor", g / slope, "g is divided by the slope"
        yield "factor twice", g * slope * slope, "the slope"


def products(
    g: np.ndarray, operands: Sequence[np.ndarray]
) -> Iterator[tuple[str, np.ndarray, str]]:
    """The products of g and a matrix, each also transposed."""
    for j, x in enumerate(operands):
        if g.ndim != 2 or x.ndim != 2:
            continue
        for a, left in ((g, "g"), (g.T, "g.T")):
            for b, name in ((x, f"operand {j}"), (x.T, f"the transpose of operand {j}")):
                if a.shape[1] == b.shape[0]:
                    yield "transpose", a @ b, f"it is {left} @ {name}"
                if b.shape[1] == a.shape[0]:
                    yield "transpose", b @ a, f"it is {name} @ {left}"
