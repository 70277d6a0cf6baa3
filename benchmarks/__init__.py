"""Side by side with `cp` and with the nearest peer, in one run: ``python -m benchmarks``."""

#: Rows and columns of the fully-connected layers measured.
WIDTH = 4096
#: Bytes of such a layer in float32, the largest tensor of a model.
LAYER_BYTES = 4 * WIDTH * WIDTH
