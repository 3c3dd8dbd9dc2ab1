"""One function per published figure: tidy table in, matplotlib figure out.

Beside each drawing function stands the one that shapes its table, where one is needed, and a ``describe_`` function that
writes the figure's alt text from the same numbers.
"""
