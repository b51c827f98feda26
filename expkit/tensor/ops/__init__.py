"""The primitive table, by family. Each module holds primitives with all their rules, and the functions on top of them."""
