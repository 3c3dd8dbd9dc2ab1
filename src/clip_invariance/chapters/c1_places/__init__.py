"""Chapter 1: hard and soft invariance."""
