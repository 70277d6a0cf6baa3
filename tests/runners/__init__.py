"""Runners: one contract for all, NumPy against LiteRT, and what is the NumPy runner's own."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.runners.contract")
