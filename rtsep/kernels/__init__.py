"""Compiled kernels: Numba, float32, no interpreter lock, no allocation in any call.

Importing this package imports nothing; import the module that holds the kernel.

Numba's cache knows the file of the function that it compiled, not those of the kernels
that the function calls: after a change here, remove the ``*.nbi`` files of `rtsep`.
"""
