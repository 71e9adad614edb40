"""How tests start a Python that they interrupt."""

import sys

HEARS = [
    sys.executable, "-c",
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])",
]  # fmt: skip
"""Python that SIGINT interrupts even where the tests run with it ignored, as behind `&`."""
