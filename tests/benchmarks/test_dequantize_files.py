"""The table of dequantized files has every quantized one."""

from __future__ import annotations

from benchmarks.dequantize import FILES
from quantlib.tflite import read
from tests.support.shared import MODELS, SHARED, name_of, needs_shared


@needs_shared
def test_every_quantized_file_is_measured() -> None:
    found = {
        name_of(path).removesuffix(".tflite")
        for path in MODELS
        if any(t.quantization is not None or t.type == "FLOAT16" for t in read(path).tensors() if t.type != "FLOAT32")
    }
    assert found == set(FILES)


@needs_shared
def test_every_task_exists() -> None:
    for task in set(FILES.values()) - {""}:
        assert (SHARED / "models" / f"{task}.tflite").is_file()
