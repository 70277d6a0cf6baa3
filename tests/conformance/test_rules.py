"""The judge of quantized files finds each fault that it looks for, and none in files that are right."""

from __future__ import annotations

import ast
import re
from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from quantlib.operators import Signature, operator_version
from quantlib.tflite import Draft, Table
from tests.support.litert import RESOLVERS, run
from tests.support.models import built, parameters
from tests.support.networks import EXAMPLES, example
from tests.support.networks_broken import MUTATIONS, Edit, broken
from tests.support.networks_integer import VALID
from tests.support.rules import RULES, slower, violations
from tests.support.rules.tables import FIXED, ROWS, WEIGHTED
from tests.support.shared import MODELS, name_of, needs_shared


def rules(found: list[str]) -> Counter[str]:
    return Counter(re.search(r": (\w+): found ", line)[1] for line in found)


@pytest.mark.parametrize("name", VALID)
def test_a_right_file_has_no_violations(name: str) -> None:
    assert violations(VALID[name]().to_bytes()) == []


@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize("name", VALID)
def test_litert_runs_the_right_files(name: str, resolver: str) -> None:
    run(VALID[name](), resolver)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_fault_is_found(name: str) -> None:
    rule, file, _ = MUTATIONS[name]
    found = violations(broken(name), VALID[file]().to_bytes())
    assert rule in rules(found), found


def test_every_rule_fires() -> None:
    assert {rule for rule, *_ in MUTATIONS.values()} == RULES


def test_a_line_says_where_and_what() -> None:
    found = violations(broken(next(n for n, (rule, *_) in MUTATIONS.items() if rule == "same_scale")))
    expected = (
        "subgraph 0, operator 8 RESHAPE, tensor 17 'flat': same_scale: "
        "found INT8 scale [0.310000002] zero point [1], "
        "required INT8 scale [0.300000012] zero point [1], as tensor 15"
    )
    assert expected in found


# ---- tables of kernels, entry by entry ---------------------------------------------------------------------------


def one(name: str, types: tuple[str, ...], to: str, scale: float = 0.1, zero_point: int = 0) -> bytes:
    """A file of one operator whose operands are all inputs, in the version that its types ask for."""
    draft = Draft()
    graph = draft.graphs[0]
    for i, type in enumerate(types):
        given = {} if type in ("INT32", "BOOL") else {"quantization": parameters(0.1)}
        graph.inputs.append(graph.add_tensor(f"x{i}", type, (1, 4), **given))
    given = {} if to in ("INT32", "BOOL") else {"quantization": parameters(scale, zero_point)}
    graph.outputs = [graph.add_tensor("y", to, (1, 4), **given)]
    shapes, scales = ((1, 4),) * len(types), (0.1, 0.1 if len(types) > 1 else None, scale)
    signature = Signature(name, types, (to,), _options(name), shapes, scales, quantized=True)
    options = Table(f"{name.title()}Options", pot_scale_int16=False) if name in ("ADD", "SUB") else None
    version = operator_version(signature)
    graph.append(draft.operator(name, graph.inputs, graph.outputs, options, version))
    return draft.done().to_bytes()


def _options(name: str) -> dict[str, bool]:
    return {"pot_scale_int16": False} if name in ("ADD", "SUB") else {}


#: Operators that these files serve: one activation type, no weights.
PLAIN = [
    name
    for name, row in ROWS.items()
    if row.inputs is not None
    and name not in (*FIXED, *WEIGHTED, "DENSIFY", "UNIQUE", "TOPK_V2")
    and row.rule != "input"
]


def operands(name: str, type: str) -> tuple[str, ...]:
    inputs = ROWS[name].inputs
    return tuple(type if i in inputs else "INT32" for i in range(max(2, max(inputs) + 1)))[
        : 1 if inputs == (0,) else None
    ]


@pytest.mark.parametrize(("name", "type"), list(product(PLAIN, ("INT8", "INT16", "UINT8"))))
def test_types_that_a_kernel_takes(name: str, type: str) -> None:
    found = rules(violations(one(name, operands(name, type), type)))
    assert set(found) == (set() if type in ROWS[name].types else {"kernel_exists"})


@pytest.mark.parametrize("name", [n for n in PLAIN if ROWS[n].rule == "same"])
def test_the_same_scale_for_all(name: str) -> None:
    type = ROWS[name].types[0]
    assert set(rules(violations(one(name, operands(name, type), type, 0.2)))) == {"same_scale"}


@pytest.mark.parametrize(("name", "type"), [(n, t) for n, by_type in FIXED.items() for t in by_type])
def test_fixed_outputs(name: str, type: str) -> None:
    scale, zero_point = FIXED[name][type]
    assert violations(one(name, (type,), type, scale, zero_point)) == []
    assert set(rules(violations(one(name, (type,), type, scale * 1.001, zero_point)))) == {"fixed_output"}


