"""DECIDE WHERE: which shards a query visits, and the union of what they find.

In: questions and entries. Out: one answer over all shards. May use `shard`, `planner` and `space`; nothing below may know of it.
"""
