"""Ctrl-C in the middle of a write: nobody is told that something is durable which is not."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from durability.grown import opened
from durability.lives import NAME, Shape
from paradox.client.sync import Collection, Database
from paradox.errors import LogUnavailable

PLAIN = Shape()


class InterruptedLog:
    """A log whose next append is interrupted."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self.interrupted = False

    def append(self, bodies: Sequence[Any], *, after: int | None = None) -> int:
        if self.interrupted:
            return self._log.append(bodies, after=after)  # type: ignore[no-any-return]
        self.interrupted = True
        raise KeyboardInterrupt


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(opened(tmp_path))
    PLAIN.collection(database)
    yield database
    database.close()


def committer_of(database: Database) -> Any:
    return database._transport.opened(NAME).held.committer  # type: ignore[attr-defined]


def outcomes_of_adds_together(collection: Collection, committer: Any, ids: range) -> dict[int, Any]:
    """Return what each of several threads got whose adds share one sync: a receipt or an error."""
    outcomes: dict[int, Any] = {}

    def add(number: int) -> None:
        try:
            outcomes[number] = collection.add(ids=[number], vectors=np.ones((1, 8)))
        except BaseException as error:
            outcomes[number] = error

    threads = [threading.Thread(target=add, args=(number,)) for number in ids]
    with committer.turn:
        for thread in threads:
            thread.start()
        while len(committer._waiting) < len(ids):
            threads[0].join(0.001)
    for thread in threads:
        thread.join()
    return outcomes


def interrupting(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what is interrupted when it is called, and is as it was afterwards."""

    def interrupted(*_: Any) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    return interrupted


@pytest.mark.parametrize("at", ["append", "draft"])
def test_a_writer_whose_group_was_interrupted_gets_no_receipt(database: Database, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    collection, committer = database[NAME], committer_of(database)
    if at == "append":
        committer._log = InterruptedLog(committer._log)
    else:
        monkeypatch.setattr(committer._applier, "draft_write", interrupting(monkeypatch))
    outcomes = outcomes_of_adds_together(collection, committer, range(4))
    there = {hit.id for hit in collection.scroll()}
    receipts = {number for number, outcome in outcomes.items() if not isinstance(outcome, BaseException)}
    assert receipts == there
    assert sum(isinstance(outcome, KeyboardInterrupt) for outcome in outcomes.values()) == 1
    told = [outcome for outcome in outcomes.values() if isinstance(outcome, LogUnavailable)]
    assert len(told) + len(receipts) == 3
    assert all(error.message == "the write was interrupted" for error in told)
    collection.add(ids=[9], vectors=np.ones((1, 8)))
    assert collection.count() == len(there) + 1


def test_a_write_that_was_interrupted_between_disk_and_memory_is_there_after_reopening(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection, committer = database[NAME], committer_of(database)
    collection.add(ids=[1], vectors=np.ones((1, 8)))
    monkeypatch.setattr(committer._applier, "apply", interrupting(monkeypatch))
    with pytest.raises(KeyboardInterrupt):
        collection.add(ids=[2], vectors=np.ones((1, 8)))
    with pytest.raises(LogUnavailable, match="a write was interrupted before it was applied") as raised:
        collection.add(ids=[3], vectors=np.ones((1, 8)))
    assert raised.value.hint == "close the database and open it again"
    assert {hit.id for hit in collection.scroll()} == {1}
    database.close()
    again = Database(opened(tmp_path))
    assert {hit.id for hit in again[NAME].scroll()} == {1, 2}
    again[NAME].add(ids=[3], vectors=np.ones((1, 8)))
    assert again[NAME].count() == 3
    again.close()
