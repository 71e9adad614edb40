"""Teaching backpropagation: a grader that names the wrong factor, exercises, proofs."""

from tinygrad_ce.teach.derivation import Derivation, derive
from tinygrad_ce.teach.exam import Exam, blank
from tinygrad_ce.teach.faults import FAULTS
from tinygrad_ce.teach.grader import Fault, Report, Verdict, check
from tinygrad_ce.teach.notebooks import Exercise, exercise
from tinygrad_ce.teach.proofs import Proof, prove

__all__ = ["FAULTS", "Derivation", "Exam", "Exercise", "Fault", "Proof", "Report", "Verdict",
           "blank", "check", "derive", "exercise", "prove"]  # fmt: skip


def __dir__() -> list[str]:
    return __all__
