"""Trees: dicts, lists and tuples of tensors, as arguments and results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def leaves(tree: Any) -> list[Any]:
    """What is in dicts, lists and tuples, in their order.

    >>> leaves({"w": 1, "layers": [2, (3, None)]})
    [1, 2, 3, None]
    """
    if isinstance(tree, dict):
        return [x for part in tree.values() for x in leaves(part)]
    if isinstance(tree, (list, tuple)):
        return [x for part in tree for x in leaves(part)]
    return [tree]


def like(tree: Any, values: Any) -> Any:
    """The tree with other leaves.

    >>> like({"w": 1, "layers": [2, (3, None)]}, "abcd")
    {'w': 'a', 'layers': ['b', ('c', 'd')]}
    """
    rest: Iterator[Any] = iter(values)

    def build(part: Any) -> Any:
        if isinstance(part, dict):
            return type(part)((key, build(x)) for key, x in part.items())
        if hasattr(part, "_fields"):
            return type(part)(*map(build, part))
        return type(part)(map(build, part)) if isinstance(part, (list, tuple)) else next(rest)

    return build(tree)


def changed(function: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with function(leaf) for each leaf."""
    return like(tree, map(function, leaves(tree)))


def spread(prefix: Any, tree: Any) -> list[Any] | None:
    """A value for each leaf: that of the branch it is on. None if the forms do not agree.

    >>> spread((0, None), ([1, 2], {"w": 3}))
    [0, 0, None]
    """
    if not isinstance(prefix, (dict, list, tuple)):
        return [prefix] * len(leaves(tree))
    if not isinstance(tree, type(prefix)) or len(prefix) != len(tree):
        return None
    if isinstance(tree, dict):
        if {*prefix} != {*tree}:
            return None
        prefix, tree = [prefix[key] for key in tree], [*tree.values()]
    parts = [spread(p, t) for p, t in zip(prefix, tree)]
    return None if None in parts else [x for part in parts for x in part or ()]
