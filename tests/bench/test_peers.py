"""The other databases give right answers behind our Protocol; only where they are installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from paradox.cli.bench.corpus import Corpus, recall
from paradox.cli.bench.peers import PEERS, Batches, Peer, is_installed, make
from paradox.cli.bench.workload import payloads, shuffled_buckets

pytestmark = pytest.mark.full


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest, small: Corpus, tmp_path: Path) -> Iterator[Peer]:
    if not is_installed(request.param):
        pytest.skip(f"{request.param} is not installed")
    opened = make(request.param)
    opened.open(tmp_path, small.vectors.shape[1])
    opened.add(0, np.array(small.vectors), payloads(small, 0, len(small), shuffled_buckets(len(small))))
    opened.finish()
    opened.set_effort(256)
    yield opened
    opened.close()


def test_a_peer_finds_filters_batches_and_replaces(peer: Peer, small: Corpus) -> None:
    found = [peer.search(question) for question in small.questions]
    assert recall(found, small.truth, small.vectors, small.questions) > 0.9
    kept = shuffled_buckets(len(small)) < 1000
    assert all(kept[peer.search(question, 1000)].all() for question in small.questions)
    if hasattr(peer, "search_batch"):
        assert cast(Batches, peer).search_batch(small.questions) == found
    peer.add(0, small.questions[:1], [{"text": "new", "source": "new", "bucket": 1}])
    assert peer.search(small.questions[0])[0] == 0
