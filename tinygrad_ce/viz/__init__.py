"""Pictures: of computation graphs, `draw(loss)`, and of training, `plot_history(recorder)`.

What is asked for (graph/subjects.py) has a graph (graph/walking.py) of which parts are folded
(graph/folding.py). It is read (graph/reading.py) into cards (graph/cards.py), which become text
(graph/text.py) or DOT (graph/dot.py), and an engine, if one is installed, lays that out
(graph/engines.py), for a notebook as an image (notebook.py). A model that is run for a picture is
left as it was (graph/restoring.py), a traced program is made a graph again (graph/programs.py).

A page (page/playing.py) has what an engine laid out (page/geometry.py) and what is to be told
(page/story.py): the way back, use by use (page/flow.py), checked by central differences
(page/checks.py), with the rules as mathematics (page/mathematics.py) and the lines of the program
(graph/lines.py). What runs in a browser lies beside these files.

A training loop tells a Recorder (plots/recorder.py) what goes on, and matplotlib plots it
(plots/training.py, plots/boundary.py). Nothing here is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tinygrad_ce.viz.drawing import Drawing as Drawing, draw as draw

if TYPE_CHECKING:
    from tinygrad_ce.viz.page.playing import Page, play
    from tinygrad_ce.viz.plots.boundary import plot_decision_boundary
    from tinygrad_ce.viz.plots.recorder import Recorder
    from tinygrad_ce.viz.plots.training import plot_activations, plot_gradients, plot_history

__all__ = [
    "Drawing",
    "Page",
    "Recorder",
    "draw",
    "play",
    "plot_activations",
    "plot_decision_boundary",
    "plot_gradients",
    "plot_history",
]

LATER = {
    "Page": "page.playing",
    "play": "page.playing",
    "Recorder": "plots.recorder",
    "plot_activations": "plots.training",
    "plot_decision_boundary": "plots.boundary",
    "plot_gradients": "plots.training",
    "plot_history": "plots.training",
}  # names that are imported when they are first used, and the files they are in


def __getattr__(name: str) -> Any:
    if name not in LATER:
        raise AttributeError(f"module 'tinygrad_ce.viz' has no attribute {name!r}")
    value = getattr(import_module(f"tinygrad_ce.viz.{LATER[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
