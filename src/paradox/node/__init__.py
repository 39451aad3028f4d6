"""ASSEMBLE: one database from its parts.

In: a path and settings; this is the only package that reads the environment and names a concrete index, log, store or encoder.
Out: an open database that answers operations. `connect` and what stands above it may import this package.
"""
