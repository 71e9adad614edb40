"""A program as a model of ONNX: parameters by the user's names, inputs, outputs, and a check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_ce.engines.batches import ExportError, Size
from tinygrad_ce.engines.onnx_graph import OPSET, Graph
from tinygrad_ce.engines.onnx_rules import REFUSED, RULES
from tinygrad_ce.program.ir import Program, Var

IR_VERSION = 10
LARGEST = 2**31 - 1  # bytes of one message of protobuf


def model_of(
    program: Program, names: dict[int, str], outputs: Sequence[tuple[str, Var]], batch: str | None
) -> Any:
    """The ModelProto of a program; names[id(tensor)] is what a parameter is called."""
    from onnx import checker, helper, numpy_helper

    weights = {
        state.before: (names.get(id(state.node)) or state.before.name or "weight", state.node.array)
        for state in program.states
    }
    graph = Graph(program, weights, RULES)
    for step in program.steps:
        graph.write(step, REFUSED)
    infos = []
    for name, x in outputs:
        name = graph.free(name)
        graph.nodes.append(helper.make_node("Identity", [graph.of(x)], [name], name=name))
        infos.append(info(name, graph.dtype(x), x.shape, batch))
    nodes = needed(graph.nodes, {i.name for i in infos})
    read = {name for node in nodes for name in node.input}
    tensors = {name: np.asarray(v, order="C") for name, v in graph.initial.items() if name in read}
    if sum(v.nbytes for v in tensors.values()) > LARGEST - (1 << 20):
        raise ExportError(
            "export: the model has more than 2 GB of parameters, which no ONNX file can hold: "
            "export parts of it, or model.half()"
        )
    given = [info(graph.names[x], graph.dtype(x), x.shape, batch) for x in program.inputs]
    made = helper.make_graph(
        nodes, program.name, given, infos,
        [numpy_helper.from_array(v, name) for name, v in tensors.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        made, opset_imports=opsets, ir_version=IR_VERSION, producer_name="tinygrad_ce"
    )
    checker.check_model(model, full_check=True)
    return model


def info(name: str, dtype: Any, shape: Sequence[int], batch: str | None) -> Any:
    """What is said of an input or an output: its dtype, and sizes of which some have names."""
    from onnx import helper

    sizes = [n.named(batch or "") if isinstance(n, Size) else n for n in shape]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), sizes)


def needed(nodes: list[Any], outputs: set[str]) -> list[Any]:
    """The nodes that outputs rest on, in order."""
    wanted, found = set(outputs), []
    for node in reversed(nodes):
        if wanted & {*node.output}:
            wanted |= {*node.input}
            found.append(node)
    return found[::-1]


def run(content: bytes, arrays: Sequence[Any]) -> list[Any]:
    """What onnxruntime computes with a model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [x.name for x in session.get_inputs()]
    results: list[Any] = session.run(None, dict(zip(names, map(np.asarray, arrays))))
    return results
