"""The command line: run a script, then draw or play a Tensor of it, trace a function, or make an
exercise of it.

    python -m tinygrad_ce draw script.py:loss --out graph.svg
    python -m tinygrad_ce play script.py:loss --out page.html
    python -m tinygrad_ce trace script.py:step x y
    python -m tinygrad_ce exercise script.py:step x y --out exercise.ipynb

Status 0 is done, 1 a script or a drawing that failed, 2 a call that cannot be right, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import io
import os
import re
import runpy
import sys
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from difflib import SequenceMatcher
from pathlib import Path
from types import FunctionType, ModuleType, TracebackType
from typing import Any

import tinygrad_ce as tg
from tinygrad_ce.engine.frame import source_lines

SUFFIXES = {
    "draw": (".svg", ".png", ".pdf", ".dot", ".html", ".txt"),
    "play": (".html",),
    "exercise": (".ipynb",),
}
ROWS = 20  # of a list of what is there
DEPTH = 4  # how far below a variable Tensors are listed
VISITS = 10_000  # of objects, until no more Tensors are looked for

EXAMPLE = """\
example:
  python -m tinygrad_ce draw script.py:loss --out graph.svg
  python -m tinygrad_ce draw script.py:loss --depth 0
  python -m tinygrad_ce play script.py:loss --out page.html
  python -m tinygrad_ce trace script.py:step x y
  python -m tinygrad_ce exercise script.py:step x y --out ex.ipynb --solution solution.ipynb

