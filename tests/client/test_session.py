"""What one connection wrote it reads, whatever else it asks for; and it says so of no other collection."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from client.fake import FakeTransport
from paradox.client.session import Session
from paradox.client.sync import Database
from paradox.errors import DeadlineExceeded
from paradox.model import operations as op

UP = [0.0, 0.0, 1.0]


class Numbered(FakeTransport):
    """Tells collections of one name apart, and waits for no position that it has not reached."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def send(self, operation: op.Operation) -> Any:
        if isinstance(operation, op.CountPoints) and operation.after > self._position:
            self.sent.append(operation)
            raise DeadlineExceeded("not that far")
        reply = super().send(operation)
        return op.CollectionView(name=reply.name, spec=reply.spec, id=str(self.made)) if isinstance(operation, op.OpenCollection) else reply


def opened(transport: FakeTransport) -> Any:
    return Database(Session(transport)).collection("notes", dimensions=3)


def after_of(transport: FakeTransport) -> int:
    last: Any = transport.sent[-1]
    return last.question.after if isinstance(last, (op.Ask, op.ExplainPlan)) else last.after


def test_every_read_waits_for_own_writes() -> None:
    transport = FakeTransport()
    notes = opened(transport)
    notes.count()
    assert after_of(transport) == 0
    position = notes.add(vectors=np.eye(3), ids=["x", "y", "z"]).position
    for read in (
        lambda: notes.count(),
        lambda: notes.get("x"),
        lambda: notes.search(UP),
        lambda: notes.search_many([UP]),
        lambda: notes.explain(UP),
        lambda: list(notes.scroll()),
        lambda: notes.count(after=position - 1),
    ):
        read()
        assert after_of(transport) == position
    notes.count(after=position + 5)
    assert after_of(transport) == position + 5
    later = notes.update("x", {"n": 1}).position
    assert after_of(transport) == position  # an update must find what was added
    notes.delete("x")
    assert after_of(transport) == later


@pytest.mark.parametrize("level", ["eventual", "strong"])
def test_other_levels_are_passed_on_as_they_are(level: Any) -> None:
    transport = FakeTransport()
    notes = opened(transport)
    notes.add(vectors=np.eye(3), ids=["x", "y", "z"])
    notes.count(consistency=level)
    notes.search(UP, consistency=level)
    count, search = transport.sent[-2:]
    assert isinstance(count, op.CountPoints)
    assert isinstance(search, op.Ask)
    assert (count.after, count.consistency) == (search.question.after, search.question.consistency) == (0, level)


def test_connections_do_not_wait_for_one_another() -> None:
    transport = FakeTransport()
    one, other = opened(transport), opened(transport)
    one.add(vectors=np.eye(3))
    other.count()
    assert after_of(transport) == 0


def test_a_collection_that_another_made_anew_is_read_as_it_is() -> None:
    transport = Numbered()
    notes = opened(transport)
    for _ in range(3):
        notes.add(vectors=np.eye(3))
    transport._position, transport.made = 1, 1  # dropped and made anew, and written to
    assert notes.count() == 9
    assert after_of(transport) == 0
    notes.add(vectors=np.eye(3))
    notes.count()
    assert after_of(transport) == 2


def test_a_position_that_is_not_reached_is_said() -> None:
    transport = Numbered()
    notes = opened(transport)
    notes.add(vectors=np.eye(3))
    transport._position = 0
    with pytest.raises(DeadlineExceeded):
        notes.count()
