"""Chapter 4: the dashcam."""
