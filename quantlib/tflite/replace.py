"""One tensor's data, type or quantization replaced: what `Model.replace` promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue
from quantlib.numerics import ElementType, element_type, pack

from .edit import Draft, quantization_table
from .schema import tensor_type_code

if TYPE_CHECKING:
    from .model import Model
    from .tensor import Quantization, Tensor

_INTEGERS = ("INT8", "UINT8", "INT16", "INT32", "INT64")


def replace_tensor(
    model: Model,
    tensor: Tensor,
    data: npt.NDArray[Any] | None,
    type: str | None,
    quantization: Quantization | None,
) -> Model:
    """Return a model with another tensor in the place of one; see `Model.replace`."""
    if data is None and type is None and quantization is None:
        raise InvalidValue(f"{tensor}: nothing to replace; give data, type or quantization")
    data = None if data is None else np.asarray(data)
    kind = element_type(type or _implied(tensor, data, quantization))
    table = tensor.table.replace(type=tensor_type_code(kind.name))
    draft = Draft(model)
    if data is not None:
        _check_data(tensor, data, kind)
        stored = pack(data, kind) if kind.bits < 8 else data
        table = table.replace(buffer=draft.add_buffer(stored), sparsity=None, external_buffer=None)
    elif tensor.is_constant and kind.bits != element_type(tensor.type).bits:
        raise InvalidValue(
            f"{tensor}: as {kind.name} its {tensor.type} bytes would mean something else; give data too"
        )
    if quantization is not None:
        _check_quantization(tensor, quantization, kind)
        table = table.replace(quantization=quantization_table(quantization, table.quantization))
    draft.graphs[tensor.subgraph].tensors[tensor.index] = table
    return draft.done()


def _implied(tensor: Tensor, data: npt.NDArray[Any] | None, quantization: Quantization | None) -> str:
    """The type that isn't given: integers that come with their scales say it, otherwise it stays."""
    if data is not None and quantization is not None and quantization.scale.size and data.dtype != tensor.dtype:
        return next((n for n in _INTEGERS if element_type(n).storage == data.dtype), tensor.type)
    return tensor.type


def _check_data(tensor: Tensor, data: npt.NDArray[Any], kind: ElementType) -> None:
    if not tensor.is_constant or tensor.table.is_variable:
        raise InvalidValue(
            f"{tensor}: not a constant, so it takes no data; it is computed, or fed, when the model runs"
        )
    if data.shape != tensor.shape:
        raise InvalidValue(
            f"{tensor}: data of shape {list(data.shape)} where {list(tensor.shape)} is required; reshape it"
        )
    if data.dtype != kind.storage:
        raise InvalidValue(
            f"{tensor}: {kind.name} takes {kind.storage} values, and the data is {data.dtype}; cast it, or give "
            "type= if the tensor is to have another"
        )


def _check_quantization(tensor: Tensor, quantization: Quantization, kind: ElementType) -> None:
    if quantization.block_size:
        raise InvalidValue(f"{tensor}: blockwise scales stand in a tensor of their own; set them through a recipe")
    count, axis = quantization.scale.size, quantization.quantized_dimension
    points = quantization.zero_point
    if points.size != count:
        raise InvalidValue(f"{tensor}: {count} scales and {points.size} zero points; as many are required")
    if not count:
        return
    if not kind.is_integer:
        raise InvalidValue(f"{tensor}: {kind.name} has no scale; give type= and data of an integer type")
    if count > 1 and not (0 <= axis < len(tensor.shape) and tensor.shape[axis] == count):
        raise InvalidValue(f"{tensor}: {count} scales don't fit dimension {axis} of shape {list(tensor.shape)}")
    if not (np.isfinite(quantization.scale).all() and (quantization.scale > 0).all()):
        raise InvalidValue(f"{tensor}: a scale that isn't finite and positive; runtimes refuse it")
    if points.min() < int(kind.min or 0) or points.max() > int(kind.max or 0):
        raise InvalidValue(f"{tensor}: zero point {points.min()}..{points.max()} beyond {kind.name}'s range")
