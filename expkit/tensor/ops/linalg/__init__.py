"""Linear algebra: primitives with their rules, and the functions on them, by kind of factorisation.

All work on the last two dimensions; the leading ones are a batch. `expkit.linalg` has the public names.
"""
