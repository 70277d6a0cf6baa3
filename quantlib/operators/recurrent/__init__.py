"""Recurrent operators. Their hybrid kernels take one scale per weight, and all weights or none."""
