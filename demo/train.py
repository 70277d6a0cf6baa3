# ruff: noqa: T201 - a script that prints
"""Train the demo model and write it, with its samples, into ``quantlib/demo``.

A convolutional classifier of scikit-learn's 8x8 digits. The forward and backward passes are NumPy, and the
`.tflite` file is made table by table with quantlib's own `Draft`; no other framework takes part.

    python demo/train.py [--out FOLDER]

It takes about half a minute on two cores. Seeds are fixed, so every run gives a model of equal quality, if
not of equal bits on every machine: the last bits of a matrix product depend on the BLAS library and the CPU.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib import demo
from quantlib.tflite import Draft, Model, Table

Array = npt.NDArray[Any]
#: Turns the loss's gradient by an operator's result into those by its inputs and, if it has one, its kernel
Back = Callable[[Array], tuple[Array, ...]]

SEED = 0
HELD_OUT, CALIBRATION = 450, 100  # of 1,797 digits
EPOCHS, BATCH = 120, 64
RATE, WARM_UP = 2e-3, 100  # the peak, reached after so many steps; then down to 0 along half a cosine
DECAY = 0.05  # of kernels, per step and unit of rate (decoupled: Loshchilov and Hutter, arXiv:1711.05101)
SMOOTHING = 0.1  # of the labels, for ordinary logits (Szegedy et al., arXiv:1512.00567)
MOMENTUM, SQUARES, TINY = 0.9, 0.999, 1e-8  # Adam's own (Kingma and Ba, arXiv:1412.6980)


@dataclass(frozen=True)
class Node:
    """An operator: what it takes, its fused activation, and the shape of its kernel as TFLite has it.

    That is (outputs, rows, columns, inputs) for CONV_2D, (1, rows, columns, channels) for DEPTHWISE_CONV_2D,
    (outputs, inputs) for FULLY_CONNECTED. Strides are 1, padding is SAME, the pool's window and stride 2x2.
    """

    operator: str
    name: str  # of its result
    inputs: tuple[str, ...]
    activation: str = "NONE"
    kernel: tuple[int, ...] = ()

    @property
    def outputs(self) -> int:
        """Number of the kernel's output channels."""
        return self.kernel[-1] if self.operator == "DEPTHWISE_CONV_2D" else self.kernel[0]


#: A separable convolution (arXiv:1704.04861) and a residual block (arXiv:1512.03385), small
NETWORK = (
    Node("CONV_2D", "conv1", ("image",), "RELU", (16, 3, 3, 1)),
    Node("DEPTHWISE_CONV_2D", "depthwise", ("conv1",), "RELU6", (1, 3, 3, 16)),
    Node("CONV_2D", "pointwise", ("depthwise",), "RELU6", (48, 1, 1, 16)),
    Node("MAX_POOL_2D", "pool", ("pointwise",)),
    Node("CONV_2D", "conv2", ("pool",), "RELU", (48, 3, 3, 48)),
    Node("CONV_2D", "conv3", ("conv2",), "NONE", (48, 3, 3, 48)),
    Node("ADD", "residual", ("pool", "conv3"), "RELU"),
    Node("MEAN", "features", ("residual",)),
    Node("FULLY_CONNECTED", "dense", ("features",), "RELU", (96, 48)),
    Node("FULLY_CONNECTED", "logits", ("dense",), "NONE", (10, 96)),
    Node("SOFTMAX", "probabilities", ("logits",)),
)
#: Where an activation function cuts off from above; from below all cut off at 0
LIMITS = {"RELU": np.inf, "RELU6": 6.0}


# ---- operators: forward, and the way back ----------------------------------------------------------------


def windows(x: Array, side: int) -> list[Array]:
    """Pad with SAME, and return what each place of a square window sees: side * side views, row by row."""
    rows, columns, around = x.shape[1], x.shape[2], side // 2
    padded = np.pad(x, ((0, 0), (around, around), (around, around), (0, 0)))
    return [padded[:, i : i + rows, j : j + columns] for i in range(side) for j in range(side)]


