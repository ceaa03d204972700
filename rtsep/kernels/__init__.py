"""Compiled kernels: Numba, float32, no interpreter lock, no allocation in any call.

Importing this package imports nothing; import the module that holds the kernel.
"""