The script is run as `python script.py` would run it; what stands after -- is handed to it.
A name may go on with attributes and subscripts: script.py:model.fc1.weight, 'script.py:losses[-1]'.
"""


Listed = tuple[str, dict[str, tuple[str, ...]]]
"""What is listed, and for each name what stands behind it."""


class RefusedError(Exception):
    """A call that cannot be right; the message is all that is shown."""


# --- what was asked -------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        prog="python -m tinygrad_ce",
        description="Run a script, then draw or play one of its Tensors, trace a function, or make "
        "an exercise of it.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"tinygrad_ce {tg.__version__}")
    commands = top.add_subparsers(dest="command", metavar="command")
    draw = commands.add_parser("draw", help="the graph of a Tensor, as a picture or as text")
    draw.add_argument("target", metavar="script.py:name", help="the script and its Tensor")
    draw.add_argument(
        "--out",
        metavar="FILE",
        default="-",
        help="a .svg, .png, .pdf, .dot, .html or .txt file; - (the default) prints the graph",
    )
    play = commands.add_parser("play", help="the graph of a Tensor, as a page to step through")
    play.add_argument("target", metavar="script.py:name", help="the script and its Tensor")
    play.add_argument("--out", metavar="FILE", required=True, help="an .html file")
    for command in (draw, play):
        add_looks(command)
    trace = commands.add_parser("trace", help="a function, written as NumPy")
    trace.add_argument("target", metavar="script.py:function", help="the script and its function")
    trace.add_argument("examples", nargs="*", metavar="name", help="what to call it with")
    trace.add_argument("--level", choices=("formula", "primitive"), help="how to write it")
    what = trace.add_mutually_exclusive_group()
    what.add_argument("--backward", action="store_true", help="the backward pass alone")
    what.add_argument("--table", action="store_true", help="what each line costs")
    add_exercise(commands)
    return top


def add_exercise(commands: Any) -> None:
    """The command that makes a notebook of a function."""
    command = commands.add_parser("exercise", help="a notebook: write the backward pass")
    command.add_argument("target", metavar="script.py:function", help="the script and its function")
    command.add_argument("examples", nargs="*", metavar="name", help="what to call it with")
    command.add_argument("--out", metavar="FILE", required=True, help="an .ipynb file")
    command.add_argument("--solution", metavar="FILE", help="an .ipynb file with the answers")
    command.add_argument(
        "--level", choices=("factor", "line", "block", "all"), default="line",
        help="what is to be filled in: line if not said",
    )  # fmt: skip
    command.add_argument("--hints", type=int, choices=range(5), default=4, help="4 if not said")
    command.add_argument(
        "--markers", choices=("nbgrader", "otter"), default="nbgrader", help="of the solution"
    )
    command.add_argument("--title", default="", help="what stands above")


def add_looks(command: argparse.ArgumentParser) -> None:
    """How far calls are opened, and in which colours."""
    command.add_argument(
        "--depth",
        help="how far calls are opened: 0 is a card for each layer and function; or names of calls "
        "to fold, fc1,fc2; large graphs fold by themselves",
    )
    command.add_argument("--digits", type=int, help="how many digits numbers have, 4 if not said")
    command.add_argument("--theme", choices=("light", "dark", "auto"), help="the colours")


def arguments_of(words: list[str]) -> argparse.Namespace:
    """The command, and as `given` what stands after -- for the script."""
    cut = words.index("--") if "--" in words else len(words)
    top = parser()
    asked, more = top.parse_known_args(words[:cut])
    if asked.command in ("trace", "exercise") and not any(word.startswith("-") for word in more):
        asked.examples += more  # names behind an option
    elif more:
        top.error(f"unrecognized arguments: {' '.join(more)}")
    asked.given = words[cut + 1 :]
    if asked.command is None:
        top.print_help()
        raise SystemExit(2)
    return asked


def script_and_name(target: str) -> tuple[str, str]:
    """The two sides of the colon; the colon of a drive letter or of a subscript is another."""
    parts = re.fullmatch(r"(.+?\.pyw?|[^:]+):(.*)", target, re.DOTALL)
    if parts is None or not parts[2].strip():
        script = target.strip().rstrip(":")
        script = "script.py" if not script or ":" in script else script
        raise RefusedError(f"{target!r} is no script and name; write {script}:loss")
    script, name = parts[1], parts[2].strip()
    if not os.path.exists(script):
        raise RefusedError(f"there is no file {script}")
    if not os.path.isfile(script):
        raise RefusedError(f"{script} is a folder; wanted a Python script")
    return script, name


def checked_out(asked: argparse.Namespace) -> Path | None:
    """Where to write, found wrong before the script runs; None for text."""
    if asked.command == "draw" and asked.out == "-":
        if asked.theme:
            raise RefusedError("--theme is for pictures; add --out graph.svg")
        return None
    return checked_file("--out", asked.out, SUFFIXES[asked.command])


def checked_file(option: str, name: str, suffixes: tuple[str, ...]) -> Path:
    """A file to write."""
    path = Path(name)
    if path.suffix.lower() not in suffixes:
        wanted = " or ".join(filter(None, [", ".join(suffixes[:-1]), suffixes[-1]]))
        raise RefusedError(f"{option} {name} ends in {path.suffix!r}; wanted {wanted}")
    if not path.parent.is_dir():
        raise RefusedError(f"{option} {name}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise RefusedError(f"{option} {name} is a folder; wanted a file")
    return path.absolute()  # the script may go elsewhere


# --- the script -----------------------------------------------------------------------------


def run(script: str, given: list[str]) -> dict[str, Any]:
    """The global variables of the script after it ran, as `python script.py` would run it.

    A script that leaves with status 0 (`sys.exit(main())`) has done its work; its variables are
    those of that moment.
    """
    path = os.path.abspath(script)
    if not sys.flags.safe_path:
        del sys.path[0]  # the current folder, from python -m
    sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    sys.argv = [path, *given]
    try:
        return runpy.run_path(path, run_name="__main__")
    except SystemExit as leaving:
        for frame, _ in traceback.walk_tb(leaving.__traceback__):
            if frame.f_code.co_filename == path and leaving.code in (None, 0):
                return frame.f_globals
        raise


def without_our_frames(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame that is not ours."""
    ours = (os.path.dirname(os.path.abspath(__file__)) + os.sep, "<frozen runpy>", runpy.__file__)
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(ours):
        trace = trace.tb_next
    return trace


def show(error: Exception) -> int:
    """Print the traceback of an error in the script, from the script on."""
    trace = without_our_frames(error.__traceback__)
    sys.excepthook(type(error), error.with_traceback(trace), trace)
    return 1


# --- names ----------------------------------------------------------------------------------


def tree_of(name: str) -> ast.expr:
    """A name with attributes and subscripts; nothing else is looked at."""
    with suppress(SyntaxError, ValueError, RecursionError):
        tree = ast.parse(name, mode="eval").body
        if is_name(tree):
            return tree
    raise RefusedError(
        f"cannot look up {name!r}; wanted a name, such as loss, model.fc1.weight, losses[-1] "
        'or state["loss"]'
    )


def is_name(tree: ast.expr) -> bool:
    """Whether `tree` is built of names, attributes, and integers and strings as subscripts."""
    match tree:
        case ast.Name():
            return True
        case ast.Attribute(value=owner):
            return is_name(owner)
        case ast.Subscript(value=owner, slice=key):
            return type(ast.literal_eval(key)) in (int, str) and is_name(owner)
    return False


