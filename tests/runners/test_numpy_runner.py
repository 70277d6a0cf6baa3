"""What is the NumPy runner's own: kernels that a user brings, memory, arithmetic without warnings, control flow."""

from __future__ import annotations

import gc
import itertools
import os
import platform
import re
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from typing import Any

import numpy as np
import pytest

from quantlib.errors import InvalidModel, InvalidValue, NotFound
from quantlib.operators import Call
from quantlib.runners import NumpyRunner
from quantlib.tflite import Draft, Model, Table, Tensor
from tests.hostile.exercise import outcome
from tests.runners import built
from tests.runners.contract import X, seen
from tests.support import models

Array = Any


def custom(code: str, options: bytes | None = None, outputs: int = 1) -> Model:
    draft = Draft()
    graph = draft.graphs[0]
    x = graph.add_tensor("x", "FLOAT32", (1, 4))
    ends = [graph.add_tensor(f"y{i}", "FLOAT32", (1, 4)) for i in range(outputs)]
    like = Table("OperatorCode", builtin_code=32, custom_code=code)
    raw = None if options is None else np.frombuffer(options, np.uint8)
    graph.append(
        Table("Operator", opcode_index=draft.coded(like, 1), inputs=[x, -1], outputs=ends, custom_options=raw)
    )
    graph.inputs, graph.outputs = [x], ends
    return draft.done()


class TestKernels:
    def test_a_missing_one_is_named_with_what_to_do(self) -> None:
        message = (
            "Whirl (subgraph 0, operator 0): there is no kernel for it; give one as kernels={'Whirl': function}, "
            "or run with LiteRT"
        )
        with pytest.raises(NotFound, match=f"^{re.escape(message)}$"):
            NumpyRunner(custom("Whirl"))

    def test_one_in_a_subgraph_that_may_never_run_is_named_too(self) -> None:
        model = built.loop()
        body = model.subgraphs[2]
        operators = (body.operators[0], body.operators[1].replace(opcode_index=len(model.root.operator_codes)))
        codes = (*model.root.operator_codes, Table("OperatorCode", builtin_code=32, custom_code="Whirl"))
        graphs = (*model.subgraphs[:2], body.replace(operators=operators))
        with pytest.raises(NotFound, match=r"^Whirl \(subgraph 2, operator 1\): there is no kernel"):
            NumpyRunner(Model(model.root.replace(operator_codes=codes, subgraphs=graphs)))

    def test_a_users_runs(self) -> None:
        calls: list[Call] = []

        def whirl(call: Call) -> list[Array]:
            calls.append(call)
            return [call.operand(0) * 2]

        runner = NumpyRunner(custom("Whirl", b"\1\2\3"), kernels={"Whirl": whirl})
        np.testing.assert_array_equal(runner.run(X)["y0"], 2 * X)
        assert calls[0].attributes["custom_options"] == b"\1\2\3"
        assert calls[0].types == ("FLOAT32",)
        assert calls[0].inputs[1] is None
        found = seen(runner, X)
        np.testing.assert_array_equal(found[1][2], 2 * X)

    def test_options_in_a_flexbuffer_are_decoded(self) -> None:
        given: list[Any] = []
        options = bytes.fromhex("6b0001030101010704022401")  # {"k": 7}

        def kernel(call: Call) -> list[Array]:
            given.append(dict(call.attributes))
            return [call.operand(0)]

        NumpyRunner(custom("Whirl", options), kernels={"Whirl": kernel}).run(X)
        assert given == [{"custom_options": options, "k": 7}]

    def test_it_goes_before_ours(self) -> None:
        runner = NumpyRunner(built.chain(2, 4), kernels={"NEG": lambda call: [call.operand(0) + 100]})
        assert runner.run(X)["h1"].tolist() == (X + 100).tolist()
        taken = NumpyRunner(built.loop(), kernels={"WHILE": lambda call: [call.operand(0), call.operand(1)]})
        np.testing.assert_array_equal(taken.run([np.zeros(1, np.int32), X])["result"], X)
        # it takes integers whose scales it knows by itself
        quantized = built.one("NEG", ("INT8", "INT8"), quantization=models.parameters(0.5, 3))
        runner = NumpyRunner(quantized, kernels={"NEG": lambda call: [6 - call.operand(0)]})
        assert runner.run(np.full((1, 4), 4, np.int8))["y"].tolist() == [[2] * 4]

    @pytest.mark.parametrize(
        ("result", "message"),
        [
            (lambda x: [], "0 results where 1 are required"),
            (lambda x: [x, x], "2 results where 1 are required"),
            (lambda x: x, "its kernel gave a ndarray; a list with each output is required"),
            (lambda x: None, "its kernel gave a NoneType; a list"),
            (lambda x: [x.astype(np.float64)], "gave float64 as output 0; an array of float32 is required"),
            (lambda x: [1.0], "gave float as output 0; an array of float32 is required"),
            (lambda x: [x / {}["no"]], "its kernel stopped: KeyError: 'no'"),
            (lambda x: [x.reshape(3)], "its kernel stopped: ValueError: cannot reshape"),
            (lambda x: x.__setitem__(0, 1), "its kernel stopped: ValueError: assignment destination is read-only"),
        ],
    )
    def test_what_it_does_wrong_is_named(self, result: Any, message: str) -> None:
        runner = NumpyRunner(custom("Whirl"), kernels={"Whirl": lambda call: result(call.operand(0))})
        with pytest.raises(InvalidValue, match=rf"^Whirl \(subgraph 0, operator 0\): .*{re.escape(message)}"):
            runner.run(X.copy())

    def test_its_own_error_stays_in_the_chain(self) -> None:
        runner = NumpyRunner(custom("Whirl"), kernels={"Whirl": lambda call: [1 / 0]})
        with pytest.raises(InvalidValue) as caught:
            runner.run(X)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)

    def test_what_a_tap_raises_passes_through(self) -> None:
        def tap(g: int, index: int, values: Array) -> None:
            if g == 2:
                raise KeyError(index)

        with pytest.raises(KeyError):
            NumpyRunner(built.loop()).run([np.zeros(1, np.int32), X], tap=tap)


