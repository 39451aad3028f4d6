"""HOLD: a set of partitions, kept in segments and searched.

In: entries of the log, in order, and plans. Out: answers, and the files that make the next opening fast. `engine` and what it is made
of take a signal and return effects; only `worker` performs them. Indexes, logs and stores arrive through their Protocols.
`node` assembles shards; what stands above this package in the order of imports may import it.
"""
