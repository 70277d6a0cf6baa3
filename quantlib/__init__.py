"""Post-training quantization of existing `.tflite` files in pure NumPy.

::

    import quantlib as ql
    model = ql.read("m.tflite")
    print(ql.plan(model, "dynamic"))
    ql.quantize(model, "dynamic").write("m_dynamic.tflite")
    print(ql.calibrate(model, samples))

Values: `Model` (with `Tensor` and `Quantization`), `Recipe`, `Plan`, `Statistics`, `Comparison`. Verbs: `read`,
`plan`, `quantize`, `calibrate`, `run`, `compare`, `check`, `tune`, `prune`, `golden`, `dequantize`, `cluster`,
`retype`, `tidy`. Rooms: `numerics` (the mathematics, on plain arrays), `recipes`, `calibration`, `ranges`, `runners`,
`evaluation`, `targets`, `tflite` (the file), `operators`, `testing` (for unit tests of kernels), `errors`.
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
        testing,
        tflite,
    )
    from .api import calibrate, plan, quantize, run
    from .calibration import Statistics
    from .errors import QuantlibError
    from .evaluation import Comparison, compare, golden, tune
    from .passes import cluster, dequantize, prune, prune_channels, retype, tidy
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
    "cluster",
    "compare",
    "demo",
    "dequantize",
    "errors",
    "evaluation",
    "golden",
    "numerics",
    "operators",
    "plan",
    "prune",
    "prune_channels",
    "quantize",
    "ranges",
    "read",
    "recipes",
    "retype",
    "run",
    "runners",
    "targets",
    "testing",
    "tflite",
    "tidy",
    "tune",
]

_ROOMS = (
    *("calibration", "demo", "errors", "evaluation", "numerics", "operators", "ranges", "recipes", "runners"),
    *("targets", "testing", "tflite"),
)


def __getattr__(name: str) -> Any:
    """Import what a name stands for when it is first used: importing quantlib costs next to nothing."""
    import importlib

    if name in _ROOMS:
        return importlib.import_module(f".{name}", __name__)
    homes = {
        **dict.fromkeys(("calibrate", "plan", "quantize", "run"), "api"),
        **dict.fromkeys(("cluster", "dequantize", "prune", "prune_channels", "retype", "tidy"), "passes"),
        **dict.fromkeys(("Plan", "Recipe", "check"), "recipes"),
        **dict.fromkeys(("Model", "Quantization", "Tensor", "read"), "tflite"),
        "QuantlibError": "errors",
        **dict.fromkeys(("Comparison", "compare", "golden", "tune"), "evaluation"),
        "Statistics": "calibration",
    }
    if name not in homes:
        raise AttributeError(f"module 'quantlib' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{homes[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
