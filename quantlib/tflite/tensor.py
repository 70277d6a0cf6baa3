"""`Tensor`: the view of one tensor of a model; `Quantization`: its scales and zero points."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue
from quantlib.numerics import (
    Affine,
    ElementType,
    PerAxis,
    PerBlock,
    PerTensor,
    dequantize,
    element_type,
    from_bfloat16,
    unpack,
)

from .schema import tensor_types

if TYPE_CHECKING:
    from .data import Data
    from .model import Model
    from .table import Table


@dataclass(frozen=True, slots=True, eq=False)
class Quantization:
    """Scale and zero point of a tensor, real = scale * (stored - zero_point).

    Attributes
    ----------
    scale : ndarray of float32, shape (1,) or (channels,)
        Empty where the tensor isn't quantized.
    zero_point : ndarray of int64, same shape
    quantized_dimension : int
        The axis of the channels.
    block_size : int
        Elements that share a scale along the last axis; 0 where the quantization isn't blockwise.
    """

    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int64]
    quantized_dimension: int = 0
    block_size: int = 0

    if TYPE_CHECKING:  # what is taken is wider than what is kept

        def __init__(
            self,
            scale: npt.ArrayLike,
            zero_point: npt.ArrayLike,
            quantized_dimension: int = 0,
            block_size: int = 0,
        ) -> None: ...

    def __post_init__(self) -> None:
        for name, dtype in (("scale", np.float32), ("zero_point", np.int64)):
            given = np.asarray(getattr(self, name))
            with np.errstate(invalid="ignore", over="ignore"):
                array = np.array(given, dtype, ndmin=1)
            if dtype is np.int64 and given.dtype != dtype and not np.array_equal(array.reshape(given.shape), given):
                raise InvalidValue(f"zero points are {given.tolist()}; whole numbers of 64 bits are required")
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Quantization):
            return NotImplemented
        return (
            np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
            and (self.quantized_dimension, self.block_size) == (other.quantized_dimension, other.block_size)
        )

    def __reduce__(self) -> tuple[Any, ...]:  # NumPy doesn't keep that an array is read-only
        return Quantization, (self.scale, self.zero_point, self.quantized_dimension, self.block_size)

    @classmethod
    def of(cls, affine: Affine) -> Quantization:
        """Quantization of parameters from `quantlib.numerics`, per tensor or per axis; `InvalidValue` for blocks."""
        if isinstance(affine.granularity, PerBlock):
            raise InvalidValue("blockwise scales stand in a tensor of their own; set them through a recipe")
        axis = affine.granularity.axis if isinstance(affine.granularity, PerAxis) else 0
        return cls(affine.scale.reshape(-1), affine.zero_point.reshape(-1), axis)


@dataclass(frozen=True, repr=False)
class Tensor:
    """One tensor of a model.

    What planners ask again and again is looked up once.

    Attributes
    ----------
    model : Model
    subgraph, index : int
        Where it stands.
    """

    model: Model
    subgraph: int
    index: int

    @cached_property
    def table(self) -> Table:
        """Its ``Tensor`` table."""
        table: Table = self.model.subgraphs[self.subgraph].tensors[self.index]
        return table

    @property
    def name(self) -> str:
        """Its name; empty where the file gives none."""
        name: str | None = self.table.name
        return name or ""

    @cached_property
    def type(self) -> str:
        """Name of its element type in the schema, such as ``INT8``."""
        code: int = self.table.type
        return tensor_types()[code]

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """NumPy dtype of `numpy`'s result; int8 for INT4 and INT2, None for types that NumPy doesn't have."""
        return element_type(self.type).storage

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape as stored; dynamic dimensions count 1."""
        return () if self.table.shape is None else tuple(self.table.shape.tolist())

    @cached_property
    def data(self) -> Data | None:
        """Data of its buffer; None where it isn't a constant."""
        return self.model.data(self.table.buffer)

    @property
    def is_constant(self) -> bool:
        """Whether the file holds its values."""
        return self.data is not None

    @property
    def quantization(self) -> Quantization | None:
        """Scale and zero point; None where it isn't quantized.

        Raises
        ------
        InvalidValue
            If there are as many zero points as scales neither in the file nor by repetition.
        """
        table = self.table.quantization
        if table is None:
            return None
        if table.details is not None and table.details.kind == "BlockwiseQuantization":
            return _blockwise(self, table.details)
        if table.scale is None or not table.scale.size:
            return None
        points = table.zero_point if table.zero_point is not None else np.zeros(table.scale.size, np.int64)
        if points.size != table.scale.size:
            if points.size != 1:
                raise InvalidValue(
                    f"{self}: {table.scale.size} scales and {points.size} zero points; as many are required"
                )
            points = np.repeat(points, table.scale.size)
        return Quantization(table.scale, points, table.quantized_dimension)

    def numpy(self) -> npt.NDArray[Any]:
        """Return the stored values as a read-only array in the tensor's shape.

        A view on the file's memory map where the type allows it: INT4 and INT2 are unpacked to int8, sparse
        tensors become dense, BFLOAT16 stays 16 raw bits.

        Raises
        ------
        InvalidValue
            If the tensor isn't a constant, NumPy has no such type, or the buffer is shorter than its shape.
        """
        data = self.data
        if data is None and self.table.external_buffer:
            raise InvalidValue(
                f"{self}: its values stand in another file, which the model names; this one lacks them"
            )
        if data is None:
            raise InvalidValue(f"{self}: not a constant, so it has no values; run the model to see them")
        kind = element_type(self.type)
        if kind.storage is None:
            raise InvalidValue(f"{self}: NumPy has no arrays of {self.type}; read .data instead")
        if self.table.sparsity is not None:
            from .sparsity import densify

            return densify(self.table.sparsity, data.numpy(), kind, self.shape, str(self))
        return values_of(data.numpy(), kind, self.shape, str(self))

    def real(self) -> npt.NDArray[np.float32]:
        """Return the values as float32: dequantized, or cast from a narrower float.

        Raises
        ------
        InvalidValue
            As `numpy`, and where integers carry no scale.
        """
        stored, kind = self.numpy(), element_type(self.type)
        with np.errstate(over="ignore", invalid="ignore"):  # what is beyond float32 is infinite, as the scale says
            return self._real(stored, kind)

    def _real(self, stored: npt.NDArray[Any], kind: ElementType) -> npt.NDArray[np.float32]:
        if kind.kind == "float":
            if self.type == "BFLOAT16":
                return from_bfloat16(stored)
            if stored.dtype.kind != "f":
                raise InvalidValue(f"{self}: {self.type} can't be converted yet; its bits are in numpy()")
            return stored.astype(np.float32, copy=False)
        quantization = self.quantization
        if quantization is None:
            raise InvalidValue(f"{self}: {self.type} without a scale has no real values; read numpy() instead")
        if quantization.block_size:
            blocks = stored.reshape(-1, quantization.block_size).astype(np.float32)
            blocks -= quantization.zero_point[:, None].astype(np.float32)
            blocks *= quantization.scale[:, None]
            return blocks.reshape(self.shape)
        several = quantization.scale.size > 1
        granularity = PerAxis(quantization.quantized_dimension) if several else PerTensor()
        return dequantize(stored, Affine(kind, quantization.scale, quantization.zero_point, granularity))

    def __str__(self) -> str:
        return f"tensor {self.name!r} ({self.subgraph}, {self.index})"

    def __repr__(self) -> str:
        return f"<{self}: {self.type} {list(self.shape)}>"


