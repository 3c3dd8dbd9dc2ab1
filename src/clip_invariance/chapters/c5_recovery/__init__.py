"""Chapter 5: recovering what was lost."""