class TestOnce:
    def test_constants_are_computed_once(self) -> None:
        calls: Counter[str] = Counter()

        def widen(call: Call) -> list[Array]:
            calls["DEQUANTIZE"] += 1
            return [call.operand(0).astype(np.float32)]

        runner = NumpyRunner(built.half_weights(), kernels={"DEQUANTIZE": widen})
        x = models.weights(1, 8)
        for _ in range(3):
            runner.run(x)
        assert calls == {"DEQUANTIZE": 1}
        w = models.weights(8, 8, seed=4).astype(np.float16).astype(np.float32)
        np.testing.assert_allclose(runner.run(x)["y"], x @ w.T @ w.T, rtol=1e-6, atol=1e-6)

    def test_sparse_constants_become_dense_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model = models.sparse()
        w = model.tensor("w_sparse").numpy()
        assert 0 < np.count_nonzero(w) < w.size / 2
        runner = NumpyRunner(model)
        forbid_reading(monkeypatch)
        x = models.weights(1, 16)
        np.testing.assert_allclose(runner.run(x)["y"], x @ w.T, rtol=1e-6, atol=1e-6)

    def test_a_chain_of_sparse_and_half_is_folded(self) -> None:
        model = models.sparse()
        draft = Draft(model)
        graph = draft.graphs[0]
        stored = model.tensor("w_sparse")
        half = draft.add_buffer(stored.data.numpy().view(np.float32).astype(np.float16))  # type: ignore[union-attr]  # a constant
        graph.tensors[stored.index] = stored.table.replace(type=1, buffer=half)
        dense = model.tensor("w").index
        middle = graph.add_tensor("middle", "FLOAT16", (8, 16))
        first = graph.operators[0].replace(outputs=[middle])
        then = draft.operator("DEQUANTIZE", [middle], [dense], Table("DequantizeOptions"))
        graph.operators[:] = [first, then, *graph.operators[1:]]
        folded = draft.done()
        x = models.weights(1, 16)
        assert [i for _, i, _ in seen(NumpyRunner(folded), x)] == [folded.tensor(n).index for n in ("x", "y")]
        w = model.tensor("w_sparse").numpy().astype(np.float16).astype(np.float32)
        np.testing.assert_allclose(NumpyRunner(folded).run(x)["y"], x @ w.T, rtol=1e-6, atol=1e-6)

    def test_a_dequantized_constant_may_be_an_output(self) -> None:
        model = built.half_weights()
        graph = model.subgraphs[0].replace(outputs=[*model.subgraphs[0].outputs.tolist(), 2])
        outputs = NumpyRunner(Model(model.root.replace(subgraphs=[graph]))).run(models.weights(1, 8))
        np.testing.assert_array_equal(outputs["w"], model.tensor("half").real())

    def test_nothing_is_looked_up_in_a_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model = built.loop(recurrent=True)
        runner = NumpyRunner(model)
        forbid_reading(monkeypatch)
        for name in ("prepare", "kernel_of"):
            monkeypatch.setattr(f"quantlib.runners.program.{name}", None)
        runner.run([np.zeros(1, np.int32), X])

    def test_the_runner_itself_takes_little_time(self) -> None:
        count = 500
        model, out = built.chain(count, 4), np.zeros((1, 4), np.float32)
        kernels = {name: (lambda call: [out]) for name in ("NEG", "ABS")}
        runner = NumpyRunner(model, kernels=kernels)
        times = []
        for _ in range(30):
            start = time.perf_counter()
            runner.run(X)
            times.append(time.perf_counter() - start)
        assert min(times) / count < 10e-6  # 2 us where nothing else runs


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Tensor) -> None:
        raise AssertionError(f"{self} is looked up again")

    monkeypatch.setattr(Tensor, "numpy", refuse)
    monkeypatch.setattr(Tensor, "table", property(refuse))


