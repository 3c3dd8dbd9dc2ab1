"""Chapter 2: averaging over an orbit."""
