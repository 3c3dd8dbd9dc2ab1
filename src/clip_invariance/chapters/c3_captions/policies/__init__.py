"""Which factors captions mention (claims C13, C14, C16 to C19 and C25)."""