def sum_windows(pieces: list[Array], side: int) -> Array:
    """Add up what `windows` took apart: its derivative."""
    into = windows(np.zeros_like(pieces[0]), side)
    for window, piece in zip(into, pieces, strict=True):
        window += piece
    return into[len(into) // 2]  # the centre sees all but the padding


def convolution(x: Array, kernel: Array) -> tuple[Array, Back]:
    """2-D convolution as one matrix product (im2col)."""
    outputs, side = kernel.shape[:2]
    seen = np.concatenate(windows(x, side), axis=-1)
    matrix = kernel.reshape(outputs, -1)

    def back(gradient: Array) -> tuple[Array, ...]:
        flat = gradient.reshape(-1, outputs)
        by_kernel = flat.T @ seen.reshape(len(flat), -1)
        by_seen = (flat @ matrix).reshape(seen.shape)
        return sum_windows(np.split(by_seen, side * side, axis=-1), side), by_kernel.reshape(kernel.shape)

    return seen @ matrix.T, back


def depthwise(x: Array, kernel: Array) -> tuple[Array, Back]:
    """2-D convolution of each channel with a filter of its own."""
    side = kernel.shape[1]
    seen, weights = windows(x, side), kernel.reshape(side * side, -1)

    def back(gradient: Array) -> tuple[Array, ...]:
        by_kernel = np.stack([(gradient * window).sum((0, 1, 2)) for window in seen])
        return sum_windows([gradient * weight for weight in weights], side), by_kernel.reshape(kernel.shape)

    return np.sum([window * weight for window, weight in zip(seen, weights, strict=True)], axis=0), back


def fully_connected(x: Array, kernel: Array) -> tuple[Array, Back]:
    """Matrix product."""
    return x @ kernel.T, lambda gradient: (gradient @ kernel, gradient.T @ x)


def max_pool(x: Array) -> tuple[Array, Back]:
    """Largest of each 2x2 pixels; equal ones share the gradient."""
    samples, rows, columns, channels = x.shape
    blocks = x.reshape(samples, rows // 2, 2, columns // 2, 2, channels)
    largest = blocks.max((2, 4), keepdims=True)

    def back(gradient: Array) -> tuple[Array, ...]:
        hits = blocks == largest
        share = gradient.reshape(largest.shape) / hits.sum((2, 4), keepdims=True, dtype=x.dtype)
        return ((hits * share).reshape(x.shape),)

    return largest.reshape(samples, rows // 2, columns // 2, channels), back


def mean(x: Array) -> tuple[Array, Back]:
    """Mean over all pixels."""
    pixels = x.shape[1] * x.shape[2]
    return x.mean((1, 2)), lambda gradient: (np.broadcast_to(gradient[:, None, None] / pixels, x.shape),)


def add(x: Array, y: Array) -> tuple[Array, Back]:
    """Sum of two arrays."""
    return x + y, lambda gradient: (gradient, gradient)


def softmax(logits: Array) -> tuple[Array, Back]:
    """Probabilities; the way back is that of the cross-entropy after it, from the labels' rows."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = powers / powers.sum(1, keepdims=True)
    return probabilities, lambda truth: ((probabilities - truth) / len(truth),)


OPERATORS: dict[str, Callable[..., tuple[Array, Back]]] = {
    "CONV_2D": convolution,
    "DEPTHWISE_CONV_2D": depthwise,
    "FULLY_CONNECTED": fully_connected,
    "MAX_POOL_2D": max_pool,
    "MEAN": mean,
    "ADD": add,
    "SOFTMAX": softmax,
}


def forward(weights: dict[str, Array], images: Array) -> tuple[dict[str, Array], dict[str, Back]]:
    """Run the network: all tensors by name, each with the samples on its first axis, and the ways back."""
    values, backs = {"image": images}, {}
    for node in NETWORK:
        operands = [values[name] for name in node.inputs]
        if node.kernel:
            operands.append(weights[f"{node.name}/kernel"])
        result, backs[node.name] = OPERATORS[node.operator](*operands)
        if node.kernel:
            result = result + weights[f"{node.name}/bias"]
        limit = LIMITS.get(node.activation)
        values[node.name] = result if limit is None else result.clip(0, limit)
    return values, backs


def learn(weights: dict[str, Array], images: Array, labels: Array) -> tuple[float, dict[str, Array]]:
    """Return the mean cross-entropy of a batch, and its gradients by the weights."""
    values, backs = forward(weights, images)
    truth = np.eye(10, dtype=images.dtype)[labels] * (1 - SMOOTHING) + SMOOTHING / 10
    by_value = {"probabilities": truth}
    by_weight = {}
    for node in reversed(NETWORK):
        gradient, value, limit = by_value[node.name], values[node.name], LIMITS.get(node.activation)
        if limit is not None:
            gradient = gradient * ((value > 0) & (value < limit))
        gradients = backs[node.name](gradient)
        for name, by_input in zip(node.inputs, gradients, strict=False):
            by_value[name] = by_value[name] + by_input if name in by_value else by_input
        if node.kernel:
            by_weight[f"{node.name}/kernel"] = gradients[1]
            by_weight[f"{node.name}/bias"] = gradient.reshape(-1, node.outputs).sum(0)
    logarithms = np.log(np.maximum(values["probabilities"], 1e-30))
    return -float((truth * logarithms).sum(1).mean()), by_weight


# ---- data and training -----------------------------------------------------------------------------------


def split() -> tuple[Array, Array, Array, Array, Array]:
    """Load the digits and split them, each digit keeping its share.

    Returns
    -------
    images, labels, held_out, held_out_labels, calibration : ndarray
        Images are float32 of shape (n, 8, 8, 1), ink from 0 to 1; labels are int64 of shape (n,).
        `calibration` is a part of `images`, with as many of each digit.
    """
    from sklearn.datasets import load_digits  # type: ignore[import-untyped, unused-ignore]  # it has no types
    from sklearn.model_selection import train_test_split  # type: ignore[import-untyped, unused-ignore]  # it has no types

    pixels, labels = load_digits(return_X_y=True)
    images = (pixels / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    images, held_out, labels, held_out_labels = train_test_split(
        images, labels.astype(np.int64), test_size=HELD_OUT, stratify=labels, random_state=SEED
    )
    chosen = np.concatenate([np.flatnonzero(labels == digit)[: CALIBRATION // 10] for digit in range(10)])
    return images, labels, held_out, held_out_labels, images[np.sort(chosen)]


def shifted(images: Array, rng: np.random.Generator) -> Array:
    """Move each image by up to a pixel in each direction, at random."""
    wide = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows, columns = rng.integers(0, 3, (2, len(images), 1)) + np.arange(8)
    moved: Array = wide[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved


def initial(rng: np.random.Generator) -> dict[str, Array]:
    """Draw kernels as He et al. do (arXiv:1502.01852); biases are 0. All float32."""
    weights = {}
    for node in NETWORK:
        if node.kernel:
            deviation = np.sqrt(2 * node.outputs / np.prod(node.kernel))
            weights[f"{node.name}/kernel"] = rng.normal(0, deviation, node.kernel).astype(np.float32)
            weights[f"{node.name}/bias"] = np.zeros(node.outputs, np.float32)
    return weights


def train(images: Array, labels: Array) -> dict[str, Array]:
    """Train with Adam, and return the weights."""
    rng = np.random.default_rng(SEED)
    weights = initial(rng)
    means, squares = ({name: np.zeros_like(w) for name, w in weights.items()} for _ in range(2))
    batches = len(images) // BATCH
    for step in range(1, EPOCHS * batches + 1):
        if step % batches == 1:
            order = rng.permutation(len(images))
        batch = order[(step - 1) % batches * BATCH :][:BATCH]
        loss, gradients = learn(weights, shifted(images[batch], rng), labels[batch])
        rate = RATE * min(step / WARM_UP, (1 + np.cos(np.pi * step / (EPOCHS * batches))) / 2)
        for name, gradient in gradients.items():
            means[name] += (1 - MOMENTUM) * (gradient - means[name])
            squares[name] += (1 - SQUARES) * (gradient**2 - squares[name])
            first, second = means[name] / (1 - MOMENTUM**step), squares[name] / (1 - SQUARES**step)
            decay = DECAY * weights[name] if name.endswith("/kernel") else 0
            weights[name] -= float(rate) * (first / (np.sqrt(second) + TINY) + decay)
        if step % (20 * batches) == 0:
            print(f"step {step}: loss {loss:.4f}")
    return weights


# ---- the file --------------------------------------------------------------------------------------------

STEP: dict[str, float] = {"padding": 0, "stride_w": 1, "stride_h": 1}  # 0 is SAME in the schema's ``Padding``
POOL: dict[str, float] = {**STEP, "stride_w": 2, "stride_h": 2, "filter_width": 2, "filter_height": 2}
OPTIONS: dict[str, tuple[str, dict[str, float]]] = {
    "CONV_2D": ("Conv2DOptions", STEP),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", {**STEP, "depth_multiplier": 1}),
    "FULLY_CONNECTED": ("FullyConnectedOptions", {}),
    "MAX_POOL_2D": ("Pool2DOptions", POOL),
    "MEAN": ("ReducerOptions", {}),
    "ADD": ("AddOptions", {}),
    "SOFTMAX": ("SoftmaxOptions", {"beta": 1}),
}
FUSED = {"RELU": 1, "RELU6": 3}  # in the schema's ``ActivationFunctionType``


def build(weights: dict[str, Array]) -> Model:
    """Make the `.tflite` model: tensors, operators, and what describes them."""
    about = "8x8 digits classifier, trained and written by demo/train.py of quantlib"
    graphs, buffers = [Table("SubGraph", name="main")], [Table("Buffer")]
    root = Table("Model", version=3, description=about, subgraphs=graphs, buffers=buffers, operator_codes=[])
    draft = Draft(Model(root))
    (graph,) = draft.graphs

    def constant(name: str, kind: str, values: Array) -> int:
        return graph.add_tensor(name, kind, values.shape, buffer=draft.add_buffer(values))

    values, _ = forward(weights, np.zeros((1, 8, 8, 1), np.float32))  # for their shapes
    index = {"image": graph.add_tensor("image", "FLOAT32", (1, 8, 8, 1))}
    for node in NETWORK:
        inputs = [index[name] for name in node.inputs]
        if node.kernel:
            names = f"{node.name}/kernel", f"{node.name}/bias"
            inputs += [constant(name, "FLOAT32", weights[name]) for name in names]
        if node.operator == "MEAN":
            inputs.append(constant(f"{node.name}/axes", "INT32", np.array([1, 2], np.int32)))
        index[node.name] = graph.add_tensor(node.name, "FLOAT32", values[node.name].shape)
        kind, options = OPTIONS[node.operator]
        if node.activation in FUSED:
            options = {**options, "fused_activation_function": FUSED[node.activation]}
        graph.append(draft.operator(node.operator, inputs, [index[node.name]], Table(kind, **options)))
    graph.inputs, graph.outputs = [index["image"]], [index["probabilities"]]
    image, result = (Table("TensorMap", name=n, tensor_index=index[n]) for n in ("image", "probabilities"))
    ends = {"inputs": [image], "outputs": [result]}
    draft.signatures = [Table("SignatureDef", signature_key="serving_default", **ends)]
    # The oldest runtime that has all these operators (LiteRT's tools/versioning/runtime_version.cc)
    draft.set_metadata("min_runtime_version", b"1.6.0".ljust(16, b"\0"))
    return draft.done()


def save(path: Path, **arrays: Any) -> None:
    """Write an `.npz`, whole or not at all."""
    temporary = path.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, **arrays)
    os.replace(temporary, path)


def main() -> None:
    """Train, report, write."""
    parser = argparse.ArgumentParser(description="Train the demo model; write it and its samples.")
    here = Path(__file__).resolve().parents[1] / "quantlib" / "demo"
    parser.add_argument("--out", type=Path, default=here, help="folder; quantlib/demo by default")
    out = parser.parse_args().out
    images, labels, held_out, held_out_labels, calibration = split()
    weights = train(images, labels)
    probabilities = forward(weights, held_out)[0]["probabilities"]
    right = int((probabilities.argmax(1) == held_out_labels).sum())
    print(f"{right} of {HELD_OUT} held-out digits right: {right / HELD_OUT:.2%}")
    size = build(weights).write(out / demo.MODEL.name)
    save(out / demo.SAMPLES.name, image=held_out)
    save(out / demo.LABELS.name, labels=held_out_labels)
    save(out / demo.CALIBRATION.name, image=calibration)
    print(f"{out / demo.MODEL.name}: {size:,} bytes")


if __name__ == "__main__":
    main()