class TestMemory:
    SIZE = 1 << 18  # 1 MiB of float32

    def peak(self, runner: NumpyRunner, x: Array, **options: Any) -> float:
        """Most memory of a run, in arrays of `SIZE`."""
        runner.run(x)
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            runner.run(x, **options)
            return (tracemalloc.get_traced_memory()[1] - before) / (4 * self.SIZE)
        finally:
            tracemalloc.stop()

    def test_tensors_are_dropped_after_their_last_reader(self) -> None:
        x = np.ones((1, self.SIZE), np.float32)
        runner = NumpyRunner(built.chain(12, self.SIZE))
        # operand and result of one operator; at the end the result and the caller's copy
        assert self.peak(runner, x) < 2.1
        assert self.peak(runner, x, tap=lambda *_: None) < 2.1

    def test_results_that_nobody_reads_are_dropped(self) -> None:
        draft = Draft()
        graph = draft.graphs[0]
        graph.inputs = [graph.add_tensor("x", "FLOAT32", (1, self.SIZE))]
        for i in range(8):
            graph.outputs = [graph.add_tensor(f"y{i}", "FLOAT32", (1, self.SIZE))]
            graph.append(draft.operator("NEG", graph.inputs, graph.outputs))
        assert self.peak(NumpyRunner(draft.done()), np.ones((1, self.SIZE), np.float32)) < 2.1

    def test_what_is_read_later_is_kept(self) -> None:
        draft = Draft()
        graph = draft.graphs[0]
        x = graph.add_tensor("x", "FLOAT32", (1, 4))
        h, k, y, z = (graph.add_tensor(name, "FLOAT32", (1, 4)) for name in "hkyz")
        graph.append(draft.operator("NEG", [x], [h]))
        graph.append(draft.operator("ABS", [h], [k]))
        graph.append(draft.operator("ADD", [k, x], [y], Table("AddOptions")))
        graph.append(draft.operator("ADD", [y, h], [z], Table("AddOptions")))
        graph.inputs, graph.outputs = [x], [z, k]
        outputs = NumpyRunner(draft.done()).run(X)
        np.testing.assert_array_equal(outputs["z"], np.abs(X))
        np.testing.assert_array_equal(outputs["k"], np.abs(X))

    @pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's malloc that is told")
    def test_freed_memory_is_used_again(self) -> None:
        # Dask, which other tests start, leaves settings for malloc behind, which go before ours
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
        done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, env=plain)
        before, after = map(int, done.stdout.split())
        assert before > 4 * 8 * 700  # 4 times 8 arrays of 3 MB, each 732 pages
        assert after < before / 10


#: Counts page faults of a loop over fresh arrays, before and after a runner is made.
FAULTS = """
from resource import RUSAGE_SELF, getrusage
import numpy as np
import quantlib as ql
from quantlib.runners import NumpyRunner

def faults():
    for turn in range(5):
        if turn == 1:
            start = getrusage(RUSAGE_SELF).ru_minflt
        [np.ones(3_000_000, np.uint8) for _ in range(8)]
    return getrusage(RUSAGE_SELF).ru_minflt - start

before = faults()
NumpyRunner(ql.read(ql.demo.MODEL))
print(before, faults())
"""


