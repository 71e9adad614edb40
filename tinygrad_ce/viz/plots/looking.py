"""Looking at a model without leaving a trace: modes and methods are put back, also after errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tinygrad_ce.engine.frame import recording, untraced
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn.module import Module, own_modules

See = Callable[[str, Tensor], None]


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode and no graph while the block runs; then every module has its own mode back.

    Anything but a Module has no mode, and is just called without a graph.
    """
    trained = [m for m in model.modules() if m.training] if isinstance(model, Module) else []
    try:
        for module in trained:
            module.training = False
        with untraced(), recording(False):
            yield
    finally:
        for module in trained:
            module.training = True


@contextmanager
def watched(model: Module, see: See) -> Iterator[None]:
    """While the block runs, `see(name, output)` is called for each output of each layer.

    A layer is a module that holds no other. Its `forward` is covered by one of the same behaviour,
    in the module's own dictionary, and uncovered at the end.
    """
    covered: list[tuple[dict[str, Any], dict[str, Any]]] = []
    try:
        for path, module in model.named_modules():
            if not own_modules(module):
                own = vars(module)
                covered.append((own, {k: own[k] for k in ("forward",) if k in own}))
                own["forward"] = watching(module.forward, layer_name(path, module), see)
        yield
    finally:
        for own, before in covered:
            del own["forward"]
            own.update(before)


def watching(forward: Callable[..., Any], name: str, see: See) -> Callable[..., Any]:
    """`forward`, and `see(name, output)` when the output is a Tensor of floats."""

    def look(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        if isinstance(output, Tensor) and output.is_floating_point():
            see(name, output)
        return output

    return look


def layer_name(path: str, module: Module) -> str:
    """The dotted name; with the kind before it where the name is only a number: "ReLU 1"."""
    kind = type(module).__name__
    if not path:
        return kind
    return f"{kind} {path}" if path.rpartition(".")[2].isdigit() else path
