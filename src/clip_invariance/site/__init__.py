"""The rendered report."""
