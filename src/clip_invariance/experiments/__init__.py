"""One module per experiment: arms in, tidy table out."""
