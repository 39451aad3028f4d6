"""THE WORDS: points, schema, filters, queries, operations, stamps, topology, invariants.

In: nothing. Out: frozen msgspec Structs that every other package speaks. No I/O, no clock, no dice.
Anyone may import this package; it imports only `errors`.
"""
