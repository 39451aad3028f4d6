"""Opening: a database as the first thing that a process does; how long until it answers, and what it then keeps in memory."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import numpy as np

SEARCHES = 200


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """open_s: until the collection was there. answer_s: until a first answer. Anonymous memory before opening and after searching."""

    open_s: float
    answer_s: float
    points: int
    before_bytes: int | None
    after_bytes: int | None


def open_and_ask(folder: str, questions: str, collection: str, recall: float) -> Opened:
    """Open, ask one question, then ask many. questions: an .npy file of (q, d)."""
    import paradox
    from paradox.cli.bench.timing import anonymous_bytes

    asked = np.load(Path(questions))
    before_bytes = anonymous_bytes()
    start = time.perf_counter()
    with paradox.connect(folder) as database:
        points = database[collection]
        open_s = time.perf_counter() - start
        points.search(asked[0], k=10, recall=recall)
        answer_s = time.perf_counter() - start
        for number in range(SEARCHES):
            points.search(asked[number % len(asked)], k=10, recall=recall)
        points.search_many(asked[:100], k=10, recall=recall)
        after_bytes = anonymous_bytes()
        count = points.count()
    return Opened(open_s=open_s, answer_s=answer_s, points=count, before_bytes=before_bytes, after_bytes=after_bytes)
