"""The primitive table, by family: primitives with all their rules, and the functions on top of them."""