class TestArithmetic:
    """NumPy's warnings, which the tests turn into errors, stay inside: these values are results like others."""

    @pytest.mark.parametrize(
        ("name", "options", "x", "expected"),
        [
            ("LOG", None, [-1, 0, 1, np.inf], [np.nan, -np.inf, 0, np.inf]),
            ("SQRT", None, [-1, 0, 4, np.inf], [np.nan, 0, 2, np.inf]),
            ("RSQRT", None, [-1, 0, 4, np.inf], [np.nan, np.inf, 0.5, 0]),
            ("EXP", "ExpOptions", [-1000, 0, 1000, np.nan], [0, 1, np.inf, np.nan]),
            ("SQUARE", "SquareOptions", [1e30, -1e30, 0, 1e-30], [np.inf, np.inf, 0, 0]),
            ("LOGISTIC", None, [-1e4, 1e4, 0, np.nan], [0, 1, 0.5, np.nan]),
            ("SIN", None, [np.inf, 0, 0, 0], [np.nan, 0, 0, 0]),
        ],
    )
    def test_values_that_are_not_finite(
        self, name: str, options: str | None, x: list[float], expected: list[float]
    ) -> None:
        model = built.one(name, ("FLOAT32", "FLOAT32"), Table(options) if options else None)
        result = NumpyRunner(model).run(np.array([x], np.float32))["y"]
        np.testing.assert_allclose(result[0], np.array(expected, np.float32), atol=1e-30)

    @pytest.mark.parametrize("name", ["SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION", "GELU", "ELU", "TANH"])
    @pytest.mark.parametrize("x", [[np.nan, 1, 2, 3], [np.inf, 1, np.inf, 0], [-np.inf] * 4, [3e38] * 4, [0] * 4])
    def test_activations(self, name: str, x: list[float]) -> None:
        kinds = {"SOFTMAX": "SoftmaxOptions", "L2_NORMALIZATION": "L2NormOptions", "GELU": "GeluOptions"}
        NumpyRunner(built.one(name, ("FLOAT32", "FLOAT32"), Table(kinds[name]) if name in kinds else None)).run(
            np.array([x], np.float32)
        )

    def test_a_users_kernel(self) -> None:
        runner = NumpyRunner(custom("Whirl"), kernels={"Whirl": lambda call: [np.log(call.operand(0)) * np.inf]})
        result = runner.run(np.array([[0, 1, -1, 2]], np.float32))["y0"]
        np.testing.assert_array_equal(result, np.array([[-np.inf, np.nan, np.nan, np.inf]], np.float32))

    def test_a_constant_beyond_float16(self) -> None:
        model = built.half_weights()
        runner = NumpyRunner(model, kernels={"DEQUANTIZE": lambda call: [np.exp(call.operand(0).astype("f4") * 999)]})
        assert not np.isfinite(runner.run(models.weights(1, 8))["y"]).all()

    def test_a_cast_of_nan(self) -> None:
        model = built.one("CAST", ("FLOAT32", "INT32"), Table("CastOptions"))
        result = NumpyRunner(model).run(np.array([[np.nan, np.inf, 1.5, -1.5]], np.float32))["y"]
        assert result[0, 2:].tolist() == [1, -1]

    def test_a_sample_beyond_float32(self) -> None:
        result = NumpyRunner(models.dynamic_shape()).run(np.array([[1e300, -1e300, 1, -1]]))["y"]
        assert result.tolist() == [[np.inf, 0, 1, 0]]

    def test_the_callers_settings_are_left_alone(self) -> None:
        with np.errstate(all="raise"):
            NumpyRunner(built.one("LOG", ("FLOAT32", "FLOAT32"))).run(np.zeros((1, 4), np.float32))
            assert set(np.geterr().values()) == {"raise"}


