"""What the doors show, and that it is explained."""

import importlib
import inspect
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import quantlib

PACKAGE = Path(quantlib.__file__).parent

#: A name that comes or goes is a decision: change it here, in docs/reference/api.md and in the release notes.
NAMES = {
    *("Model", "Plan", "Quantization", "QuantlibError", "Recipe", "Tensor", "__version__"),
    *("Comparison", "Statistics", "calibrate", "check", "cluster", "compare", "plan", "quantize", "read", "run"),
    *("calibration", "demo", "errors", "evaluation", "numerics", "operators", "ranges", "recipes"),
    *("dequantize", "prune", "prune_channels", "retype", "tidy"),
    *("golden", "runners", "targets", "testing", "tflite", "tune"),
}
DOORS = (
    "quantlib",
    "quantlib.operators.kernels",
    "quantlib.testing",
    *(
        f"quantlib.{room}"
        for room in (
            "calibration",
            "evaluation",
            "numerics",
            "operators",
            "passes",
            "recipes",
            "runners",
            "targets",
            "tflite",
        )
    ),
)
SECTIONS = {"Parameters", "Attributes", "Returns", "Yields", "Raises", "Examples"}

#: Docstrings without sections: those that refer to another's, and those that wait for their writer.
WAITING = {
    *("quantlib.runners.run", "quantlib.runners.calibrate"),
    *("quantlib.recipes.Graph", "quantlib.recipes.Use"),
    *("quantlib.tflite.Slice", "quantlib.tflite.quantization_table"),
}


def sections(thing: object) -> set[str]:
    """Headings of a docstring: lines that are underlined."""
    lines = [line.strip() for line in (inspect.getdoc(thing) or "").splitlines()]
    return {above for above, below in pairwise(lines) if below and set(below) == {"-"}} & SECTIONS


def explained(thing: object) -> bool:
    """Whether a function or class has a docstring, with sections where it takes more than one named thing."""
    if not inspect.getdoc(thing):
        return False
    if inspect.isclass(thing) and (issubclass(thing, Exception) or getattr(thing, "_is_protocol", False)):
        return True
    named = [
        p for p in inspect.signature(thing).parameters.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    return len(named) < 2 or bool(sections(thing))


def public():
    """Functions and classes in the doors, each once, by its shortest name."""
    seen = {}
    for door in DOORS:
        module = importlib.import_module(door)
        for name in module.__all__:
            thing = inspect.unwrap(getattr(module, name))
            if (inspect.isfunction(thing) or inspect.isclass(thing)) and thing not in seen.values():
                seen[f"{door}.{name}"] = thing
    return seen


def test_the_front_door_shows_exactly_these_names():
    assert set(quantlib.__all__) == NAMES
    assert set(dir(quantlib)) == NAMES
    assert len(quantlib.__all__) == len(NAMES)


@pytest.mark.parametrize("door", DOORS)
def test_every_name_in_a_door_is_there(door):
    module = importlib.import_module(door)
    assert module.__doc__
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'quantlib' has no attribute 'quantise'$"):
        quantlib.quantise  # noqa: B018 - the access is the test


def test_everything_in_the_doors_is_explained():
    found = public()
    assert len(found) > 60
    assert {name for name, thing in found.items() if not explained(thing)} - WAITING == set()


def test_what_waits_for_its_docstring_exists():
    assert WAITING - set(public()) == set()


def test_an_unexplained_function_is_seen():
    def bare(a, b):
        """Do a thing."""

    def whole(a, b):
        """Do a thing.

        Parameters
        ----------
        a, b : int
        """

    assert not explained(bare)
    assert explained(whole)
    assert not explained(lambda a: a)


def test_methods_of_the_values_are_explained():
    values = [getattr(quantlib, name) for name in sorted(NAMES) if inspect.isclass(getattr(quantlib, name))]
    methods = [
        f"{value.__name__}.{name}"
        for value in values
        for name, thing in vars(value).items()
        if not name.startswith("_") and (callable(thing) or isinstance(thing, property)) and not inspect.getdoc(thing)
    ]
    assert methods == []


def test_every_error_is_a_quantlib_error_and_a_builtin_one():
    from quantlib import errors

    tree = [e for e in vars(errors).values() if inspect.isclass(e) and not issubclass(e, Warning)]
    assert len(tree) > 5
    for error in tree:
        assert issubclass(error, errors.QuantlibError)
        assert inspect.getdoc(error)
        if error is not errors.QuantlibError:
            assert issubclass(error, (ValueError, LookupError, OSError, ImportError))


def test_no_file_is_long():
    sizes = {p.relative_to(PACKAGE).as_posix(): len(p.read_bytes().splitlines()) for p in PACKAGE.rglob("*.py")}
    assert len(sizes) > 20
    assert {name: size for name, size in sizes.items() if size > 400} == {}


def test_importing_it_loads_nothing_of_its_own():
    code = (
        "import sys, quantlib; print(*sorted(m for m in sys.modules if m.startswith(('quantlib.', 'numpy', 'tqdm'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_types_are_there_for_users() -> None:
    assert (Path(quantlib.__file__).parent / "py.typed").is_file()
