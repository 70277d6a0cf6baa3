"""Small models for runners: ends of several types, state, control flow, several signatures."""

from __future__ import annotations

from typing import Any

import numpy as np

from quantlib.tflite import Draft, GraphDraft, Model, Table
from tests.support.models import constant, fully_connected, signature, weights

#: State after one sample of ones, of `counter`.
START = 10.0


def ends() -> Model:
    """Two inputs with aliases; outputs of float, integer and boolean type."""
    draft = Draft()
    graph = draft.graphs[0]
    x = graph.add_tensor("x", "FLOAT32", (1, 4))
    n = graph.add_tensor("n", "INT32", (1, 3))
    total = graph.add_tensor("total", "FLOAT32", (1, 4))
    twice = graph.add_tensor("twice", "INT32", (1, 3))
    greater = graph.add_tensor("positive", "BOOL", (1, 4))
    k = constant(draft, graph, "k", "FLOAT32", weights(1, 4, seed=1))
    zero = constant(draft, graph, "zero", "FLOAT32", np.zeros((1, 1), "f4"))
    graph.append(draft.operator("ADD", [x, k], [total], Table("AddOptions")))
    graph.append(draft.operator("ADD", [n, n], [twice], Table("AddOptions")))
    graph.append(draft.operator("GREATER", [total, zero], [greater], Table("GreaterOptions")))
    graph.inputs, graph.outputs = [x, n], [total, twice, greater]
    draft.signatures.append(signature("main", {"left": x, "right": n}, {"sum": total, "double": twice}))
    return draft.done()


def crossed(aliases: tuple[str, str]) -> Model:
    """Inputs a and b, of which one's alias is the other's name, so that a mapping could be read in two ways."""
    draft = Draft()
    graph = draft.graphs[0]
    a, b, y = (graph.add_tensor(name, "FLOAT32", (1, 2)) for name in ("a", "b", "y"))
    graph.append(draft.operator("SUB", [a, b], [y], Table("SubOptions")))
    graph.inputs, graph.outputs = [a, b], [y]
    draft.signatures.append(signature("main", dict(zip(aliases, (a, b), strict=True)), {"y": y}))
    return draft.done()


def listed_twice() -> Model:
    """One tensor that is two outputs."""
    draft = Draft()
    graph = draft.graphs[0]
    x = graph.add_tensor("x", "FLOAT32", (1, 4))
    y = graph.add_tensor("y", "FLOAT32", (1, 4))
    graph.append(draft.operator("NEG", [x], [y], Table("NegOptions")))
    graph.inputs, graph.outputs = [x], [y, y]
    return draft.done()


def repeated_names() -> Model:
    """Two outputs of one name, one of which is an input too."""
    draft = Draft()
    graph = draft.graphs[0]
    x = graph.add_tensor("y", "FLOAT32", (1, 4))
    y = graph.add_tensor("y", "FLOAT32", (1, 4))
    graph.append(draft.operator("NEG", [x], [y], Table("NegOptions")))
    graph.inputs, graph.outputs = [x], [y, x]
    return draft.done()


def views() -> Model:
    """Outputs that need no computing: a reshaped input, a constant."""
    draft = Draft()
    graph = draft.graphs[0]
    x = graph.add_tensor("x", "FLOAT32", (1, 4))
    shape = constant(draft, graph, "shape", "INT32", np.array([2, 2], np.int32))
    y = graph.add_tensor("y", "FLOAT32", (2, 2))
    k = constant(draft, graph, "k", "FLOAT32", weights(3, seed=3))
    graph.append(draft.operator("RESHAPE", [x, shape], [y], Table("ReshapeOptions", new_shape=[2, 2])))
    graph.inputs, graph.outputs = [x], [y, k]
    return draft.done()


def counter(*, delay: bool = False) -> Model:
    """A resource variable that begins at `START`, to which each sample is added; or that becomes the sample."""
    draft = Draft()
    draft.graphs.append(GraphDraft.of(Table("SubGraph", name="init")))
    main, init = draft.graphs
    handle_options = Table("VarHandleOptions", container="", shared_name="count")

    handle = init.add_tensor("handle", "RESOURCE", ())
    start = constant(draft, init, "start", "FLOAT32", np.full((1, 2), START, "f4"))
    init.append(draft.operator("VAR_HANDLE", [], [handle], handle_options))
    init.append(draft.operator("ASSIGN_VARIABLE", [handle, start], [], Table("AssignVariableOptions")))

    x = main.add_tensor("x", "FLOAT32", (1, 2))
    handle = main.add_tensor("handle", "RESOURCE", ())
    old = main.add_tensor("old", "FLOAT32", (1, 2))
    new = main.add_tensor("new", "FLOAT32", (1, 2))
    main.append(draft.operator("CALL_ONCE", [], [], Table("CallOnceOptions", init_subgraph_index=1)))
    main.append(draft.operator("VAR_HANDLE", [], [handle], handle_options))
    main.append(draft.operator("READ_VARIABLE", [handle], [old], Table("ReadVariableOptions")))
    main.append(draft.operator("ADD", [old, x], [new], Table("AddOptions")))
    kept = x if delay else new
    main.append(draft.operator("ASSIGN_VARIABLE", [handle, kept], [], Table("AssignVariableOptions")))
    main.inputs, main.outputs = [x], [new]
    return draft.done()


