"""Write the parts of the reference that the code knows better: ``python docs/generate.py``.

A page has such a part between ``<!-- generated: NAME -->`` and ``<!-- end of NAME -->``. A test fails where a page
and the code have come apart.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args, get_origin

import quantlib
from quantlib import cli, errors
from quantlib.operators import (
    FAMILIES,
    OperatorRow,
    Signature,
    Weight,
    family,
    kernel,
    operator_version,
    rows,
)
from quantlib.operators.kernels import FUNCTIONS
from quantlib.recipes import PRESETS, Recipe
from quantlib.runners.control import CONTROL
from quantlib.targets import NAMES, Target, load
from quantlib.tflite import builtin_operators

DOCS = Path(__file__).parent
_PART = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)


def table(head: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    """Make a Markdown table."""
    cells = [head, tuple("---" for _ in head), *lines]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") or " " for cell in row) + " |\n" for row in cells)


def code(text: str) -> str:
    """Set text as code; nothing stays nothing."""
    return f"`{text}`" if text else ""


def markdown(text: str) -> str:
    """Turn the double backticks of a docstring into single ones, and paragraphs into one line."""
    return " ".join(text.replace("``", "`").split())


def summary(thing: object) -> str:
    """First sentence of a docstring."""
    return markdown((inspect.getdoc(thing) or "").split("\n\n")[0])


# operators.md


def operator_table() -> str:
    """Operators with weights, as the rows have them."""
    head = (
        "operator",
        "operands",
        "channel axis",
        "from",
        "direct types",
        "direct scales",
        "version",
        "NumPy runs it",
    )
    return table(head, (_operator(row) for row in sorted(rows().values(), key=lambda r: r.name) if row.weights))


def _operator(row: OperatorRow) -> tuple[str, ...]:
    first = row.weights[0]
    return (
        code(row.name),
        _ranges([w.operand for w in row.weights]) + (", all or none" if row.together else ""),
        _axis(first),
        f"{first.least:,}",
        ", ".join(first.hybrid) or "none",
        _scales(row, first),
        "; ".join(_versions(row, first)),
        "yes" if kernel(row.name) else "no",
    )


def _ranges(numbers: list[int]) -> str:
    """Write 1, 2, 3, 7 as 1-3, 7."""
    text, start = [], numbers[0]
    for number, following in zip(numbers, [*numbers[1:], None], strict=True):
        if following != number + 1:
            text.append(str(start) if start == number else f"{start}-{number}")
            start = following if following is not None else start
    return ", ".join(text)


def _axis(weight: Weight) -> str:
    if weight.axis is None or weight.axis >= 0:
        return "" if weight.axis is None else str(weight.axis)
    return "last" + (f", or the one before with {code(weight.transposed)}" if weight.transposed else "")


def _scales(row: OperatorRow, weight: Weight) -> str:
    if not weight.hybrid:
        return ""
    words = {None: "per channel or per tensor", True: "per channel", False: "per tensor"}[weight.hybrid_channels]
    return words + (f"; per block with {', '.join(row.blockwise)}" if row.blockwise else "")


def _versions(row: OperatorRow, weight: Weight) -> Iterator[str]:
    for kind in weight.hybrid:
        forms = {None: (True, False), True: (True,), False: (False,)}[weight.hybrid_channels]
        found = {channels: operator_version(_signature(row, kind, channels)) for channels in forms}
        if len(set(found.values())) == 1:
            yield f"{kind} {next(iter(found.values()))}"
        else:
            yield f"{kind} {found[True]} per channel, {found[False]} per tensor"


def _signature(row: OperatorRow, kind: str, per_channel: bool) -> Signature:
    """Describe the operator with a bias, one type of weight, and the option that `dynamic` sets."""
    weights = {w.operand for w in row.weights}
    types = tuple(kind if i in weights else "float32" for i in range(max(*weights, row.bias or 0) + 1))
    options = {"asymmetric_quantize_inputs": True} if row.asymmetric_inputs else {}
    return Signature(row.name, types, ("float32",), options=options, per_channel=per_channel)


def runnable_table() -> str:
    """Operators that the NumPy runner has, by folder; and all others of the schema."""
    known = (*builtin_operators(), *(name for name in rows() if name not in builtin_operators()))
    found: dict[str, list[str]] = {folder: [] for folder in FAMILIES}
    for name in known:
        folder = family(name)
        if folder is not None and kernel(name) is not None:
            found[folder].append(name)
    found["between types"] = [name for name in known if name in ("QUANTIZE", "DENSIFY")]
    found["control flow and variables"] = list(CONTROL)
    runnable = {name for names in found.values() for name in names}
    found["*not run*"] = [n for n in known if n not in runnable and n not in _NO_OPERATORS]
    lines = [(name, str(len(names)), ", ".join(map(code, sorted(names)))) for name, names in found.items()]
    return table(("family", "number", "operators"), lines)


#: Codes that stand for something else than an operator.
_NO_OPERATORS = ("CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES")


# command-line.md


def command_tables() -> str:
    """Every command with its options."""
    parts = []
    for name, parser in commands().items():
        lines = [(code(_flags(a)), markdown(a.help or "")) for a in parser._actions if a.dest != "help"]
        parts.append(f"### quantlib {name}\n\n{_command_help()[name]}.\n\n{table(('argument', 'meaning'), lines)}")
    return "\n".join(parts)


def commands() -> Mapping[str, argparse.ArgumentParser]:
    """Parsers of the commands by name."""
    return MappingProxyType(dict(_subparsers().choices))


def _subparsers() -> argparse._SubParsersAction[Any]:
    return next(a for a in cli._parser(())._actions if isinstance(a, argparse._SubParsersAction))


def _command_help() -> dict[str, str]:
    texts = {a.dest: a.help or "" for a in _subparsers()._choices_actions}
    return {name: text[:1].upper() + text[1:] for name, text in texts.items()}


def _flags(action: argparse.Action) -> str:
    if not action.option_strings:
        return str(action.metavar or action.dest)
    value = "" if action.nargs == 0 else " " + str(action.metavar or "|".join(map(str, action.choices or ())))
    return ", ".join(flag + value for flag in action.option_strings)


# recipes.md


def recipe_fields() -> str:
    """Fields of a recipe with their types, defaults and meaning."""
    meaning = _attributes(inspect.getdoc(Recipe) or "")
    lines = []
    for f in fields(Recipe):
        default = "required" if f.name == "mode" else "not set" if f.default is None else code(_toml(f.default))
        lines.append((code(f.name), meaning[f.name][0], default, meaning[f.name][1]))
    return table(("field", "type", "default", "meaning"), lines)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "[]" if value == () else f'"{value}"' if isinstance(value, str) else str(value)


def _attributes(doc: str) -> dict[str, tuple[str, str]]:
    """Type and meaning of each attribute in a numpydoc docstring."""
    body = doc.split("Attributes\n----------\n")[1].split("\n\n")[0]
    found: dict[str, tuple[str, str]] = {}
    for entry in re.split(r"\n(?=\S)", body):
        head, _, text = entry.partition("\n")
        names, _, kind = head.partition(" : ")
        found |= dict.fromkeys(names.split(", "), (kind, markdown(text)))
    return found


def preset_table() -> str:
    """Presets, what they are, and how they differ from their mode's defaults."""
    lines = []
    for name, make in PRESETS.items():
        lines.append((code(name), code(f"ql.recipes.{make.__name__}()"), str(make()), summary(make)))
    return table(("name", "in Python", "fields", "what it does"), lines)


