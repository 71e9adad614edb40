"""What the small programs of examples/ print, with this library or with PyTorch behind them."""

import contextlib
import io
import re
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"
STEPS = {
    "bigrams": 100,
    "factorisation": 5,
    "lenet": 2,
    "lstm": 6,
    "mlp": 400,
    "oscillator": 3,
    "own_function": 60,
    "transformer": 20,
    "vae": 5,
}
"""How far each of them is followed: less than it goes by itself, so that this is quick."""

IMPORT = re.compile(r"^(?:import|from) tinygrad_ce\b.*$", re.MULTILINE)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?")


def printed(name, package="tinygrad_ce", steps=None):
    """The lines that a program prints; for PyTorch its import lines are changed, nothing else."""
    path = EXAMPLES / f"{name}.py"
    source = path.read_text(encoding="utf-8")
    source = IMPORT.sub(lambda line: line[0].replace("tinygrad_ce", package), source)
    names = {"__name__": name, "__file__": str(path)}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(source, str(path), "exec"), names)
        names["main"](STEPS[name] if steps is None else steps)
    return out.getvalue().splitlines()


def unit(number):
    """One in the last decimal of a number as it is printed; nothing for a whole one."""
    digits, _, exponent = number.partition("e")
    decimals = len(digits.partition(".")[2])
    return 10.0 ** (int(exponent or 0) - decimals) if decimals else 0.0


def differences(found, wanted):
    """The pairs of lines that differ in a word, or in a number by more than one last decimal."""
    assert len(found) == len(wanted)
    return [
        (ours, theirs)
        for ours, theirs in zip(found, wanted)
        if NUMBER.split(ours) != NUMBER.split(theirs)
        or any(
            abs(float(a) - float(b)) > 1.01 * unit(b)
            for a, b in zip(NUMBER.findall(ours), NUMBER.findall(theirs))
        )
    ]
