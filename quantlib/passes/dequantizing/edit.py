"""Give a quantized model back in float32."""

from __future__ import annotations

from quantlib.recipes import Graph
from quantlib.tflite import Draft, Model, require_models

from ..edited import Edited, Line
from ..metadata import follow_statistics
from ..versions import update_runtime
from .grids import weight_grids
from .job import Job, Report, Shelf
from .values import check_calls, values_of


def dequantize(
    model: Model,
    *,
    recover_activations: bool = True,
    keep_ranges: bool = False,
    keep_weights: bool = False,
    fold_fake_quant: bool = False,
    expand_sparse: bool = False,
) -> Edited:
    """Give a quantized model back in float32.

    Integers with a scale (INT8, UINT8, INT16, INT4, INT2; biases of INT32 and INT64) become what they stand for,
    halves become FLOAT32, and QUANTIZE and DEQUANTIZE go. Inputs and outputs are FLOAT32 then. Indices, shapes,
    booleans and resources stay.

    An operator that needs the stored integers (CAST, unknown custom ones ...) keeps them, between QUANTIZE and
    DEQUANTIZE; `Edited.kept` names it.

    Parameters
    ----------
    model : Model
        Full-integer, dynamic, weight-only, float16, or a mixture of them.
    recover_activations : bool
        Give back RELU, RELU6 and RELU_N1_TO_1 that only the range of an output carries, as old converters have it.
    keep_ranges : bool
        Note scale, zero point and range beside each float, so that quantizing again takes them as trained, and needs
        no calibration.
    keep_weights : bool
        Note beside weights of 8 bits the scale that makes them INT8 again with nothing rounded a second time, where
        their values alone don't say it: those of UINT8 with a zero point, or with one scale for the tensor. So ranges
        of activations may come from calibration, or with `keep_ranges` from the file.
    fold_fake_quant : bool
        Let FAKE_QUANT go, too.
    expand_sparse : bool
        Make sparse constants dense that are FLOAT32 already; those of other types always become dense.

    Returns
    -------
    Edited

    Raises
    ------
    InvalidValue
        If a bias has no scale and none follows from its operator, a constant can't be read, or a subgraph that is
        called has other types than its caller.

    Examples
    --------
    >>> import quantlib as ql
    >>> model = ql.read(ql.demo.MODEL)
    >>> small = ql.quantize(model, "dynamic")
    >>> edited = dequantize(small)
    >>> edited.totals["constants"], edited.model.tensor("dense/kernel").type
    (7, 'FLOAT32')
    """
    require_models(model=model)
    graphs = [Graph(model, g) for g in range(len(model.subgraphs))]
    found = [values_of(g, fold_fake_quant=fold_fake_quant, expand_sparse=expand_sparse) for g in graphs]
    report = Report()
    if not any(values.real or values.gone for values in found):
        report.kept.append(Line("model", "nothing in it is quantized; it is given back as it is"))
        return report.edited(model)
    grids = weight_grids(model) if keep_weights else {}
    shelf = Shelf(Draft(model), report, recover_activations, keep_ranges, grids)
    for graph, values in zip(graphs, found, strict=True):
        check_calls(graph, graphs, found)
        Job(shelf, graph, values).run()
    update_runtime(shelf.draft)
    shelf.draft.share_empty_buffers()
    return report.edited(follow_statistics(model, shelf.draft.done(), range(len(graphs))))
