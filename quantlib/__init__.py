"""Post-training quantization of existing `.tflite` files in pure NumPy.

::

    import quantlib as ql
    model = ql.read("m.tflite")
    print(ql.plan(model, "dynamic"))
    ql.quantize(model, "dynamic").write("m_dynamic.tflite")
    print(ql.calibrate(model, samples))

Values: `Model` (with `Tensor` and `Quantization`), `Recipe`, `Plan`, `Statistics`, `Comparison`. Verbs: `read`,
`plan`, `quantize`, `calibrate`, `run`, `compare`, `check`, `tune`. Rooms: `numerics` (the mathematics, on plain
arrays), `recipes`, `calibration`, `ranges`, `runners`, `evaluation`, `targets`, `tflite` (the file), `operators`,
`errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import (
        calibration,
        demo,
        errors,
        evaluation,
        numerics,
        operators,
        ranges,
        recipes,
        runners,
        targets,
        tflite,
    )
    from .api import calibrate, plan, quantize, run
    from .calibration import Statistics
    from .errors import QuantlibError
    from .evaluation import Comparison, compare, tune
    from .recipes import Plan, Recipe, check
    from .tflite import Model, Quantization, Tensor, read

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "Model",
    "Plan",
    "Quantization",
    "QuantlibError",
    "Recipe",
    "Statistics",
    "Tensor",
    "__version__",
    "calibrate",
    "calibration",
    "check",
    "compare",
    "demo",
    "errors",
    "evaluation",
    "numerics",
    "operators",
    "plan",
    "quantize",
    "ranges",
    "read",
    "recipes",
    "run",
    "runners",
    "targets",
    "tflite",
    "tune",
]

_ROOMS = (
    *("calibration", "demo", "errors", "evaluation", "numerics", "operators", "ranges", "recipes", "runners"),
    *("targets", "tflite"),
)


def __getattr__(name: str) -> Any:
    """Import what a name stands for when it is first used: importing quantlib costs next to nothing."""
    import importlib

    if name in _ROOMS:
        return importlib.import_module(f".{name}", __name__)
    homes = {
        **dict.fromkeys(("calibrate", "plan", "quantize", "run"), "api"),
        **dict.fromkeys(("Plan", "Recipe", "check"), "recipes"),
        **dict.fromkeys(("Model", "Quantization", "Tensor", "read"), "tflite"),
        "QuantlibError": "errors",
        **dict.fromkeys(("Comparison", "compare", "tune"), "evaluation"),
        "Statistics": "calibration",
    }
    if name not in homes:
        raise AttributeError(f"module 'quantlib' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{homes[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
