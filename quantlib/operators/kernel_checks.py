"""What the public kernels check of what they are given: dtypes, parameters and shapes that fit together.

It takes a few microseconds for a call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from types import MappingProxyType
from typing import Any, TypeVar, cast

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine

_Dtype = np.dtype[Any]
_Function = TypeVar("_Function", bound=Callable[..., Any])

#: Parameters that are an `Affine`, and the array that each describes; None for that of the result.
_AFFINE: Mapping[str, str | None] = MappingProxyType(
    {
        **{"before": "x", "first": "a", "second": "b", "slopes": "alpha"},
        **dict.fromkeys(("after", "output", "affine")),
    }
)

#: Those of a result. Its scale is divided by, unless a kernel says otherwise; one of 0 elsewhere stands for zeros.
_RESULT = tuple(name for name, array in _AFFINE.items() if array is None)

#: What `checked` is told of an array: the dtypes that a kernel takes, in the order in which they are said.
Dtypes = tuple[_Dtype, ...]
ANY: Dtypes = ()
INT8, _UINT8, WORD, INT32, _INT64, FLOAT, _DOUBLE = (
    (np.dtype(name),) for name in ("int8", "uint8", "int16", "int32", "int64", "float32", "float64")
)
BYTES: Dtypes = INT8 + _UINT8
NARROW: Dtypes = BYTES + WORD
INTEGERS: Dtypes = NARROW + INT32 + _INT64
#: What `exact_weights` gives.
EXACT: Dtypes = FLOAT + _DOUBLE


def require_dtype(name: str, array: Any, dtypes: Dtypes = ANY) -> None:
    """Refuse what is no array, or one of another dtype.

    Parameters
    ----------
    name : str
        Of the parameter.
    array : ndarray
    dtypes : tuple of dtype
        Those that are taken; none for all.

    Raises
    ------
    InvalidValue
        If it is something else.
    """
    if not isinstance(array, (np.ndarray, np.generic)):
        required = f"an array{f' of {_either(dtypes)}' if dtypes else ''}"
        raise InvalidValue(f"{name} is a {type(array).__name__}; {required} is required")
    if dtypes and array.dtype not in dtypes:
        raise InvalidValue(f"{name} is an array of {array.dtype}; {_either(dtypes)} is required")


def _either(dtypes: Dtypes) -> str:
    names = [dtype.name for dtype in dtypes]
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _require_parameters(name: str, affine: Any, divides: bool, of: str | None, array: Any) -> None:
    """Refuse what is no `Affine`, one without a step that is divided by, and one that isn't the array's."""
    if not isinstance(affine, Affine):
        raise InvalidValue(f"{name} is a {type(affine).__name__}; an Affine is required")
    scale = affine.scale
    if divides and not (scale.item() if scale.size == 1 else scale.all()):
        raise InvalidValue(f"{name} has a scale of 0, by which is divided; a positive one is required")
    if of is not None and array is not None:
        require_dtype(of, array)
        if array.dtype != affine.type.storage:
            wanted = np.dtype(affine.type.storage).name
            raise InvalidValue(
                f"{of} is an array of {array.dtype}, and {name} is of {affine.type.name}; {wanted} is required, or "
                f"the parameters of {array.dtype}"
            )


def _require_one_shape(first: str, a: Any, second: str, b: Any) -> None:
    """Refuse operands that don't broadcast."""
    if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)) or a.shape == b.shape:
        return
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise InvalidValue(
            f"{first} of shape {list(a.shape)} and {second} of shape {list(b.shape)} don't broadcast; extents that "
            "are equal, or 1, are required"
        ) from None


def checked(*, divides_by: Sequence[str] = _RESULT, **dtypes: Dtypes) -> Callable[[_Function], _Function]:
    """Make a kernel check what it is given before it computes.

    Parameters
    ----------
    divides_by : sequence of str
        Those of its `Affine` parameters whose scale can't be 0: that of the result unless said, none for a kernel
        that looks at types, zero points or ranges alone.
    **dtypes : tuple of dtype
        What it takes, by array; `ANY` for all. An array that an `Affine` describes has the dtype which that says, and
        is named here where the kernel takes fewer.

    Returns
    -------
    callable
        A decorator. The same function comes back, and raises `InvalidValue` where an array isn't what its `Affine`
        says or the kernel takes, or operands don't broadcast.

    Raises
    ------
    InvalidValue
        From the decorator, if the kernel has no parameter of a name.
    """

    def decorate(function: _Function) -> _Function:
        code = function.__code__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        said = (*dtypes, *(() if divides_by is _RESULT else divides_by))
        if unknown := [name for name in said if name not in names]:
            raise InvalidValue(
                f"{function.__name__} has no parameter {unknown[0]}; one of {', '.join(names)} is required"
            )
        affines = [
            (name, name in divides_by, of if of in names else None) for name, of in _AFFINE.items() if name in names
        ]
        return _checking(function, names, tuple(dtypes.items()), affines)

    return decorate


def _checking(
    function: _Function,
    names: Sequence[str],
    arrays: Sequence[tuple[str, Dtypes]],
    affines: Sequence[tuple[str, bool, str | None]],
) -> _Function:
    operands = [both for both in (("a", "b"), ("x", "alpha")) if set(both) <= set(names)]

    @wraps(function)
    def kernel(*args: Any, **options: Any) -> Any:
        given = dict(zip(names, args, strict=False))
        given.update(options)
        for name, kinds in arrays:
            value = given.get(name)
            # a number may stand for an array of one, and None for what is left out
            if value is not None and not (name == "zero_point" and isinstance(value, int)):
                require_dtype(name, value, kinds)
        for name, divides, of in affines:
            if name in given:
                _require_parameters(name, given[name], divides, of, given.get(of) if of else None)
        for first, second in operands:
            _require_one_shape(first, given.get(first), second, given.get(second))
        return function(*args, **options)

    return cast("_Function", kernel)
