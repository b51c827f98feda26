"""Products of matrices: micro-kernels that keep a block of the result in registers, and what feeds them."""
