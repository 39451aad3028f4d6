"""THE SOCKETS: what the engine needs from the world, as small Protocols.

In: the words of `model`. Out: Protocols that `index`, `log`, `objects`, `encode`, `wire` and `shard` fulfil.
Anyone above `model` may import this package.
"""
