"""Calls and routes: what a request is once it is read, and what a path of the gateway does with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from paradox.model import operations as ops
from paradox.model.operations import CollectionView
from paradox.ports.transport import Transport
from paradox.wire.pack import Form, id_given


class Call(msgspec.Struct, frozen=True):
    """One request, read and admitted.

    name: of the collection, if its path holds one. given: the form of its body. form: that of its reply. place: where the files are, which
    nobody need know.
    """

    database: Transport
    name: str
    body: Any
    given: Form
    form: Form
    place: str = ""

    def view(self) -> CollectionView:
        """Return the collection asked of. Raises CollectionMissing."""
        view: CollectionView = self.database.send(ops.OpenCollection(name=self.name, wanted={}, create=False))
        return view

    def ids(self, ids: Any) -> Any:
        """Return ids as the verbs take them."""
        return [id_given(one, self.given) for one in ids] if isinstance(ids, list) else ids


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One path and method. body, reply: Structs, or None. streams: the reply is an iterator of parts. writes: it changes something.

    bulk: the body of a call is a stream that is read while it comes. joins: it may be answered with others of its kind. arrow: gives the
    reply as an Arrow IPC stream.
    """

    method: str
    path: str
    summary: str
    run: Callable[[Call], Any]
    body: Any = None
    reply: Any = None
    arrow: Callable[[Call], Iterator[bytes]] | None = None
    streams: bool = False
    bulk: bool = False
    writes: bool = False
    joins: bool = False
