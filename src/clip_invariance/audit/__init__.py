"""The same measures on encoders of others."""