# targets.md


def target_table() -> str:
    """Targets and what each takes."""
    return table(
        (
            "target",
            "what it is",
            "float",
            "hybrid",
            "int16",
            "uint8",
            "dense weights",
            "shapes",
            "inputs and outputs",
        ),
        (_target(load(name)) for name in NAMES),
    )


def _target(target: Target) -> tuple[str, ...]:
    flags = (target.float_ok, target.hybrid_ok, target.int16_ok, target.uint8_ok)
    return (
        code(target.name),
        target.title,
        *("yes" if flag else "no" for flag in flags),
        "per tensor" if target.dense_per_tensor else "any",
        "static" if target.static_shapes else "any",
        ", ".join(target.io_types) or "any",
    )


def target_operators() -> str:
    """Targets and the operators that each has."""
    lines = []
    for name in NAMES:
        target = load(name)
        if target.other_operators:
            lines.append((code(name), "all that LiteRT's resolver has"))
            continue
        versions = {o: f" to version {a.version}" if a.version else "" for o, a in target.operators.items()}
        lines.append((code(name), ", ".join(code(o) + versions[o] for o in sorted(versions))))
    return table(("target", "operators"), lines)


def target_sources() -> str:
    """Sources and notes of each target."""
    parts = []
    for name in NAMES:
        target = load(name)
        lines = [*target.sources, *(f"Note: {note}." for note in target.notes)]
        parts.append(f"`{name}`, {len(target.rules)} rules\n\n" + "".join(_item(line) for line in lines))
    return "\n".join(parts)


def _item(text: str) -> str:
    return textwrap.fill(text, 118, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False) + "\n"


# errors.md


