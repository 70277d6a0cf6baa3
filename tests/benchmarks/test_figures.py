"""The peers' figures are read as they stand in their page."""

from benchmarks import figures
from benchmarks.figures import Peer

PAGE = """# Figures

### Best peer

| model | float | int8 | float16 |
|---|---|---|---|
| detector | 43.0 / 25.6 | 7.5 (7.4), 40.1 / 24.5 | 26.3 |
| portrait | 44.1 | 10.8, 39.6* | - |

### int8: static, int8 weights and activations

| model | float | twin | best dB | size | float ops |
|---|---|---|---|---|---|
| detector | 43.0 |  | 7.5 | 0.2739 | 1/81 |
| portrait | 44.1 | 8.0, 37.8 | 10.8 |  | |

### float16 weights

| model | float | size |
|---|---|---|
| detector | 43.0 | 0.5038 |
"""


def test_cells_and_columns_are_found():
    found = figures.read(PAGE)
    assert list(found) == ["int8", "float16"]
    assert found["int8"]["detector"] == Peer(7.5, 7.4, (40.1, 24.5), 0.2739, "1/81")
    assert found["int8"]["portrait"] == Peer(10.8, 10.8, (39.6,), None, "", (37.8,))
    assert found["float16"]["detector"] == Peer(26.3, 26.3, (), 0.5038)
    assert found["float16"]["portrait"] == Peer()


def test_a_negative_figure_keeps_its_sign():
    assert figures.read(PAGE.replace("26.3", "-2.2 (-10.6)"))["float16"]["detector"].worst == -10.6


def test_there_may_be_no_page(tmp_path):
    assert figures.found(tmp_path) == {}
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / figures.PAGE).write_text(PAGE, encoding="utf-8")
    assert set(figures.found(tmp_path)) == {"int8", "float16"}
