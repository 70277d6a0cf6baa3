"""The house holds: rooms import from floors below, by the door, and nothing unseen happens at import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import quantlib

PACKAGE = Path(quantlib.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

FLOORS = (
    ("errors", "frozen", "demo", "doors"),
    ("files",),
    ("numerics",),
    ("calibration", "tflite"),
    ("operators", "targets"),
    ("runners", "recipes"),
    ("passes",),
    ("evaluation",),
    ("api", "ranges", "testing"),
    ("cli",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
#: The front door (and `python -m quantlib`) may open any room; only the command line may look at it, for the version.
FRONT = ("__init__", "__main__")
VISITORS = {"cli": {"__version__"}}
#: Foreign packages, and the one room that may know each.
TENANTS = {
    **{"flatbuffers": "tflite", "tflite": "tflite", "ai_edge_litert": "runners"},
    **{"jinja2": "evaluation", "tensorflow": None},
}
MUTABLE = ("list", "dict", "set", "bytearray", "defaultdict", "Counter", "OrderedDict", "deque")


def room_of(parts: tuple[str, ...]) -> str:
    """Room of a file or module by its path below the package."""
    return parts[0].removesuffix(".py")


def imports(tree: ast.AST, package: tuple[str, ...]):
    """Yield (absolute module, imported name or None, line) of every import; `package` holds the importing file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *(node.module or "").split("."))).rstrip(".")
            yield from ((module, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module",
            "__import__",
        ):
            first = node.args[0]
            if isinstance(first, ast.JoinedStr):
                first = first.values[0]
            if isinstance(first, ast.Constant) and not str(first.value).startswith("."):
                yield str(first.value).rstrip("."), None, node.lineno


def door(room: str) -> set[str] | None:
    """Names that stand in a room's door; None where it has no list of them."""
    package, module = PACKAGE / room / "__init__.py", PACKAGE / f"{room}.py"
    source = package if package.exists() else module
    if not source.exists():
        return None
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return set(ast.literal_eval(node.value))
    return None


def import_faults(text: str, parts: tuple[str, ...]):
    """What is wrong with a file's imports; `parts` is its path below the package."""
    room = room_of(parts)
    inside = parts[:-1]
    for module, name, line in imports(ast.parse(text), ("quantlib", *inside)):
        top, *rest = module.split(".")
        if top != "quantlib":
            if top in TENANTS and TENANTS[top] != room:
                yield f"line {line}: only {TENANTS[top] or 'nobody'} may import {top}"
            continue
        if not rest and name in FLOOR:
            rest, name = [name], None
        if not rest:
            if room not in FRONT and name not in VISITORS.get(room, ()):
                yield f"line {line}: the front door is imported from inside (quantlib, {name})"
            continue
        target = rest[0]
        if target == room or room in FRONT:
            continue
        if target not in FLOOR:
            yield f"line {line}: {target} has no place in the house; give it a floor"
        elif FLOOR[target] >= FLOOR[room]:
            yield f"line {line}: {room} (floor {FLOOR[room]}) imports {target} (floor {FLOOR[target]})"
        elif len(rest) > 1:
            yield f"line {line}: {target} is entered through {'.'.join(rest)}, not by its door"
        elif name is not None and (names := door(target)) is not None and name not in names:
            yield f"line {line}: {name} doesn't stand in the door of {target}"


def edit_faults(text: str, parts: tuple[str, ...]):
    """Imports between edits, each of which has a folder of its own in the room `passes`."""
    if len(parts) < 3 or parts[0] != "passes":
        return
    for module, name, line in imports(ast.parse(text), ("quantlib", *parts[:-1])):
        inside = [*module.split("."), name][2:] if module.startswith("quantlib.passes") else []
        if inside and inside[0] != parts[1] and (PACKAGE / "passes" / str(inside[0])).is_dir():
            yield f"line {line}: {parts[1]} imports {inside[0]}; edits are blind to one another"


def is_mutable(value: ast.expr | None) -> bool:
    """Whether an expression makes a container that anybody could change."""
    if isinstance(value, ast.Tuple):
        return any(is_mutable(v) for v in value.elts)
    if isinstance(value, ast.Call):
        return getattr(value.func, "id", getattr(value.func, "attr", "")) in MUTABLE
    return isinstance(value, (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp))


def habit_faults(text: str, parts: tuple[str, ...]):
    """Prints, asserts and mutable globals of a file."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield f"line {node.lineno}: assert, which -O removes; raise an error"
        elif isinstance(node, ast.Global):
            yield f"line {node.lineno}: global {', '.join(node.names)}"
        elif room_of(parts) == "cli":
            continue
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("print", "input"):
            yield f"line {node.lineno}: {node.func.id} in the library"
        elif (
            isinstance(node, ast.Attribute) and node.attr in ("stdout", "stderr") and ast.unparse(node.value) == "sys"
        ):
            yield f"line {node.lineno}: sys.{node.attr} in the library"
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and is_mutable(node.value):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if ast.unparse(target) != "__all__":
                yield f"line {node.lineno}: {ast.unparse(target)} is a mutable global; use MappingProxyType"


def faults(check, path: Path):
    parts = path.relative_to(PACKAGE).parts
    return [f"quantlib/{'/'.join(parts)} {fault}" for fault in check(path.read_text(encoding="utf-8"), parts)]


def test_every_file_is_in_a_room():
    rooms = {room_of(path.relative_to(PACKAGE).parts) for path in FILES}
    assert rooms - {*FLOOR, *FRONT} == set()


@pytest.mark.parametrize("check", [import_faults, edit_faults, habit_faults])
def test_the_house_holds(check):
    assert len(FILES) > 20
    assert [fault for path in FILES for fault in faults(check, path)] == []


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("numerics/a.py", "from quantlib.tflite import Model"),  # from above
        ("numerics/a.py", "def f():\n    from quantlib.recipes import Recipe"),  # wherever it stands
        ("tflite/a.py", "from quantlib.calibration import Statistics"),  # a sibling
        ("tflite/a.py", "from quantlib.numerics.affine import Affine"),  # through the window
        ("tflite/a.py", "from quantlib.numerics import affine"),
        ("tflite/a.py", "import quantlib.numerics.affine"),
        ("tflite/a.py", "from ..recipes import Recipe"),
        ("operators/matmul/a.py", "from ...recipes import Recipe"),
        ("passes/a.py", "import quantlib"),  # the roof
        ("passes/a.py", "from quantlib import read"),
        ("passes/a.py", "from quantlib.api import plan"),
        ("api.py", "from quantlib.cli import main"),
        ("cli/a.py", "from quantlib import read"),
        ("recipes/a.py", "from quantlib.attic import x"),
        ("numerics/a.py", "import flatbuffers"),  # foreign packages
        ("recipes/a.py", "from tflite.Model import Model"),
        ("recipes/a.py", "import importlib\nimportlib.import_module(f'tflite.{x}')"),
        ("passes/a.py", "import ai_edge_litert.interpreter"),
        ("runners/a.py", "import tensorflow"),
    ],
)
def test_a_wrong_import_is_seen(where, text):
    assert len(list(import_faults(text, tuple(where.split("/"))))) == 1


@pytest.mark.parametrize(
    ("where", "text"),
    [
        (
            "tflite/a.py",
            "from quantlib.errors import NotFound\nfrom quantlib.numerics import Affine\nimport tflite",
        ),
        ("tflite/a.py", "from .schema import x\nfrom . import table\nfrom quantlib.tflite import read"),
        ("operators/matmul/a.py", "from ..row import OperatorRow"),
        ("runners/a.py", "import ai_edge_litert"),
        ("cli/a.py", "from quantlib import __version__\nimport quantlib.api as api"),
        ("__main__.py", "from quantlib.cli import main"),
    ],
)
def test_a_right_import_passes(where, text):
    assert list(import_faults(text, tuple(where.split("/")))) == []


@pytest.mark.parametrize(
    "text",
    [
        "from ..pruning import prune",
        "from ..pruning.job import Tally",
        "from .. import pruning",
        "from quantlib.passes.pruning import prune",
        "import quantlib.passes.pruning.job",
    ],
)
def test_an_edit_that_knows_another_is_seen(text):
    assert len(list(edit_faults(text, ("passes", "clustering", "edit.py")))) == 1
    assert list(edit_faults(text, ("passes", "pruning", "edit.py"))) == []
    assert list(edit_faults("from ..edited import Edited\nimport math", ("passes", "clustering", "edit.py"))) == []


def test_quantizing_loads_no_edit():
    """Edits are imported when they are first used: each folder of the room `passes` is one."""
    edits = {f"quantlib.passes.{path.parent.name}" for path in (PACKAGE / "passes").glob("*/__init__.py")}
    code = (
        "import sys, quantlib as ql; m = ql.read(ql.demo.MODEL); ql.quantize(m, 'int8', ql.calibrate(m, "
        "ql.demo.CALIBRATION)); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert len(edits) > 4
    assert "quantlib.passes.integer" in loaded
    assert edits & loaded == set()


@pytest.mark.parametrize(
    "text",
    [
        "assert x",
        "def f():\n    print(1)",
        "import sys\nsys.stderr.write('x')",
        "A = []",
        "A: dict = {}",
        "A = (1, [])",
        "A = dict(a=1)",
        "A = {x for x in y}",
        "def f():\n    global A",
    ],
)
def test_a_bad_habit_is_seen(text):
    assert len(list(habit_faults(text, ("numerics", "a.py")))) == 1


def test_good_habits_pass():
    text = "__all__ = ['a']\nA = MappingProxyType({})\nB = frozenset([1])\nC = (1, 2)\ndef f():\n    return []"
    assert list(habit_faults(text, ("numerics", "a.py"))) == []
    assert list(habit_faults("print(1)", ("cli", "a.py"))) == []
