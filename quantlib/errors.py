"""The exceptions of quantlib.

Every error that quantlib raises on purpose is a `QuantlibError`, whose message is one line: what was
found, what is required, where, and what to do.

::

    QuantlibError
    ├── InvalidModel          the bytes are not a well-formed .tflite file      (ValueError)
    │   └── UnsupportedSchema     well-formed, but with a field that the schema doesn't know
    ├── NotFound              no such tensor, operator, signature, recipe ...   (LookupError)
    ├── InvalidValue          a parameter, array or option is not acceptable    (ValueError)
    │   ├── InvalidRecipe         a recipe, or a file with one
    │   └── InvalidRange          a range from which no scale can be computed
    ├── WriteFailed           the output could not be written; nothing was left behind  (OSError)
    ├── WorkerFailed          a worker of an executor died, or raised what nobody expected  (OSError)
    └── MissingExtra          an optional dependency is not installed           (ImportError)

`CalibrationWarning` (a UserWarning) is for data that looks like a mistake and can be used all the same.
"""

from __future__ import annotations


class QuantlibError(Exception):
    """Base of every error that quantlib raises on purpose."""


class InvalidModel(QuantlibError, ValueError):
    """The bytes are not a well-formed `.tflite` file."""


class UnsupportedSchema(InvalidModel):
    """A well-formed file sets a field, union member or type that the known schema doesn't have."""


class NotFound(QuantlibError, LookupError):
    """No tensor, operator, signature, recipe or target of that name."""


class InvalidValue(QuantlibError, ValueError):
    """A parameter, array or option is not acceptable."""


class InvalidRecipe(InvalidValue):
    """A recipe, or the file it was read from, is not acceptable."""


class InvalidRange(InvalidValue):
    """A range from which no scale and zero point can be computed."""


class WriteFailed(QuantlibError, OSError):
    """The output could not be written; what stood there before is untouched."""


class WorkerFailed(QuantlibError, ChildProcessError):
    """A worker of an executor died, or raised what nobody expected; the message says at which samples."""


class MissingExtra(QuantlibError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class CalibrationWarning(UserWarning):
    """The calibration data looks like a mistake: all samples alike, very few, or of another range."""
