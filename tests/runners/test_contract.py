"""Every runner keeps the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from quantlib.errors import InvalidModel, InvalidValue, MissingExtra, NotFound
from quantlib.runners import LiteRTRunner, NumpyRunner, Runner
from quantlib.runners.protocol import computed
from tests.runners import built
from tests.runners.contract import CHECKS, TAPS, Make, X, seen
from tests.support import models

OBSERVABLE = ("numpy", "builtin", "reference")


def maker(name: str) -> Make:
    if name == "numpy":
        return NumpyRunner
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed (the extra 'litert')")

    def make(model: Any, signature: str | None = None) -> Runner:
        return LiteRTRunner(model, signature, resolver=name)

    return make


@pytest.mark.parametrize("runner", [*OBSERVABLE, "default"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_runner_keeps_the_contract(runner: str, check: Callable[[Make], None]) -> None:
    check(maker(runner))


@pytest.mark.parametrize("runner", OBSERVABLE)
@pytest.mark.parametrize("check", TAPS, ids=lambda check: check.__name__)
def test_a_runner_shows_tensors(runner: str, check: Callable[[Make], None]) -> None:
    check(maker(runner))


@pytest.mark.parametrize("name", ["dense", "variables", "sparse", "annotated", "new_codes"])
@pytest.mark.parametrize("runner", ["builtin", "reference"])
def test_taps_show_the_same_in_both(name: str, runner: str) -> None:
    model = models.BUILT[name]()
    shape = model.tensor("x").shape
    x = models.weights(*shape, seed=3)
    ours, theirs = seen(NumpyRunner(model), x), seen(maker(runner)(model), x)
    assert [i for _, i, _ in ours] == list(computed(model, 0))
    assert [key[:2] for key in ours] == [key[:2] for key in theirs]
    for (_, _, a), (_, _, b) in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


class TestLiteRT:
    def test_it_shows_nothing_that_it_cannot_vouch_for(self) -> None:
        runner = maker("default")(models.dense())
        with pytest.raises(InvalidValue, match="resolver 'default'; use 'builtin' or 'reference'"):
            runner.run(models.weights(1, 32), tap=lambda *_: None)

    def test_resolvers_are_known(self) -> None:
        with pytest.raises(NotFound, match="no resolver 'fast'; known are builtin, reference, "):
            LiteRTRunner(models.dense(), resolver="fast")

    def test_what_litert_refuses_is_named(self) -> None:
        make = maker("builtin")
        with pytest.raises(InvalidModel, match=r"^LiteRT (refuses the model|stopped): .*Unheard-of"):
            make(models.custom_operator()).run(X)

    def test_its_absence_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "ai_edge_litert.interpreter", None)
        with pytest.raises(MissingExtra, match=r"pip install 'tflite-quantlib\[litert\]'"):
            LiteRTRunner(models.dense())

    def test_a_model_on_disk_is_mapped(self, tmp_path: Any) -> None:
        from quantlib.tflite import read

        path = tmp_path / "m.tflite"
        built.ends().write(path)
        outputs = maker("builtin")(read(path)).run([X, np.ones((1, 3), np.int32)])
        assert outputs["twice"].tolist() == [[2, 2, 2]]
