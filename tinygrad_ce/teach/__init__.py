"""Teaching backpropagation: a grader that names the wrong factor, and proofs."""

from tinygrad_ce.teach.faults import FAULTS
from tinygrad_ce.teach.grader import Fault, Report, Verdict, check
from tinygrad_ce.teach.proofs import Proof, prove

__all__ = ["FAULTS", "Fault", "Proof", "Report", "Verdict", "check", "prove"]
