"""Invariance, probes and statistics."""
