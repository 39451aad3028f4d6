"""THE LOG: entries in order, kept in files that survive a power cut, or in memory.

In: bodies from whoever holds a collection, and a `Disk` to keep them on. Out: adapters of `ports.log.Log`.
Only `node` and tests import this package; it knows nothing of what a body means.

`frame` is the format, `scan` tells what of a file was written whole, `append` adds to it, `file` is the Log made of them.
"""
