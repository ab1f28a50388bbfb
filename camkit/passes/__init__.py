"""Passes through a network: compiled, folded, in one thread; and what their numbers mean."""
