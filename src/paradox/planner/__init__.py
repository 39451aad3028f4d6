"""DECIDE HOW: what a search does to keep the recall that was asked for, at the least cost.

In: a question, and what the engine knows of itself: counts, curves, costs. Out: a plan with its estimates (exact over the matches, or
an index with an allow-list; scan all or probe), and answers fused into one. Pure: nothing is read or timed here.
`shard`, `client` and everything above them may import this package.
"""
