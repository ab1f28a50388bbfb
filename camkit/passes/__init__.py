"""Passes through a network: compiled, folded, in one thread; their input out of a picture, and what they answer."""
