"""Teaching backpropagation: a grader that names the wrong factor."""

from tinygrad_ce.teach.faults import FAULTS
from tinygrad_ce.teach.grader import Fault, Report, Verdict, check

__all__ = ["FAULTS", "Fault", "Report", "Verdict", "check"]
