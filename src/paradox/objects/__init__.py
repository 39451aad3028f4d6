"""THE OBJECTS: write-once bytes under names, on a disk or in memory.

In: sealed segments and manifests from whoever holds a collection, and a `Disk` to keep them on. Out: adapters of
`ports.objects.ObjectStore`, and `RealDisk`, the adapter of `ports.disk.Disk` for this machine.
Only `node` and tests import this package; it knows nothing of what an object means.
"""
