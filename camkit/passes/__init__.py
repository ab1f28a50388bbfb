"""Passes through a network: compiled, folded, in one thread, and the arithmetic around them."""
