"""ADMIT: who may ask, what they may ask, and how much at once.

In: requests over HTTP. Out: operations for one database behind it, and replies or problems as JSON or MessagePack. `routes` is the table of
what can be asked; the OpenAPI page is made from it. `node` assembles it; it imports `client` for the verbs' own admission.
"""
