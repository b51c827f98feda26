"""Generated kernels as implementations of primitives: for large float arrays of NumPy, and only where there is one.

Each module takes plain implementations and gives ones that run a kernel from a size on at which it is faster. The plain
ones keep everything else: small arrays, other dtypes and array libraries, empty reductions, a machine without llvmlite,
EXPKIT_KERNELS=0. Results agree within the bounds of kernels/cpu/code/math.py.
"""
