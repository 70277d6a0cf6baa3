"""A comparison on one screen."""

from __future__ import annotations

from .values import Comparison, LayerError, OutputError

_LAYERS = 15
_OUTPUTS = 8


def short(name: str, width: int) -> str:
    """A name on one line: of several that a converter joined, the first, and without its middle if that is long."""
    name = "".join(c if c.isprintable() else "?" for c in name)
    name = name if len(name) <= width else name.partition(";")[0] or name
    end = (width - 3) // 3
    return name if len(name) <= width else f"{name[: width - 3 - end]}...{name[-end:]}"


def decibels(value: float | None) -> str:
    """SQNR as text."""
    return "-" if value is None else f"{value:.1f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as text."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def rare(value: float | None) -> str:
    """A share that is mostly tiny, as text: of a few values far away nothing must round to none."""
    return "-" if value is None else f"{100 * value:.2g} %"


def table(comparison: Comparison) -> str:
    """Lines for a screen."""
    c = comparison
    lines = [
        f"{c.samples:,} samples, run by {c.runner}, matched by {c.matched}",
        *_costs(c),
        "",
        f"{'output':28} {'SQNR dB':>8} {'cosine':>9} {'max error':>10} {'steps':>7} {'top-1':>8} {'top-5':>8}",
        *(_output(o) for o in c.outputs[:_OUTPUTS]),
    ]
    if len(c.outputs) > _OUTPUTS:
        lines.append(f"and {len(c.outputs) - _OUTPUTS} more")
    lines += c.notes
    if c.accuracy is not None:
        lines.append(_accuracy(c))
    if c.latency is not None:
        t = c.latency
        lines.append(
            f"latency: A {t.median_ms_a:.3f} ms, B {t.median_ms_b:.3f} ms (medians of {t.rounds} runs in turn, "
            f"LiteRT, {t.threads} thread{'s' * (t.threads != 1)})"
        )
    return "\n".join([*lines, *_layers(c)])


def _costs(c: Comparison) -> list[str]:
    names = {
        "bytes": "bytes",
        "parameters": "parameters",
        "multiply-accumulates": "multiply_accumulates",
        "peak of activations": "peak_activation_bytes",
    }
    lines = [f"{'':22} {'A':>14} {'B':>14} {'B/A':>7}"]
    for title, name in names.items():
        a, b = getattr(c.a, name), getattr(c.b, name)
        lines.append(f"{title:22} {a:>14,} {b:>14,} {f'{b / a:.3f}' if a else '-':>7}")
    return lines


def _output(o: OutputError) -> str:
    steps = "-" if o.max_error_steps is None else f"{o.max_error_steps:.1f}"
    return (
        f"{short(o.name, 28):28} {decibels(o.sqnr_db):>8} {o.cosine:9.6f} {o.max_error:10.4g} {steps:>7} "
        f"{percent(o.top1_agreement):>8} {percent(o.top5_agreement):>8}"
    )


def _accuracy(c: Comparison) -> str:
    a = c.accuracy
    if a is None:
        return ""
    five = "" if a.top5_a is None else f", top-5 A {percent(a.top5_a, 2)}, B {percent(a.top5_b, 2)}"
    return f"accuracy over {a.labels:,} labels: top-1 A {percent(a.top1_a, 2)}, B {percent(a.top1_b, 2)}{five}"


def _layers(c: Comparison) -> list[str]:
    if c.layers is None:
        return []
    head = f"{'op':>4} {'operator':17} {'share':>7} {'alone dB':>8} {'in B dB':>8} {'RMSE/scale':>10}"
    head += f" {'saturated':>9}  layer"
    lines = ["", head, *(_layer(layer) for layer in c.layers[:_LAYERS])]
    if len(c.layers) > _LAYERS:
        lines.append(f"and {len(c.layers) - _LAYERS} more")
    if c.unmatched:
        names = ", ".join(short(name, 30) for name in c.unmatched[:3])
        lines.append(f"{len(c.unmatched)} tensors of B have no match in A: {names}{' ...' * (len(c.unmatched) > 3)}")
    return lines


def _layer(layer: LayerError) -> str:
    ratio = "-" if layer.rmse_over_scale is None else f"{layer.rmse_over_scale:.2f}{'!' * layer.flagged}"
    return (
        f"{layer.index:>4} {layer.operator[:17]:17} {percent(layer.share):>7} {decibels(layer.layer_sqnr_db):>8} "
        f"{decibels(layer.sqnr_db):>8} {ratio:>10} {rare(layer.saturation):>9}  {short(layer.tensor, 46)}"
    )
