"""Numbers, comparison and publication."""
