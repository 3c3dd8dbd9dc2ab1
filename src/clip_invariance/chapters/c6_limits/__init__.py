"""Chapter 6: limits met in practice."""
