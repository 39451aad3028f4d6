"""CARRY: the ways from a client to a database.

In: operations. Out: replies, or a ParadoxError. `inprocess` is the way inside one process, `http` the one to a gateway; `bodies` is what
travels there, and `pack` how.
`client`, `connect` and what stands above them may import this package; it imports `ports` and `model`.
"""
