"""What is drawn, as plain data in which nothing knows how: cards, edges and clusters.

One card for each tensor, one edge for each use of it, one cluster for each call of a module or of
a composed function. All of it is text, so a picture keeps nothing of the graph alive.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

DIRECTIONS = ("TB", "LR", None)
THEMES = ("light", "dark", "auto")


@dataclass(frozen=True)
class Options:
    """How to draw: see `tinygrad_ce.draw`. Raises ValueError or TypeError for what cannot be."""

    depth: int | str | Collection[str] | None = None
    direction: str | None = None
    theme: str = "auto"
    values: bool = True
    gradients: bool = True
    backward: bool = False
    digits: int = 4
    aspect: float | str | None = None
    caller: str = "draw"  # what errors begin with

    def __post_init__(self) -> None:
        caller = self.caller
        if self.direction not in DIRECTIONS:
            raise ValueError(
                f'{caller}: direction={self.direction!r}; wanted "TB" (top to bottom), "LR" (left '
                "to right) or None (what fits)"
            )
        if self.theme not in THEMES:
            raise ValueError(f'{caller}: theme={self.theme!r}; wanted "light", "dark" or "auto"')
        self.ratio()
        if type(self.digits) is not int or not 1 <= self.digits <= 17:
            raise ValueError(
                f"{caller}: digits={self.digits!r}; wanted how many digits numbers have, 1 to 17"
            )
        depth = self.depth
        if isinstance(depth, bool) or not (
            depth is None
            or isinstance(depth, (int, str))
            or (isinstance(depth, Collection) and all(isinstance(name, str) for name in depth))
        ):
            raise TypeError(
                f"{caller}: depth={depth!r}; wanted a number (0 for one card per layer), names "
                'of calls such as "attention" or ("fc1", "fc2"), or None'
            )
        if isinstance(depth, int) and depth < 0:
            raise ValueError(f"{caller}: depth={depth}; wanted 0 (every layer as one card) or more")

    def ratio(self) -> float | None:
        """Width by height as it was asked for: 16/9 of "16:9"."""
        aspect = self.aspect
        width, _, height = aspect.partition(":") if isinstance(aspect, str) else (aspect, "", "")
        try:
            found = None if width is None else float(width) / float(height or 1)
        except (TypeError, ValueError, ZeroDivisionError):
            found = 0.0
        if found is not None and not 0.05 <= found <= 20:
            raise ValueError(
                f'{self.caller}: aspect={aspect!r}; wanted width by height, such as "16:9" or 1.5'
            )
        return found


@dataclass
class Card:
    """One tensor: what made it, its name, shape, value and gradient, as texts."""

    id: str
    role: str  # input, parameter, constant, step, loss, backward, gradient, or what is folded:
    # module, function or operations
    op: str  # "" for a leaf
    name: str
    shape: str
    value: str  # "" without values
    gradient: str  # "" where none can arrive
    added: int  # how many gradients are added up here
    tooltip: str
    cluster: int | None
    text: str = ""  # of the expression, as it is written in the program, where it has no name
    line: str = ""  # of the program that made it: file:number, if nodes remember it
    formula: str | None = None  # of what is folded
    operations: int = 1
    spine: bool = False  # an operation on the way of the data, not beside it

    @property
    def head(self) -> str:
        """What it says that made it: the operation, or a short text of the program."""
        return self.text if self.text and self.formula is None else self.op

    @property
    def called(self) -> str:
        """The name; a loss that has none is called that."""
        return self.name or ("loss" if self.role == "loss" else "")


@dataclass
class Edge:
    """One use of a tensor: forward from source to target, and backward with a label."""

    source: str
    target: str
    label: str
    flows: bool  # whether a gradient comes back
    spine: bool  # from an operation
    beside: bool  # the source stands next to its only consumer
    kind: str = "flow"  # flow: forth and back, data: no gradient, forward or backward: one way


@dataclass
class Cluster:
    """One call of a module or of a composed function, and the cluster around it."""

    name: str
    kind: str
    formula: str
    outer: int | None
    depth: int


@dataclass
class Picture:
    """All that is drawn. Cards are in the order of the computation."""

    title: str
    notes: list[str]
    cards: list[Card] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    clusters: list[Cluster] = field(default_factory=list)
    letters: dict[str, str] = field(default_factory=dict)  # what stands for those of rules
    folded: bool = False
    options: Options = field(default_factory=Options)
