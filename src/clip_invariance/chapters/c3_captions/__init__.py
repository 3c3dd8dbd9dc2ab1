"""Chapter 3: captions define the invariance."""
