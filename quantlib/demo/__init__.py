"""A small real model with its data: a convolutional classifier of 8x8 pixel handwritten digits.

The model is float32, in the operators that people have: convolutions (plain, depthwise and 1x1, with RELU and
RELU6), a residual ADD, MAX_POOL_2D, MEAN, FULLY_CONNECTED and SOFTMAX. Its input ``image``, float32 of shape
(1, 8, 8, 1), is ink from 0 to 1; its output ``probabilities``, float32 of shape (1, 10), is one per digit.
``demo/train.py`` of the repository trained it. The images are those of scikit-learn's ``load_digits``: the
test set of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, UCI Machine Learning
Repository, CC BY 4.0).

Attributes
----------
MODEL : Path
    The ``.tflite`` file.
SAMPLES : Path
    450 samples that the training never saw: ``image``, float32 of shape (450, 8, 8, 1).
LABELS : Path
    What the samples show: ``labels``, int64 of shape (450,), 0 to 9.
CALIBRATION : Path
    100 samples of the training part, ten of each digit: ``image``, float32 of shape (100, 8, 8, 1).

Examples
--------
>>> import numpy as np
>>> from quantlib.tflite import read
>>> read(MODEL).tensor("conv1/kernel").shape
(16, 3, 3, 1)
>>> np.load(SAMPLES)["image"].shape
(450, 8, 8, 1)
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent

MODEL = _HERE / "digits.tflite"
SAMPLES = _HERE / "digits.npz"
LABELS = _HERE / "digits_labels.npz"
CALIBRATION = _HERE / "digits_calibration.npz"
