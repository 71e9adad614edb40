"""Scripts as a page carries them: without comments, and without blanks that only people need."""

from __future__ import annotations

import re
from functools import cache

TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)
    |(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    |(?P<template>`)
    |(?P<pattern>/(?![*/\s])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\[\n])+/[a-z]*)
    |(?P<word>[\w$]+)
    |(?P<blank>\s+)
    |(?P<sign>.)""",
    re.DOTALL | re.VERBOSE,
)
OPERATORS = "(,=:[!&|?{};+-*%<>~^"
"""What a pattern may follow; after a name or a bracket a slash divides."""


@cache
def lean(script: str) -> str:
    """JavaScript without its comments, and with a blank or a new line only where one is needed.

    >>> lean("// The sum.\\nlet s = a + +b/2/c // of two\\n  return /a b/.test(s) ? `${ s } b` : 0")
    'let s=a+ +b/2/c\\nreturn/a b/.test(s)?`${ s } b`:0'
    """
    parts: list[str] = []
    at = 0
    while found := TOKEN.match(script, at):
        kind, token = found.lastgroup, found[0]
        before = "".join(parts[-2:]).rstrip()[-7:]
        if kind == "pattern" and not (before[-1:] in OPERATORS or before.endswith("return")):
            kind, token = "sign", token[0]
        if kind == "template":
            token = template(script, at)
        at += len(token)
        if kind == "comment":
            continue
        if kind == "blank":
            token = "\n" if "\n" in token else " "
        parts.append(token)
    return "".join(squeezed(parts))


def template(script: str, start: int) -> str:
    """The template literal that begins there, with those inside of it."""
    at, depth = start + 1, 0
    while script[at] != "`" or depth:
        if script[at] == "\\":
            at += 1
        elif script.startswith("${", at):
            depth += 1
            at += 1
        elif depth and script[at] == "{":
            depth += 1
        elif depth and script[at] == "}":
            depth -= 1
        elif depth and script[at] == "`":
            at += len(template(script, at)) - 1
        at += 1
    return script[start : at + 1]


def squeezed(parts: list[str]) -> list[str]:
    """The tokens without blanks that no two words need, and with one new line for several."""
    kept: list[str] = [""]
    for i, part in enumerate(parts):
        if not part.isspace():
            kept.append(part)
            continue
        after = next((x for x in parts[i + 1 :] if not x.isspace()), "")
        last = kept[-1]
        if last.isspace() or not last:
            continue
        if "\n" in part or parts[i + 1 : i + 2] == ["\n"]:  # a comment stood between them
            if last not in OPEN and after[:1] not in CLOSING:
                kept.append("\n")
        elif (is_word(last[-1]) and is_word(after[:1])) or (
            last[-1] == after[:1] and after[:1] in "+-"
        ):
            kept.append(" ")
    return kept


OPEN = {"{", "(", "[", ",", ";", "=", ":", "?", "&", "|"}
CLOSING = {")", "]", "}", ".", ",", ":", "?", "&", "|"}


def is_word(letter: str) -> bool:
    """Whether a letter may belong to a name or a number."""
    return letter.isalnum() or letter in ("_", "$")
