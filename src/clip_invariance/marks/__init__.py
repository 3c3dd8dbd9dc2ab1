"""The shared look of figures."""
