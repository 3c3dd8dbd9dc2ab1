"""The worlds in which the optimum can be computed."""
