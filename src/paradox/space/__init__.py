"""MAP: which partition a point belongs to, and where a query should look.

In: vectors, event times and modalities; a map of quantised centroids. Out: regions and time buckets for points, regions ranked for
queries, decisions to split and to merge. Pure integer and array arithmetic, so that every holder of one map assigns alike.
`planner` and everything above it may import this package.
"""
