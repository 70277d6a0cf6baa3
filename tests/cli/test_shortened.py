"""Long names on the screen: cut in the middle, still told apart, whole in JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlib.cli.shortened import LONGEST, shortened
from tests.support.command import run
from tests.support.network import Network, gaussian

FUSED = ";".join(f"model/{kind}_{i}/fused" for i in range(9) for kind in ("Relu", "BiasAdd", "Conv2D"))

#: Many of them differ in one letter alone, which may be in the middle.
NAMES = st.builds(
    "{:a<{}}{}{:b<{}}".format,
    st.just(""),
    st.integers(0, 150),
    st.text("ab;/", max_size=2),
    st.just(""),
    st.integers(0, 150),
)


@given(st.lists(NAMES, max_size=6))
def test_names_stay_apart_and_begin_and_end_as_they_do(names: list[str]) -> None:
    found = shortened(" ".join(names)).split(" ")
    assert len(found) == max(len(names), 1)
    assert len(set(found)) == len(set(names) or {""})
    for name, short in zip(names, found, strict=False):
        if len(name) <= LONGEST:
            assert short == name
        head, gap, tail = short.partition("...")
        assert short == name or (name.startswith(head) and gap and name.endswith(tail) and len(short) < len(name))


@given(st.text("ab;/", min_size=LONGEST + 1, max_size=300))
def test_a_long_name_alone_has_its_ends_in_72_characters(name: str) -> None:
    short = shortened(f"ADD {name}")
    assert len(short) == len("ADD ") + 72
    assert abs(len(short.removeprefix("ADD ").partition("...")[0]) - 34) <= 1


def test_lines_and_short_names_and_addresses_stay_what_they_are() -> None:
    text = f"CONV_2D  {'x' * (LONGEST - 1)}: kept\n\nnote: see https://example.org/{'y' * 90}\n"
    assert shortened(text) == text
    assert shortened(shortened(f"{FUSED}: kept\nend")) == shortened(f"{FUSED}: kept\nend")


@pytest.fixture
def fused(tmp_path: Path) -> Path:
    """A model whose layer has the name that a converter gives it."""
    net = Network()
    net.fully_connected(FUSED, net.input("x", (1, 16)), gaussian((8, 16)))
    net.done(2 + 1).write(tmp_path / "m.tflite")
    return tmp_path / "m.tflite"


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "--recipe", "weight-only", "--min-elements", "0"),
        ("plan", "--recipe", "int8", "--default-ranges", "-1,1"),
        ("check", "--target", "ethos-u"),
        ("prune", "--sparsity", "0.5"),
    ],
)
def test_what_commands_print(
    capsys: pytest.CaptureFixture[str], fused: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    # a path is no name: it stays whole
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    name, *options = words
    written = ["-o", folder / "o.tflite"] if name == "prune" else []
    text = run(capsys, name, fused, *options, *written)[1]
    lines = text.splitlines()
    if written:
        assert lines.pop(0).startswith(f"{folder}/o.tflite: ")
    assert any(FUSED[:30] in line and "..." in line for line in lines)
    assert FUSED not in text
    assert max(map(len, lines)) < len(FUSED)
    assert FUSED in json.dumps(json.loads(run(capsys, name, fused, *options, *written, "--json")[1]))