def value_of(tree: ast.expr, variables: dict[str, Any]) -> Any:
    """What a name from `tree_of` stands for."""
    match tree:
        case ast.Name(id=name):
            return variables[name]
        case ast.Attribute(value=owner, attr=name):
            return getattr(value_of(owner, variables), name)
        case ast.Subscript(value=owner, slice=key):
            return value_of(owner, variables)[ast.literal_eval(key)]
    raise TypeError(f"not a name: {ast.dump(tree)}")  # pragma: no cover - tree_of gives no other


class Variables:
    """The global variables of a script, and what to say where one is not what was wanted."""

    def __init__(self, script: str, variables: dict[str, Any]) -> None:
        self.script = script
        self.all = variables

    def value(self, name: str, there: Callable[[], Listed]) -> Any:
        """What is called `name`; refused with a list of what is `there`."""
        tree = tree_of(name)
        try:
            return value_of(tree, self.all)
        except (LookupError, AttributeError, TypeError, ValueError) as error:
            plain = isinstance(tree, ast.Name)
            why = "" if plain else f" ({type(error).__name__}: {one_line(str(error))})"
        raise RefusedError(f"{self.script} has no {name}{why}; {listed(name, there())}")

    def tensor(self, name: str) -> Any:
        """The Tensor called `name`."""
        value = self.value(name, self.tensors)
        if isinstance(value, tg.Tensor):
            return value
        raise RefusedError(
            f"{name} of {self.script} is {described(value)}; {listed(name, self.tensors())}"
        )

    def function(self, name: str) -> Any:
        """The function or module called `name`."""
        value = self.value(name, self.functions)
        if callable(value):
            return value
        raise RefusedError(
            f"{name} of {self.script} is {described(value)}; {listed(name, self.functions())}"
        )

    def tensors(self) -> Listed:
        """The names of all Tensors that can be reached, with shape and dtype."""
        found: dict[str, tuple[str, ...]] = {}
        seen: set[int] = set()
        queue = deque((name, value, 0) for name, value in public(self.all))
        for _ in range(VISITS):
            if not queue:
                break
            name, value, depth = queue.popleft()
            if isinstance(value, tg.Tensor) and not (depth and id(value) in seen):
                found[name] = str(value.array.shape), str(value.array.dtype)
            elif id(value) not in seen and depth < DEPTH:
                queue.extend((*part, depth + 1) for part in parts(name, value))
            seen.add(id(value))
        return "Tensors", found

    def functions(self) -> Listed:
        """The names of the script's own functions, and of modules, with what they take."""
        found: dict[str, tuple[str, ...]] = {}
        for name, value in public(self.all):
            if isinstance(value, FunctionType) and value.__module__ == "__main__":
                found[name] = (str(inspect.signature(value)),)
            elif hasattr(type(value), "named_parameters"):
                found[name] = (type(value).__name__,)
        return "functions", found