def values_of(raw: npt.NDArray[np.uint8], kind: ElementType, shape: tuple[int, ...], where: str) -> npt.NDArray[Any]:
    """Interpret a buffer's bytes in a shape.

    Parameters
    ----------
    raw : ndarray of uint8
        May be longer than needed.
    kind : ElementType
    shape : tuple of int
    where : str
        Names the tensor in an error.

    Raises
    ------
    InvalidValue
        If the bytes are too few.
    """
    count = 1
    for size in shape:
        count *= size
    need = kind.nbytes(count)
    if raw.size < need:
        raise InvalidValue(f"{where}: {raw.size:,} bytes of data where {kind.name} {list(shape)} needs {need:,}")
    if kind.bits < 8:
        values = unpack(raw[:need], kind, count)
        values.flags.writeable = False
        return shaped(values, shape, where)
    storage = np.dtype(kind.storage)
    flat = raw[:need].view(storage)
    if not flat.flags.aligned:
        flat = flat.copy()
        flat.flags.writeable = False
    return shaped(flat, shape, where)


def shaped(flat: npt.NDArray[Any], shape: tuple[int, ...], where: str) -> npt.NDArray[Any]:
    """Bring as many values as a shape has into it.

    Raises
    ------
    InvalidValue
        If NumPy has no arrays of that many dimensions, or of that size beside an empty dimension.
    """
    try:
        return flat.reshape(shape)
    except ValueError:
        raise InvalidValue(f"{where}: shape {list(shape)} is beyond what NumPy holds; read .data instead") from None


def _blockwise(tensor: Tensor, details: Table) -> Quantization:
    """Scales of a blockwise tensor, which stand in a tensor of their own."""
    if details.block_shape is not None and details.block_shape.size:
        raise InvalidValue(f"{tensor}: blocks of shape {details.block_shape.tolist()} aren't known; read .table")
    table = Tensor(tensor.model, tensor.subgraph, details.scales)
    if element_type(table.type).kind != "float":
        raise InvalidValue(f"{tensor}: its blockwise scales, {table}, are {table.type}; a float type is required")
    scale = table.real().reshape(-1)
    shape, block = tensor.shape, details.block_size
    if not shape or block < 1 or shape[-1] % block or scale.size != math.prod(shape) // block:
        raise InvalidValue(
            f"{tensor}: {scale.size:,} scales for blocks of {block} along the last axis of {list(shape)}; one a "
            "block is required"
        )
    if details.zero_points <= 0:  # 0 is what the schema has where a writer leaves the field out
        return Quantization(scale, np.zeros(scale.size, np.int64), 0, block)
    table = Tensor(tensor.model, tensor.subgraph, details.zero_points)
    if not element_type(table.type).is_integer or math.prod(table.shape) != scale.size:
        raise InvalidValue(
            f"{tensor}: its blockwise zero points, {table}, are {table.type} {list(table.shape)}; {scale.size:,} "
            "integers are required, one a block"
        )
    return Quantization(scale, table.numpy().reshape(-1).astype(np.int64), 0, block)
