"""THE MATERIALS, to find: native kernels behind the Index Protocol.

In: vectors in rows. Out: candidates for a query, which the engine scores exactly afterwards, and the words of texts under BM25.
One file for each vendor: `scan` (quantised codes, read whole), `probe` (codes in one list a region), `text` (full text); `exact` has none.
Only `node` may import this package.
"""
