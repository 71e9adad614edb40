"""What `import tinygrad_ce` costs on top of `import numpy`: time and memory.

Every import runs in an interpreter of its own, in turn, after one of each that only fills the
bytecode and file caches.
"""

import os
import statistics
import subprocess
import sys
from typing import NamedTuple

PROBE = """
import time
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
try:
    # The peak of this process alone: getrusage also remembers the parent's, from before exec.
    with open("/proc/self/status") as status:
        print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")))
except OSError:
    import resource, sys
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (10 * (sys.platform == "darwin")))
"""


class ImportCost(NamedTuple):
    """Medians over fresh interpreters."""

    milliseconds: float
    peak_mebibytes: float


def import_costs(modules: tuple[str, ...], rounds: int) -> dict[str, ImportCost]:
    """Time to import each module, and the interpreter's peak resident memory after it."""
    samples: dict[str, list[tuple[float, float]]] = {module: [] for module in modules}
    for done in range(rounds + 1):
        for module in modules if done % 2 else reversed(modules):
            sample = _import_once(module)
            if done:
                samples[module].append(sample)
    return {
        module: ImportCost(*(statistics.median(column) for column in zip(*rows)))
        for module, rows in samples.items()
    }


def _import_once(module: str) -> tuple[float, float]:
    output = subprocess.run(
        [sys.executable, "-c", PROBE.format(module=module)],
        env={k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    seconds, kibibytes = output.split()
    return 1e3 * float(seconds), int(kibibytes) / 1024
