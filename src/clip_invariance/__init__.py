"""Captions Define Invariance: the library behind the executable report."""