def error_tree() -> str:
    """Draw the tree as errors.py does."""
    drawing = (errors.__doc__ or "").split("::\n\n")[1]
    return "```text\n" + inspect.cleandoc(drawing).rstrip() + "\n```\n"


def error_table() -> str:
    """Every exception with its built-in base and meaning."""
    tree = [e for e in vars(errors).values() if inspect.isclass(e)]
    lines = [(code(e.__name__), " and ".join(code(b.__name__) for b in e.__bases__), summary(e)) for e in tree]
    return table(("exception", "is a", "meaning"), lines)


# kernels.md


def kernel_functions() -> str:
    """Operators with integer kernels, and the plain functions that compute them."""
    lines = [(code(name), ", ".join(map(code, functions))) for name, functions in sorted(FUNCTIONS.items())]
    return table(("operator", "functions"), lines)


# api.md


def names_of(door: str) -> tuple[str, ...]:
    """Names in a door, classes first."""
    module = importlib.import_module(door)
    names = [n for n in module.__all__ if not n.startswith("__")]
    return tuple(sorted(names, key=lambda n: (not inspect.isclass(getattr(module, n)), n.casefold())))


def front_table() -> str:
    """Everything in the front door."""
    lines = [(code(f"ql.{name}"), _about(getattr(quantlib, name))) for name in names_of("quantlib")]
    return table(("name", "what it is"), [*lines, ("`ql.__version__`", "The version, as text.")])


def door_table(door: str) -> str:
    """Everything in the door of a room."""
    module = importlib.import_module(door)
    return table(("name", "what it is"), ((code(name), _about(getattr(module, name))) for name in names_of(door)))


def member_table(name: str) -> str:
    """Public methods and properties of a value."""
    members = vars(getattr(quantlib, name)).items()
    lines = [(code(n + _arguments(m)), summary(m)) for n, m in members if n[0] != "_" and _is_member(m)]
    return table(("member", "what it is"), sorted(lines))


def _is_member(thing: object) -> bool:
    """Whether it is a method or a property; the slots of a dataclass aren't."""
    return isinstance(thing, (property, cached_property, classmethod)) or inspect.isfunction(thing)


def _arguments(thing: Any) -> str:
    thing = getattr(thing, "__func__", thing)
    if not inspect.isfunction(thing):
        return ""
    names = [p for p in inspect.signature(thing).parameters.values() if p.name not in ("self", "cls")]
    return "(" + ", ".join(("**" if p.kind is p.VAR_KEYWORD else "") + p.name for p in names) + ")"


def _about(thing: object) -> str:
    if inspect.isroutine(thing) or inspect.isclass(thing) or inspect.ismodule(thing) or hasattr(thing, "__wrapped__"):
        return summary(thing)
    if get_origin(thing) is Callable:
        return "The type of a function."
    if get_origin(thing) is tuple:
        return f"The type {code(str(thing))}."
    if isinstance(thing, tuple):
        return "A tuple: " + ", ".join(map(code, thing)) + "."
    if isinstance(thing, Mapping):
        return "A mapping: " + ", ".join(map(code, thing)) + "."
    return (
        f"The constant {code(repr(thing))}."
        if isinstance(thing, (str, int))
        else f"A union: {code(_members(thing))}."
    )


def _members(union: object) -> str:
    return " or ".join(getattr(t, "__name__", str(t)) if not get_args(t) else str(t) for t in get_args(union))


_VALUES = ("Model", "Tensor", "Quantization", "Recipe", "Plan", "Statistics", "Comparison")
_DOORS = ("numerics", "calibration", "runners", "evaluation", "recipes", "operators", "targets", "testing", "tflite")

PARTS: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "operators": operator_table,
        "runnable": runnable_table,
        "commands": command_tables,
        "recipe-fields": recipe_fields,
        "presets": preset_table,
        "targets": target_table,
        "target-operators": target_operators,
        "target-sources": target_sources,
        "kernel-functions": kernel_functions,
        "door-kernels": partial(door_table, "quantlib.operators.kernels"),
        "error-tree": error_tree,
        "errors": error_table,
        "names": front_table,
        **{f"members-{v}": partial(member_table, v) for v in _VALUES},
        **{f"door-{d}": partial(door_table, f"quantlib.{d}") for d in _DOORS},
    }
)


def filled(page: str) -> str:
    """Return a page with its generated parts made anew."""
    return _PART.sub(lambda part: f"{part[1]}\n{PARTS[part[2]]()}\n{part[3]}", page)


def main() -> int:
    """Fill all pages; say which ones changed."""
    for path in sorted(DOCS.rglob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = filled(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            sys.stdout.write(f"{path.relative_to(DOCS.parent)}: written anew\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
