"""Profiles of targets: TOML files, one a target, that may extend one another."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

from quantlib.errors import InvalidValue, NotFound
from quantlib.frozen import Frozen

from .conditions import Condition
from .forms import Form
from .target import Accept, Rule, Target

NAMES = ("litert", "xnnpack", "tflite-micro", "cmsis-nn", "ethos-u", "edgetpu", "gpu")
"""Targets that have a profile."""

#: Plain fields of a profile and their types.
_FLAGS = (
    "float_ok", "hybrid_ok", "int16_ok", "uint8_ok", "dense_per_tensor", "static_shapes", "external_buffers",
    "sparsity", "other_operators",
)  # fmt: skip
_LISTS = ("sources", "notes", "custom", "io_types", "element_types")
_KEYS = frozenset((*_FLAGS, *_LISTS, "title", "extends", "max_rank", "remedies", "only", "accept", "rule", "without"))
_RULE_KEYS = frozenset(("id", "operators", "other_than", "when", "require", "reason", "remedy", "source"))


@cache
def load(name: str) -> Target:
    """Load the profile of a target.

    Parameters
    ----------
    name : str
        One of `NAMES`.

    Returns
    -------
    Target

    Raises
    ------
    NotFound
        If there is no profile of that name.

    Examples
    --------
    >>> load("ethos-u").dense_per_tensor
    True
    """
    if name not in NAMES:
        raise NotFound(f"no target {name!r}; known are {', '.join(NAMES)}")
    return made(name, _read(name))


def _read(name: str) -> Mapping[str, Any]:
    """A profile as TOML has it, laid over the one that it extends."""
    from importlib.resources import files  # here, since most commands need no profile

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    text = (files(__package__) / "profiles" / f"{name}.toml").read_text(encoding="utf-8")
    values = tomllib.loads(text)
    return laid_over(_read(values["extends"]), values) if "extends" in values else values


def laid_over(base: Mapping[str, Any], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """A profile over the one that it extends.

    Sources and rules add up, but rules with an id that the base has replace the base's, and those in ``without`` go.
    Operators that the profile accepts replace the base's of the same name; with ``only``, those not in it go.
    """
    own = {rule["id"] for rule in values.get("rule", ())} | set(values.get("without", ()))
    merged: dict[str, Any] = {**base, **values}
    merged["sources"] = [*values.get("sources", ()), *base.get("sources", ())]
    merged["remedies"] = {**base.get("remedies", {}), **values.get("remedies", {})}
    merged["accept"] = [*base.get("accept", ()), *values.get("accept", ())]
    merged["rule"] = [*(r for r in base.get("rule", ()) if r["id"] not in own), *values.get("rule", ())]
    return merged


def made(name: str, values: Mapping[str, Any]) -> Target:
    """Make a target of a profile's values.

    Raises
    ------
    InvalidValue
        If a key, condition, form or element type is unknown, or one is missing.
    """
    _known(name, values, _KEYS)
    try:
        operators = _operators(values)
        rules = tuple(_rule(r) for r in values.get("rule", ()))
        plain: dict[str, Any] = {k: bool(values[k]) for k in _FLAGS}
        plain |= {k: tuple(values.get(k, ())) for k in _LISTS}
        return Target(
            name=name,
            title=values["title"],
            max_rank=values.get("max_rank"),
            operators=Frozen(operators),
            rules=rules,
            remedies=Frozen(values["remedies"]),
            **plain,
        )
    except KeyError as error:
        raise InvalidValue(f"profile of {name}: {error} is missing") from None
    except InvalidValue as error:
        raise InvalidValue(f"profile of {name}: {error}") from None


def _operators(values: Mapping[str, Any]) -> dict[str, Accept]:
    found: dict[str, Accept] = {}
    for entry in values.get("accept", ()):
        _known("accept", entry, {"operators", "forms", "letters", "version", "constants", "source"})
        letters = {k: tuple(v) for k, v in entry.get("letters", {}).items()}
        forms = tuple(Form(text, Frozen(letters)) for text in entry.get("forms", ()))
        accept = Accept(forms, entry.get("version"), tuple(entry.get("constants", ())))
        found |= dict.fromkeys(entry["operators"], accept)
    only = values.get("only")
    return found if only is None else {k: v for k, v in found.items() if k in only}


def _rule(entry: Mapping[str, Any]) -> Rule:
    _known(f"rule {entry.get('id')}", entry, _RULE_KEYS)
    return Rule(
        entry["id"],
        tuple(entry.get("operators", ())),
        tuple(entry.get("other_than", ())),
        tuple(Condition.of(c) for c in entry.get("when", ())),
        tuple(Condition.of(c) for c in entry["require"]),
        entry["reason"],
        entry["remedy"],
        entry.get("source", ""),
    )


def _known(where: str, values: Mapping[str, Any], keys: frozenset[str] | set[str]) -> None:
    unknown = sorted(set(values) - set(keys))
    if unknown:
        raise InvalidValue(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(keys))}")
