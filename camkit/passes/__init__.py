"""How passes through a network are computed: compiled, folded, in one thread, and the arithmetic around them."""
