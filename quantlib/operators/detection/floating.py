"""The custom operator that ends the detectors of TensorFlow's Object Detection API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue

from ..kernel import Array, Call, Kernel

__all__ = ["KERNELS", "Detector", "decode_boxes", "detection_postprocess", "suppress"]

Floats: TypeAlias = npt.NDArray[np.float32]
Integers: TypeAlias = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Detector:
    """Options of ``TFLite_Detection_PostProcess``.

    Attributes
    ----------
    num_classes : int
        Without the background, which the scores may have as their first class.
    scales : tuple of float
        By which the encoded y, x, height and width are divided.
    max_detections : int
    max_classes_per_detection : int
        Classes per kept box; where `regular` is False.
    score_threshold, iou_threshold : float
        Least score of a box; overlap from which the lower of two boxes is dropped.
    regular : bool
        Suppress boxes class by class, instead of by their best class.
    detections_per_class : int
        Boxes per class; where `regular` is True.
    """

    num_classes: int
    scales: tuple[float, float, float, float]
    max_detections: int
    max_classes_per_detection: int
    score_threshold: float
    iou_threshold: float
    regular: bool = False
    detections_per_class: int = 100

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> Detector:
        """Read the operator's own options."""
        try:
            classes = int(attributes["num_classes"])
            y, x, height, width = (float(attributes[f"{side}_scale"]) for side in "yxhw")
            return cls(
                num_classes=classes,
                scales=(y, x, height, width),
                max_detections=int(attributes["max_detections"]),
                max_classes_per_detection=int(attributes["max_classes_per_detection"]),
                score_threshold=float(attributes["nms_score_threshold"]),
                iou_threshold=float(attributes["nms_iou_threshold"]),
                regular=bool(attributes.get("use_regular_nms", False)),
                detections_per_class=int(attributes.get("detections_per_class", 100)),
            )
        except KeyError as error:
            raise InvalidValue(
                f"a detector's options lack {error.args[0]!r}; they have {sorted(attributes)}"
            ) from None
        except (TypeError, ValueError) as error:
            raise InvalidValue(f"a detector's options: {error}; numbers are required") from None

    def __post_init__(self) -> None:
        if not 0 < np.float32(self.iou_threshold) <= 1:
            raise InvalidValue(f"nms_iou_threshold {self.iou_threshold}: more than 0, up to 1 is required")
        least = min(self.num_classes, self.max_detections, self.max_classes_per_detection, self.detections_per_class)
        if least < 1:
            raise InvalidValue("a detector without classes or detections: one of each at least is required")
        if any(scale == 0 for scale in self.scales):
            raise InvalidValue(f"y, x, h and w scales {self.scales}: none may be 0")


def decode_boxes(encodings: Array, anchors: Array, scales: tuple[float, float, float, float]) -> Floats:
    """Corners of boxes that are encoded relative to anchors.

    Parameters
    ----------
    encodings : ndarray
        float32 [N, 4 or more]: y, x of the centre, height, width; what follows (keypoints) is left out.
    anchors : ndarray
        float32 [N, 4]: y, x, height, width.
    scales : tuple of float
        By which the four are divided.

    Returns
    -------
    ndarray
        float32 [N, 4]: y and x of the upper left corner, then of the lower right one. As in LiteRT, the centre
        and the half extents are computed in float64 and rounded.
    """
    scaled = encodings[:, :4].astype(np.float64) / np.array(scales, np.float32)
    place, extent = anchors[:, :2].astype(np.float64), anchors[:, 2:4].astype(np.float64)
    centre = (scaled[:, :2] * extent + place).astype(np.float32)
    with np.errstate(over="ignore"):
        half = (0.5 * np.exp(scaled[:, 2:]) * extent).astype(np.float32)
    return np.concatenate((centre - half, centre + half), 1)


def suppress(boxes: Floats, scores: Floats, most: int, score_threshold: float, iou_threshold: float) -> Integers:
    """Non-maximum suppression.

    Parameters
    ----------
    boxes : ndarray
        float32 [N, 4]: corners.
    scores : ndarray
        float32 [N].
    most : int
        How many boxes to keep at most.
    score_threshold, iou_threshold : float
        Boxes below the one are left out; those that overlap a better one by more than the other are dropped.

    Returns
    -------
    ndarray
        Indices of the kept boxes, by falling score; equal ones in their order.
    """
    candidates = np.flatnonzero(scores >= np.float32(score_threshold))
    candidates = candidates[np.argsort(-scores[candidates], kind="stable")]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    limit = np.float32(iou_threshold)
    kept: list[int] = []
    while candidates.size and len(kept) < most:
        best, candidates = int(candidates[0]), candidates[1:]
        kept.append(best)
        candidates = candidates[~(_overlap(boxes, areas, best, candidates) > limit)]
    return np.array(kept, np.intp)


