"""Networks by padding, pooling and position."""