def public(variables: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The variables whose names do not begin with an underscore."""
    return ((name, value) for name, value in variables.items() if not name.startswith("_"))


def parts(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What is in a dict or list, or is an attribute of an object, with its name in Python."""
    if isinstance(value, dict):
        yield from ((f"{name}[{k!r}]", v) for k, v in value.items() if type(k) in (int, str))
    elif isinstance(value, (list, tuple)):
        yield from ((f"{name}[{i}]", v) for i, v in enumerate(value[:VISITS]))
    elif not isinstance(value, (ModuleType, type)):
        for attribute, v in public(getattr(value, "__dict__", {})):
            if attribute.isdigit():  # of a Sequential
                yield f"{name}[{attribute}]", v
            else:
                yield f"{name}.{attribute}", v


def listed(asked: str, there: Listed) -> str:
    """What is there, one a line, the closest spelling first."""
    what, found = there
    if not found:
        return f"no global variable holds {what}"

    def likeness(name: str) -> float:
        return SequenceMatcher(None, asked.lower(), name.lower()).ratio()

    rows = [(name, *found[name]) for name in sorted(found, key=likeness, reverse=True)]
    widths = [max(map(len, column)) for column in zip(*rows[:ROWS])]
    lines = [
        "  " + "  ".join(cell.ljust(n) for cell, n in zip(row, widths)).rstrip()
        for row in rows[:ROWS]
    ]
    more = [f"  and {len(rows) - ROWS} more"] * (len(rows) > ROWS)
    return "\n".join([f"its {what}:", *lines, *more])


def described(value: Any) -> str:
    """What something is: a number or a text in full, of all else the type."""
    if value is None:
        return "None"
    if isinstance(value, (bool, int, float, str)):
        return f"the {type(value).__name__} {one_line(repr(value))}"
    return f"of type {type(value).__name__}"


def one_line(text: str) -> str:
    """Text without line breaks, cut where it is long."""
    text = " ".join(text.split())
    return text if len(text) <= 100 else text[:99] + "…"


# --- the commands ---------------------------------------------------------------------------


def draw_or_play(asked: argparse.Namespace, variables: Variables, path: Path | None) -> int:
    """Make the picture or the page, and write it."""
    from tinygrad_ce import viz

    tensor = variables.tensor(asked.name)
    make = viz.play if asked.command == "play" else viz.draw
    depth, theme = depth_of(asked.depth), asked.theme or "auto"
    digits = 4 if asked.digits is None else asked.digits
    drawing = make(tensor, names=variables.all, depth=depth, theme=theme, digits=digits)
    if path is None:
        say(str(drawing))
        return 0
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            drawing.save(path)
        except OSError as error:
            raise ValueError(f"cannot write {asked.out}: {os.strerror(error.errno or 0)}") from None
    for warning in said:  # that something else was written
        complain(str(warning.message))
    if said:
        return 1
    say(asked.out)
    return 0


def depth_of(word: str | None) -> int | list[str] | None:
    """A number, or names between commas."""
    if word is None:
        return None
    return int(word) if word.isdecimal() else word.split(",")


def called(asked: argparse.Namespace, variables: Variables) -> tuple[Any, list[Any]]:
    """A function, and what to call it with."""
    function = variables.function(asked.name)
    examples = [variables.value(name, variables.tensors) for name in asked.examples]
    with suppress(ValueError):  # a function of C may have no signature
        takes = inspect.signature(getattr(function, "forward", function))  # of a module
        try:
            takes.bind(*examples)
        except TypeError as error:
            raise RefusedError(
                f"{asked.name}{takes} is called with ({', '.join(asked.examples)}): {error}; "
                f"example Tensors stand after {asked.target}"
            ) from None
    return function, examples


def trace(asked: argparse.Namespace, variables: Variables) -> int:
    """Print what a function does as NumPy, or what it costs."""
    function, examples = called(asked, variables)
    program = tg.trace(function, *examples)
    level = asked.level or "formula"
    if asked.table:
        text = program.table()
    else:
        text = program.backward_source(level) if asked.backward else program.source(level)
    say(text.rstrip("\n"))
    return 0


def exercise(asked: argparse.Namespace, variables: Variables, path: Path) -> int:
    """Make the notebooks of a function, and write them."""
    from tinygrad_ce import teach

    function, examples = called(asked, variables)
    made = teach.exercise(
        function, examples, level=asked.level, title=asked.title, hints=asked.hints,
        markers=asked.markers,
    )  # fmt: skip
    made.save(path)
    say(asked.out)
    if asked.solution:
        made.save_solution(asked.solution)
        say(asked.solution.name)
    return 0


def say(text: str) -> None:
    """Print, with escapes for what the terminal's encoding has no character for."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    print(text, flush=True)


def complain(message: object) -> None:
    """Say what is wrong."""
    print(f"tinygrad_ce: {message}", file=sys.stderr)


def carry_out(asked: argparse.Namespace) -> int:
    """Check what was asked, run the script, and do it."""
    script, asked.name = script_and_name(asked.target)
    for name in [asked.name, *getattr(asked, "examples", [])]:
        tree_of(name)
    if asked.command == "trace" and asked.table and asked.level:
        raise RefusedError("--table has no --level")
    path = None if asked.command == "trace" else checked_out(asked)
    if asked.command == "exercise" and asked.solution:
        asked.solution = checked_file("--solution", asked.solution, SUFFIXES["exercise"])
    try:
        with source_lines():
            variables = Variables(script, run(script, asked.given))
    except Exception as error:
        return show(error)
    if asked.command == "trace":
        return trace(asked, variables)
    if path and asked.command == "exercise":
        return exercise(asked, variables, path)
    return draw_or_play(asked, variables, path)


def main(words: list[str]) -> int:
    """The status of the command `words`."""
    try:
        return carry_out(arguments_of(words))
    except RefusedError as error:
        complain(error)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # nobody reads on; Python would complain once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        theirs = without_our_frames(error.__traceback__) is not None
        if theirs and not isinstance(error, (tg.TraceError, tg.ListingError)):
            return show(error)
        if not isinstance(error, (ValueError, RuntimeError, ImportError)):
            raise  # pragma: no cover - a mistake of ours, of which none is known
        complain(error)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
