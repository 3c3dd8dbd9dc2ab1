"""One function per published figure: tidy table in, matplotlib figure out."""
