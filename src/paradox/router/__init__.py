"""DECIDE WHERE: which shards a query visits, and the union of what they find.

In: questions and entries. Out: one answer over all shards, with the trace its plan is drawn from. Stands above `shard`, `planner` and
`space`; `node` may import it, nothing below may know of it.
"""
