"""A Program as a picture: DOT text, one box for each line of the listing, framed by scope."""

from __future__ import annotations

import ast

from tinygrad_ce.program.ir import Program
from tinygrad_ce.program.listing.listing import Listing, shown_program
from tinygrad_ce.program.listing.statements import Statement

INPUT, PARAMETER, STEP, BACK, UPDATE, RESULT = (
    ("#dbeafe", "#2563eb"), ("#dcfce7", "#16a34a"), ("#ffffff", "#94a3b8"),
    ("#fff5f5", "#f87171"), ("#f0fdf4", "#4ade80"), ("#fecaca", "#dc2626"),
)  # fmt: skip
LONGEST = 60


def to_dot(program: Program, level: str = "formula") -> str:
    """The program in the language of Graphviz: see Program.to_dot."""
    listing = Listing(shown_program(program, level), level == "primitive")
    names = listing.writer.names.of
    changed = {s.before for s in listing.program.states}
    groups = [(comment, group, listing.loop(group)) for comment, group in listing.groups()]
    elsewhere = {x for _, group, loop in groups if not loop for s in group for x in s.reads}
    inputs = {*listing.program.inputs, *(s.var for s in listing.program.settings)}
    made = {
        x: f"v{i}"
        for i, x in enumerate(listing.parameters())
        if x in elsewhere or x in inputs or not any(loop for _, _, loop in groups)
    }
    lines = [
        "digraph program {",
        '  rankdir=TB; bgcolor="white"; ranksep=0.35; nodesep=0.2; compound=true;',
        '  node [shape=box style="rounded,filled" fontname="Helvetica" fontsize=11];',
        '  node [margin="0.12,0.06"];',
        '  edge [color="#64748b" arrowsize=0.6];',
    ]
    for x, node in made.items():
        colors = PARAMETER if x in changed else INPUT
        lines.append(f"  {node} [{box(names[x], str(x.shape), colors)}];")
    edges: list[str] = []
    returned = {ast.unparse(tree) for tree in listing.writer.returned}
    for i, (comment, group, loop) in enumerate(groups):
        lines += [f"  subgraph cluster_{i} {{", f"    {frame(comment)}"]
        if loop:
            lines.append(f"    s{i} [{box(left(loop), '', UPDATE)}];")
            reads = {made[x] for s in group for x in s.reads if x in made and x not in changed}
            edges += [f"  {source} -> s{i};" for source in sorted(reads)]
        for j, statement in enumerate(() if loop else group):
            node = f"s{i}_{j}"
            name = statement.lines[0].split(" ")[0]
            colors = RESULT if name in returned else kind(statement, comment)
            shape = "" if statement.shape is None else str(statement.shape)
            lines.append(f"    {node} [{box(shortened(statement), shape, colors)}];")
            sources = sorted({made[x] for x in statement.reads if x in made})
            color = ' [color="#f87171"]' if comment.startswith("backward") else ""
            edges += [f"  {source} -> {node}{color};" for source in sources]
            if statement.out is not None:
                made[statement.out] = node
        lines.append("  }")
    return "\n".join([*lines, *edges, "}"]) + "\n"


def left(lines: list[str]) -> str:
    """Lines from the left margin; DOT eats blanks, so they are hard ones."""
    return "".join(line.replace("    ", "\u00a0" * 4) + "\\l" for line in lines)


def kind(statement: Statement, comment: str) -> tuple[str, str]:
    """The colours of a step: of the forward pass, the backward pass, or a write."""
    if statement.shape is None:
        return UPDATE
    return BACK if comment.startswith("backward") else STEP


def shortened(statement: Statement) -> str:
    """The first line of a statement, not too long."""
    line = statement.lines[0]
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def box(text: str, shape: str, colors: tuple[str, str]) -> str:
    """Label and colours."""
    words = text if not shape else f"{text}\\n{shape}"
    return f'label="{quoted(words)}" fillcolor="{colors[0]}" color="{colors[1]}"'


def quoted(text: str) -> str:
    """Text between DOT's quotation marks."""
    return text.replace('"', '\\"')


def frame(comment: str) -> str:
    """The frame around a scope."""
    back = comment.startswith("backward")
    color = "#fca5a5" if back else "#cbd5e1"
    return (
        f'label="{quoted(comment)}" labeljust=l fontname="Helvetica" fontsize=10 '
        f'fontcolor="#475569" color="{color}" style="rounded"'
    )
