"""How kernels are written: values, functions, routines, and the code of one element."""