def _overlap(boxes: Floats, areas: Floats, one: int, others: Integers) -> Floats:
    """Intersection over union of a box with others; 0 where either has no area."""
    rest = boxes[others]
    sides = np.minimum(boxes[one, 2:], rest[:, 2:]) - np.maximum(boxes[one, :2], rest[:, :2])
    np.maximum(sides, 0, out=sides)
    common = sides[:, 0] * sides[:, 1]
    valid = (areas[others] > 0) & (areas[one] > 0)
    shares: Floats = np.zeros_like(common)
    np.divide(common, areas[one] + areas[others] - common, out=shares, where=valid)
    return shares


def detection_postprocess(
    encodings: Array, scores: Array, anchors: Array, detector: Detector
) -> tuple[Floats, Floats, Floats, Floats]:
    """Decode boxes and keep the best.

    Parameters
    ----------
    encodings : ndarray
        float32 [1, N, 4 or more]; see `decode_boxes`.
    scores : ndarray
        float32 [1, N, classes, with or without the background first].
    anchors : ndarray
        float32 [N, 4].
    detector : Detector

    Returns
    -------
    tuple of ndarray
        float32 boxes [1, D, 4], classes [1, D], scores [1, D], and the number of kept boxes [1]. D is
        max_detections * max_classes_per_detection; entries behind the kept ones are zero.

    Raises
    ------
    InvalidValue
        If shapes or types don't fit, or a box has negative extent.
    """
    _check(encodings, scores, anchors, detector)
    boxes = decode_boxes(encodings[0], anchors, detector.scales)
    if np.any(boxes[:, :2] > boxes[:, 2:]):
        raise InvalidValue("a decoded box has negative height or width")
    rated = scores[0, :, scores.shape[2] - detector.num_classes :]
    box, label, count = _by_class(boxes, rated, detector) if detector.regular else _by_best(boxes, rated, detector)
    places = np.arange(box.size)
    if not detector.regular:
        # Each box has its own row of classes, of which fewer may exist than there is room for.
        taken = min(detector.max_classes_per_detection, detector.num_classes)
        places = places // taken * detector.max_classes_per_detection + places % taken
    room = detector.max_detections * detector.max_classes_per_detection
    corners, labels, ratings = np.zeros((room, 4), np.float32), *np.zeros((2, room), np.float32)
    corners[places], labels[places], ratings[places] = boxes[box], label, rated[box, label]
    return corners[np.newaxis], labels[np.newaxis], ratings[np.newaxis], np.array([count], np.float32)


def _check(encodings: Array, scores: Array, anchors: Array, detector: Detector) -> None:
    shapes = encodings.shape, scores.shape, anchors.shape
    if any(a.dtype != np.float32 for a in (encodings, scores, anchors)):
        raise InvalidValue(
            f"boxes, scores and anchors of {encodings.dtype}, {scores.dtype}, {anchors.dtype}: float32 is required"
        )
    if encodings.ndim != 3 or scores.ndim != 3 or encodings.shape[0] != 1 or encodings.shape[2] < 4:
        raise InvalidValue(f"boxes, scores and anchors {shapes}: (1, N, 4), (1, N, classes) and (N, 4) are required")
    if scores.shape[:2] != encodings.shape[:2] or anchors.shape != (encodings.shape[1], 4):
        raise InvalidValue(f"boxes, scores and anchors {shapes}: (1, N, 4), (1, N, classes) and (N, 4) are required")
    if scores.shape[2] - detector.num_classes not in (0, 1):
        raise InvalidValue(
            f"scores of {scores.shape[2]} classes: {detector.num_classes}, or with background one more"
        )


def _by_best(boxes: Floats, scores: Floats, detector: Detector) -> tuple[Integers, Integers, int]:
    """Suppress once, by each box's best class; its other good classes come along."""
    taken = min(detector.max_classes_per_detection, detector.num_classes)
    sorting = taken > 1
    labels = np.argsort(-scores, 1, kind="stable")[:, :taken] if sorting else scores.argmax(1)[:, np.newaxis]
    best = np.take_along_axis(scores, labels[:, :1], 1)[:, 0]
    kept = suppress(boxes, best, detector.max_detections, detector.score_threshold, detector.iou_threshold)
    return np.repeat(kept, taken), labels[kept].reshape(-1), kept.size


def _by_class(boxes: Floats, scores: Floats, detector: Detector) -> tuple[Integers, Integers, int]:
    """Suppress in each class, then keep the best of all."""
    most = min(detector.detections_per_class, detector.max_detections)
    kept = [
        suppress(boxes, scores[:, label], most, detector.score_threshold, detector.iou_threshold)
        for label in range(detector.num_classes)
    ]
    box = np.concatenate(kept)
    label = np.repeat(np.arange(detector.num_classes), [k.size for k in kept])
    order = np.argsort(-scores[box, label], kind="stable")[: detector.max_detections]
    return box[order], label[order], order.size


def _postprocess(call: Call) -> list[Array]:
    encodings, scores, anchors = (call.operand(i) for i in range(3))
    return list(detection_postprocess(encodings, scores, anchors, Detector.of(call.attributes)))


KERNELS: Mapping[str, Kernel] = MappingProxyType({"TFLite_Detection_PostProcess": _postprocess})