def test_ratios_that_xnnpack_leaves_alone() -> None:
    slow = {
        "ADD": one("ADD", ("INT8", "INT8"), "INT8", 3e-4),
        "SUB": one("SUB", ("INT8", "INT8"), "INT8", 200.0),
        "MUL": one("MUL", ("INT8", "INT8"), "INT8", 1e3),
        "QUANTIZE": one("QUANTIZE", ("INT8",), "INT8", 1e-4),
        "LEAKY_RELU": one("LEAKY_RELU", ("INT8",), "INT8", 1e-4),
    }
    for name, file in slow.items():
        assert [name in line for line in slower(file)][:1] == [True]
        for resolver in RESOLVERS:
            run(file, resolver)
    assert slower(one("QUANTIZE", ("INT8",), "UINT8", 1e-4)) == []  # of other signedness: never XNNPACK's
    assert slower(one("ADD", ("INT8", "INT8"), "INT8", 0.1)) == []


# ---- what an original excuses ------------------------------------------------------------------------------------


def test_a_higher_version_stays_where_the_original_had_it() -> None:
    edit = Edit(VALID["layers"]())
    edit.code("CONV_2D", version=5)
    raised = edit.done()
    assert set(rules(violations(raised))) == {"exact_version"}
    assert set(rules(violations(raised, VALID["layers"]().to_bytes()))) == {"exact_version"}
    assert violations(raised, raised) == []


def test_a_version_too_low_stays_only_where_the_types_were_the_same() -> None:
    edit = Edit(VALID["layers"]())
    edit.code("CONV_2D", version=1)
    low = edit.done()
    assert violations(low, low) == []
    assert set(rules(violations(low, VALID["hybrid"]().to_bytes()))) == {"exact_version", "signatures"}


def test_a_float_operator_keeps_its_version() -> None:
    edit = Edit(VALID["hybrid"]())
    edit.code("MUL", version=7)
    found = violations(edit.done(), VALID["hybrid"]().to_bytes())
    assert [line for line in found if "found version 7 of a float operator" in line] == found != []


def test_left_over_data_stays_where_the_original_had_it() -> None:
    name = next(n for n, (rule, *_) in MUTATIONS.items() if rule == "unused_buffers")
    assert violations(broken(name), broken(name)) == []
    name = next(n for n, (rule, *_) in MUTATIONS.items() if rule == "unread_constants")
    assert violations(broken(name), broken(name)) == []


# ---- files of others ---------------------------------------------------------------------------------------------

#: What converters and tools of their time wrote differently, and which of them could not be met; per rule, how often.
KNOWN = {
    # ai-edge-quantizer leaves versions as they were, writes new codes without the old field,
    # and multiplies scales in double precision
    "edge/mnist_quantized": {"per_channel_zero": 3, "operator_codes": 1, "exact_version": 1},
    "edge/partly_quantized_mnist": {"operator_codes": 2, "exact_version": 2},
    "edge/single_fc_bias_sub_channel_weight_only_sym_weight": {"operator_codes": 5, "exact_version": 1},
    "edge/two_signatures_a8w8": {"exact_version": 2},
    "mnist_conv_fc_a8w8_int8": {"bias_scale": 2, "exact_version": 4},
    # quantization-aware training: bias scales computed in double precision, 1 unit in the last place off
    "mobilenet_v1_0.25_224_qat_uint8": {"bias_scale": 10},
    "ssd_mobilenet_v1_coco_qat_uint8": {"bias_scale": 10},
    # an old converter wrote DEQUANTIZE of float16 as version 2
    "face_detection_short_range_fp16": {"exact_version": 1},
    "selfie_segmentation_fp16": {"exact_version": 1},
    # data that nobody reads
    "dtln_1_while_float": {"unread_constants": 3},
    "mnist_lstm_float": {"unused_buffers": 2},
    "mnist_lstm_int8": {"unused_buffers": 2},
    "mobilenet_v2_1.0_224_float_reconstructed": {"unused_buffers": 2},
    "recommendation_rnn_float": {"unused_buffers": 2},
}


@needs_shared
@pytest.mark.parametrize("path", MODELS or [Path("absent")], ids=lambda p: p.stem)
def test_files_of_others(path: Path) -> None:
    found = violations(path.read_bytes())
    assert rules(found) == KNOWN.get(name_of(path).removesuffix(".tflite"), {}), found
    assert violations(path.read_bytes(), path.read_bytes()) == [
        line for line in found if not re.search("exact_version|operator_codes|unused_buffers|unread_constants", line)
    ]


@pytest.mark.parametrize("name", ["dense", "convolution", "branches", "variables", "sparse", "blockwise", "outside"])
def test_files_built_for_other_tests(name: str) -> None:
    assert violations(built(name)) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_float_networks(name: str) -> None:
    made = example(name).model
    assert violations(made.to_bytes()) == []
    run(made, "reference")


def test_the_judge_is_independent() -> None:
    """It shares no code with what it judges, so that one mistake can't be made twice."""
    files = sorted((Path(__file__).parents[1] / "support" / "rules").glob("*.py"))
    assert files
    for path in files:
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        imported = [n.module if isinstance(n, ast.ImportFrom) and not n.level else None for n in nodes]
        assert not [m for m in imported if m and m.split(".")[0] in ("quantlib", "tests")], path
        assert "import quantlib" not in path.read_text(encoding="utf-8")
