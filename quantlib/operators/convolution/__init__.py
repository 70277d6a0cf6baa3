"""Convolutions. Filters: [O, H, W, I], depthwise [1, H, W, C * multiplier], 3-D [D, H, W, I, O]."""