def loop(turns: int = 3, *, recurrent: bool = False) -> Model:
    """WHILE: add 1 to a count, and multiply x by 1.5, or send it through a recurrent layer that keeps a state."""
    draft = Draft()
    draft.graphs += [GraphDraft.of(Table("SubGraph", name=name)) for name in ("condition", "body")]
    main, condition, body = draft.graphs
    for graph in draft.graphs:
        graph.inputs = [graph.add_tensor("i", "INT32", (1,)), graph.add_tensor("x", "FLOAT32", (1, 4))]

    limit = constant(draft, condition, "limit", "INT32", np.array([turns], np.int32))
    less = condition.add_tensor("less", "BOOL", (1,))
    condition.append(draft.operator("LESS", [condition.inputs[0], limit], [less], Table("LessOptions")))
    condition.outputs = [less]

    one = constant(draft, body, "one", "INT32", np.array([1], np.int32))
    body.outputs = [body.add_tensor("next", "INT32", (1,)), body.add_tensor("y", "FLOAT32", (1, 4))]
    body.append(draft.operator("ADD", [body.inputs[0], one], body.outputs[:1], Table("AddOptions")))
    if recurrent:
        operands = [
            constant(draft, body, name, "FLOAT32", weights(*shape, seed=seed))
            for name, shape, seed in (("w", (4, 4), 1), ("r", (4, 4), 2), ("b", (4,), 3))
        ]
        operands.append(body.add_tensor("state", "FLOAT32", (1, 4), is_variable=True))
        options = Table("RNNOptions", fused_activation_function=4)
        body.append(draft.operator("RNN", [body.inputs[1], *operands], body.outputs[1:], options))
    else:
        factor = constant(draft, body, "factor", "FLOAT32", np.full((1, 4), 1.5, "f4"))
        body.append(draft.operator("MUL", [body.inputs[1], factor], body.outputs[1:], Table("MulOptions")))

    main.outputs = [main.add_tensor("count", "INT32", (1,)), main.add_tensor("result", "FLOAT32", (1, 4))]
    options = Table("WhileOptions", cond_subgraph_index=1, body_subgraph_index=2)
    main.append(draft.operator("WHILE", main.inputs, main.outputs, options))
    return draft.done()


def two_signatures() -> Model:
    """Signatures on two subgraphs, whose tensors have other indices; the second one by two names."""
    draft = Draft()
    draft.graphs.append(GraphDraft.of(Table("SubGraph", name="second")))
    first, second = draft.graphs
    for graph, name, order in ((first, "NEG", "xy"), (second, "SQUARE", "yx")):
        ends = {end: graph.add_tensor(end, "FLOAT32", (1, 4)) for end in order}
        graph.append(draft.operator(name, [ends["x"]], [ends["y"]], Table(f"{name.title()}Options")))
        graph.inputs, graph.outputs = [ends["x"]], [ends["y"]]
    draft.signatures += [
        signature("negate", {"input": 0}, {"output": 1}, 0),
        signature("square", {"input": 1}, {"output": 0}, 1),
        signature("square_again", {"other": 1}, {"result": 0}, 1),
    ]
    return draft.done()


def half_weights() -> Model:
    """A layer whose float16 weights pass DEQUANTIZE, read by two operators."""
    draft = Draft()
    graph = draft.graphs[0]
    x = graph.add_tensor("x", "FLOAT32", (1, 8))
    half = constant(draft, graph, "half", "FLOAT16", weights(8, 8, seed=4).astype(np.float16))
    w = graph.add_tensor("w", "FLOAT32", (8, 8))
    h = graph.add_tensor("h", "FLOAT32", (1, 8))
    y = graph.add_tensor("y", "FLOAT32", (1, 8))
    graph.append(draft.operator("DEQUANTIZE", [half], [w], Table("DequantizeOptions")))
    fully_connected(draft, graph, x, w, -1, h)
    fully_connected(draft, graph, h, w, -1, y)
    graph.inputs, graph.outputs = [x], [y]
    return draft.done()


def chain(operators: int, size: int) -> Model:
    """Many operators in a row, on vectors of a size."""
    draft = Draft()
    graph = draft.graphs[0]
    graph.inputs = [graph.add_tensor("x", "FLOAT32", (1, size))]
    last = graph.inputs[0]
    for i in range(operators):
        then = graph.add_tensor(f"h{i}", "FLOAT32", (1, size))
        graph.append(draft.operator("ABS" if i % 2 else "NEG", [last], [then]))
        last = then
    graph.outputs = [last]
    return draft.done()


def one(name: str, types: tuple[str, str], options: Table | None = None, **fields: Any) -> Model:
    """One operator on a tensor of a type, giving another type; `fields` go to both tensors."""
    draft = Draft()
    graph = draft.graphs[0]
    x = graph.add_tensor("x", types[0], (1, 4), **fields)
    y = graph.add_tensor("y", types[1], (1, 4), **fields)
    graph.append(draft.operator(name, [x], [y], options))
    graph.inputs, graph.outputs = [x], [y]
    return draft.done()
