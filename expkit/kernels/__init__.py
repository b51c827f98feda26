"""Generated code: graphs of primitives and raw arrays in, fast kernels out. Stands below `tensor`."""