class TestSubgraphs:
    def test_each_turn_of_a_loop_is_shown_under_its_subgraph(self) -> None:
        model = built.loop(3)
        found = seen(NumpyRunner(model), [np.zeros(1, np.int32), X])
        counts = Counter((g, i) for g, i, _ in found)
        names = {key: str(model.tensor(key).name) for key in counts}
        assert {(g, names[g, i]): n for (g, i), n in counts.items()} == {
            **dict.fromkeys(itertools.product([0], ["i", "x", "count", "result"]), 1),
            **dict.fromkeys(itertools.product([1], ["i", "x", "less"]), 4),
            **dict.fromkeys(itertools.product([2], ["i", "x", "next", "y"]), 3),
        }
        y = model.subgraphs[2].outputs.tolist()[1]
        for turn, values in enumerate(v for g, i, v in found if (g, i) == (2, y)):
            np.testing.assert_array_equal(values, X * np.float32(1.5) ** (turn + 1))

    def test_a_branch_is_shown_where_it_is_taken(self) -> None:
        runner = NumpyRunner(models.branches(), "main")
        for condition, other in ((True, 2), (False, 1)):
            shown = {g for g, _, _ in seen(runner, [np.array(condition), X])}
            assert shown == {0, 3 - other}

    def test_state_inside_a_loop(self) -> None:
        model = built.loop(3, recurrent=True)
        runner = NumpyRunner(model)
        sample = [np.zeros(1, np.int32), X]
        first = runner.run(sample)["result"]
        np.testing.assert_array_equal(runner.run(sample)["result"], first)
        assert np.abs(runner.run(sample, keep_state=True)["result"] - first).max() > 1e-3
        state = next(t.index for t in model.tensors(2) if t.name == "state")
        found = seen(runner, sample)
        states = [v for g, i, v in found if (g, i) == (2, state)]
        outputs = [v for g, i, v in found if (g, i) == (2, model.subgraphs[2].outputs.tolist()[1])]
        assert len(states) == 3
        for a, b in zip(states, outputs, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_an_error_inside_says_the_way(self) -> None:
        runner = NumpyRunner(built.loop(), kernels={"MUL": lambda call: [1 / 0]})
        message = r"^WHILE \(subgraph 0, operator 0\): MUL \(subgraph 2, operator 1\): its kernel stopped"
        with pytest.raises(InvalidValue, match=message):
            runner.run([np.zeros(1, np.int32), X])

    def test_a_variable_before_its_first_value(self) -> None:
        model = built.counter()
        graph = model.subgraphs[0]
        without = Model(model.root.replace(subgraphs=[graph.replace(operators=graph.operators[1:])]))
        with pytest.raises(InvalidValue, match="variable '/count' is read before anything was assigned to it"):
            NumpyRunner(without).run(X[:, :2])


def changed(model: Model, g: int, **fields: Any) -> Model:
    graphs = [graph.replace(**fields) if i == g else graph for i, graph in enumerate(model.subgraphs)]
    return Model(model.root.replace(subgraphs=graphs))


class TestBrokenModels:
    def test_operators_out_of_order(self) -> None:
        model = built.chain(3, 4)
        backwards = changed(model, 0, operators=model.subgraphs[0].operators[::-1])
        message = r"^NEG \(subgraph 0, operator 0\): tensor 'h1' \(0, 2\) is read before anything wrote it"
        with pytest.raises(InvalidModel, match=message):
            NumpyRunner(backwards)

    def test_an_output_that_nobody_computes(self) -> None:
        model = built.chain(3, 4)
        message = r"^subgraph 0, an output: tensor 'h2' \(0, 3\) is read before anything wrote it"
        with pytest.raises(InvalidModel, match=message):
            NumpyRunner(changed(model, 0, operators=model.subgraphs[0].operators[:2]))

    @pytest.mark.parametrize("index", [4, 1 << 30, -2])
    def test_a_tensor_that_is_not_there(self, index: int) -> None:
        operators = built.chain(3, 4).subgraphs[0].operators
        for field in ("inputs", "outputs"):
            wrong = (operators[0].replace(**{field: [index]}), *operators[1:])
            with pytest.raises(InvalidModel, match=rf"^subgraph 0, operator 0: tensor {index} of 4"):
                NumpyRunner(changed(built.chain(3, 4), 0, operators=wrong))

    @pytest.mark.parametrize("target", [3, -1])
    def test_a_subgraph_that_is_not_there(self, target: int) -> None:
        options = Table("WhileOptions", cond_subgraph_index=1, body_subgraph_index=target)
        with pytest.raises(InvalidModel, match=rf"^WHILE \(subgraph 0, operator 0\): there is no subgraph {target}"):
            NumpyRunner(self.with_options(options))

    def test_a_subgraph_that_calls_itself(self) -> None:
        options = Table("WhileOptions", cond_subgraph_index=1, body_subgraph_index=0)
        with pytest.raises(InvalidModel, match="more than 64 deep, or in a circle"):
            NumpyRunner(self.with_options(options))

    def with_options(self, options: Table) -> Model:
        model = built.loop()
        return changed(model, 0, operators=[model.subgraphs[0].operators[0].replace(builtin_options=options)])

    def test_a_call_with_too_few_operands(self) -> None:
        model = built.loop()
        operator = model.subgraphs[0].operators[0].replace(inputs=[0])
        with pytest.raises(InvalidValue, match="subgraph 1 is called with 1 inputs; it has 2"):
            NumpyRunner(changed(model, 0, operators=[operator])).run([np.zeros(1, np.int32), X])

    def test_a_condition_that_is_none(self) -> None:
        model = built.loop()
        for outputs, message in (([], "its condition is nothing"), ([1], "its condition is 4 values")):
            with pytest.raises(InvalidValue, match=rf"^WHILE \(subgraph 0, operator 0\): {message}; one is required"):
                NumpyRunner(changed(model, 1, outputs=outputs)).run([np.zeros(1, np.int32), X])

    def test_options_of_another_operator(self) -> None:
        model = built.one("SOFTMAX", ("FLOAT32", "FLOAT32"), Table("AddOptions"))
        with pytest.raises(InvalidValue, match=r"^SOFTMAX \(subgraph 0, operator 0\): its kernel stopped: Attribute"):
            NumpyRunner(model).run(X)

    def test_an_operator_without_operands(self) -> None:
        for name in ("ADD", "CONV_2D", "QUANTIZE", "DEQUANTIZE", "RESHAPE", "SPLIT", "RNN"):
            model = built.one("NEG", ("FLOAT32", "FLOAT32"))
            draft = Draft(model)
            draft.graphs[0].operators[:] = [draft.operator(name, [], [1])]
            broken = draft.done()
            error = outcome(lambda broken=broken: NumpyRunner(broken).run(X))
            assert isinstance(error, (InvalidValue, InvalidModel)), (name, error)
            assert str(error).startswith(f"{name} (subgraph 0, operator 0): "), error

    @pytest.mark.parametrize("name", list(models.BUILT))
    def test_every_odd_model_runs_or_says_why(self, name: str) -> None:
        from quantlib.tflite import read
        from tests.runners.accuracy import drawn, signatures

        model = read(models.built(name))
        for signature in signatures(model):
            runner = outcome(lambda signature=signature: NumpyRunner(model, signature))
            if isinstance(runner, NumpyRunner):
                outcome(lambda runner=runner: runner.run(drawn(runner.interface)))

    def test_options_that_name_no_variable(self) -> None:
        model = built.counter()
        operators = list(model.subgraphs[0].operators)
        operators[1] = operators[1].replace(builtin_options=Table("UnpackOptions"))
        with pytest.raises(
            InvalidValue, match=r"^VAR_HANDLE \(subgraph 0, operator 1\): its options are UnpackOptions"
        ):
            NumpyRunner(changed(model, 0, operators=operators)).run(X[:, :2])

    def test_a_handle_as_a_value(self) -> None:
        model = built.counter()
        operators = list(model.subgraphs[0].operators)
        operators[4] = operators[4].replace(inputs=[operators[4].inputs[0]] * 2)
        with pytest.raises(InvalidValue, match=r"^ASSIGN_VARIABLE \(subgraph 0, operator 4\): a handle is assigned"):
            NumpyRunner(changed(model, 0, operators=operators)).run(X[:, :2])

    @pytest.mark.parametrize("shape", [(1 << 30, 1 << 30, 1 << 30), (0, 1 << 31 - 1, 1 << 31 - 1, 1 << 31 - 1)])
    def test_a_variable_beyond_memory(self, shape: tuple[int, ...]) -> None:
        model = models.variables()
        state = model.tensor("state")
        tables = list(model.subgraphs[0].tensors)
        tables[state.index] = state.table.replace(shape=shape)
        with pytest.raises(InvalidModel, match=r"^tensor 'state' .* is beyond what memory holds$"):
            NumpyRunner(changed(model, 0, tensors=tables))
