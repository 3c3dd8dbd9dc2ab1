"""In which words captions mention them (claims C15 and C20 to C24)."""
