"""Any history of writes, reopenings and background work against a plain dict and brute force."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import seed as from_seed
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from numpy.typing import NDArray

from engine.oracle import EPOCH, Condition, Known, Memory, every, expect_answer, expect_point, uuid_of
from engine.small import opened, settle, small_samples
from paradox.errors import FilterField, PointMissing, QueryInvalid
from paradox.model.points import Id
from paradox.planner.choose import Costs

DIMENSIONS = {"cosine": 8, "dot": 6, "euclidean": 7, "hamming": 16}
WORDS = ("sea", "seal", "sky", "skim")
MODALITIES = ("vector", "image", "text")
START_US = 1_700_000_000_000_000
HOUR_US = 3_600_000_000
PROBING = Costs(exact_row_us=1_000.0, scan_row_us=1_000.0, masked_row_us=1_000.0)
"""Makes probing the cheapest way wherever there is a probe index."""

FILTERS: tuple[tuple[str, Condition], ...] = (
    ("n = 3", lambda _, point: point.payload["n"] == 3),
    ("n in (1, 2) and w = 'sea'", lambda _, point: point.payload["n"] in (1, 2) and point.payload["w"] == "sea"),
    ("not (n >= 2)", lambda _, point: not point.payload["n"] >= 2),
    ("prefix(w, 'sea') or n = 0", lambda _, point: point.payload["w"].startswith("sea") or point.payload["n"] == 0),
    ("contains(tags, 'b')", lambda _, point: "b" in point.payload["tags"]),
    ("modality = 'image' and n between 2 and 5", lambda _, point: point.modality == "image" and 2 <= point.payload["n"] <= 5),
    ("deep.er != 1", lambda _, point: point.payload["deep"]["er"] != 1),
    ("id in (1, 2, 3, 'p10', 'p11')", lambda id, _: id in (1, 2, 3, "p10", "p11")),
    ("n = 5 and n = 6", lambda *_: False),
)
CONDITIONS = st.sampled_from(FILTERS)
SEEDS = st.integers(0, 2**32 - 1)


def id_of(number: int) -> Id:
    return (number, f"p{number}", uuid_of(number))[number % 3]


class History(RuleBasedStateMachine):
    """Rules draw a seed and sizes; what is written follows from the seed, so that an example stays small and quick."""

    layout = (1, 1)
    metric = "cosine"
    probing = False

    def __init__(self) -> None:
        super().__init__()
        self.world = ExitStack()
        self.world.enter_context(small_samples())
        self.folder = Path(tempfile.mkdtemp(prefix="paradox-history-"))
        self.step = 0

    @initialize(bucket=st.sampled_from([None, "day", "month"]), count=st.sampled_from([500, 0, 250]))
    def create(self, bucket: str | None, count: int) -> None:
        self.width = DIMENSIONS[self.metric]
        self.memory = Memory(self.metric)
        shards, copies = self.layout
        self.open()
        self.db.collection(
            "memory",
            vectors={"main": self.width, "side": self.width},
            metric=self.metric,
            shards=shards,
            copies=copies,
            time_bucket=bucket,
        )
        self.take()
        for seed in range(0, count, 125):
            self.add(seed=seed, count=125, side=bool(seed % 2))
        self.settle()

    def open(self) -> None:
        self.db, self.embedded = opened(self.folder)

    def take(self) -> None:
        self.collection = self.db["memory"]
        if self.probing:
            self.embedded.opened("memory").held.engine.costs = PROBING

    def teardown(self) -> None:
        try:
            if hasattr(self, "memory"):
                self.every_point_stands_in_a_scroll_once()
                assert self.embedded.worker is not None
                assert not self.embedded.worker.failure
                assert self.db.verify()["damaged"] == []
        finally:
            if hasattr(self, "db"):
                self.db.close()
            self.world.close()
            shutil.rmtree(self.folder)

    def vectors(self, dice: np.random.Generator, count: int) -> NDArray[Any]:
        """Return vectors of small whole numbers, so that products are exact and many points tie."""
        if self.metric == "hamming":
            return dice.integers(0, 256, size=(count, self.width // 8), dtype=np.uint8)
        made = dice.integers(-3, 4, size=(count, self.width)).astype(np.float32)
        made[~made.any(axis=1), 0] = 1
        return made

    def present(self, seed: int, most: int) -> list[Id]:
        """Return up to so many ids that are there."""
        ids = list(self.memory.points)
        return [ids[place] for place in np.random.default_rng(seed).permutation(len(ids))[:most].tolist()]

    # -- writes

    @rule(seed=SEEDS, count=st.sampled_from([130, 1, 60]), side=st.booleans())
    def add(self, seed: int, count: int, side: bool) -> None:
        dice = np.random.default_rng(seed)
        self.step += 1
        ids = [id_of(number) for number in dice.choice(700, size=count, replace=False).tolist()]
        main = self.vectors(dice, count)
        vectors: dict[str, Any] = {"main": main}
        sides: list[Any] = [None] * count
        if side:
            sides = [row if dice.random() < 0.7 else None for row in self.vectors(dice, count)]
            vectors["side"] = sides
        payload = [
            {
                "n": int(dice.integers(7)),
                "w": WORDS[dice.integers(len(WORDS))],
                "tags": ["a", "b", "c"][: dice.integers(4)],
                "deep": {"er": int(dice.integers(3)), "s": self.step},
                "none": None,
            }
            for _ in ids
        ]
        at_us = (START_US + HOUR_US * dice.integers(-2_000, 2_000, size=count)).tolist()
        modality = [MODALITIES[code] for code in dice.integers(len(MODALITIES), size=count).tolist()]
        times = [EPOCH + timedelta(microseconds=time) for time in at_us]
        receipt = self.collection.add(ids=ids, vectors=vectors, payload=payload, at=times, modality=modality)
        assert receipt.ids == ids
        for row, id in enumerate(ids):
            known = {"main": main[row]} | ({"side": sides[row]} if sides[row] is not None else {})
            self.memory.points[id] = Known(known, payload[row], at_us[row], modality[row])

    @rule(seed=SEEDS, most=st.sampled_from([1, 40]))
    def update(self, seed: int, most: int) -> None:
        ids = self.present(seed, most)
        assume(ids)
        change = {"n": seed % 7, "extra": seed} if seed % 2 else {"n": seed % 7, "extra": None}
        self.collection.update(ids, change)
        for id in ids:
            self.memory.update(id, change)

    @rule(seed=SEEDS)
    def update_of_a_missing_point_changes_nothing(self, seed: int) -> None:
        ids = self.present(seed, 2)
        with pytest.raises(PointMissing):
            self.collection.update([*ids, "nobody"], {"n": 100})
        for hit in self.collection.get(ids):
            expect_point(hit, self.memory.points[hit.id])

    @rule(seed=SEEDS, most=st.sampled_from([1, 25, 120]))
    def delete_by_id(self, seed: int, most: int) -> None:
        ids = self.present(seed, most)
        receipt = self.collection.delete([*ids, "nobody"])
        assert receipt.ids == ids
        for id in ids:
            del self.memory.points[id]

    @precondition(lambda self: self.step > 0)
    @rule(condition=CONDITIONS, low=st.integers(0, 20))
    def delete_by_filter(self, condition: tuple[str, Condition], low: int) -> None:
        where, test = condition
        gone = set(self.memory.matching(lambda id, point: test(id, point) and point.payload["deep"]["s"] >= low))
        receipt = self.collection.delete(where=f"({where}) and deep.s >= {low}")
        assert set(receipt.ids) == gone
        assert len(receipt.ids) == len(gone)
        for id in gone:
            del self.memory.points[id]

    # -- the world

    @rule()
    def reopen(self) -> None:
        self.db.close()
        self.open()
        self.take()

    @rule()
    def settle(self) -> None:
        settle(self.embedded)

    # -- reads

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "memory"):
            assert self.collection.count() == len(self.memory.points)

    @rule()
    def every_point_stands_in_a_scroll_once(self) -> None:
        hits = list(self.collection.scroll(batch=37, with_vectors=True))
        assert len(hits) == len(self.memory.points)
        assert {hit.id for hit in hits} == set(self.memory.points)
        for hit in hits:
            expect_point(hit, self.memory.points[hit.id], "main")

    @precondition(lambda self: self.step > 0)
    @rule(condition=CONDITIONS)
    def filtered_counts_and_scrolls_agree(self, condition: tuple[str, Condition]) -> None:
        where, test = condition
        matching = set(self.memory.matching(test))
        assert self.collection.count(where) == len(matching)
        ids = [hit.id for hit in self.collection.scroll(where)]
        assert sorted(map(str, ids)) == sorted(map(str, matching))

    @rule(seed=SEEDS)
    def get_returns_what_is_there_in_the_order_asked(self, seed: int) -> None:
        ids = self.present(seed, 5)
        asked = [*ids[:2], "nobody", *ids[1:], -1]
        for name in ("main", "side"):
            hits = self.collection.get(asked, with_vectors=True, using=name)
            assert [hit.id for hit in hits] == ids
            for hit in hits:
                expect_point(hit, self.memory.points[hit.id], name)

    @rule(
        seed=SEEDS,
        k=st.sampled_from([1, 3, 10, 150]),
        condition=st.none() | CONDITIONS,
        using=st.sampled_from(["main", "side"]),
        modality=st.none() | st.sampled_from(MODALITIES),
        timed=st.booleans(),
        recall=st.sampled_from([0.9, 0.95, 0.99]),
    )
    def search(
        self, seed: int, k: int, condition: tuple[str, Condition] | None, using: str, modality: str | None, timed: bool, recall: float
    ) -> None:
        assume(self.step or condition is None)
        dice = np.random.default_rng(seed)
        where, test = condition if condition is not None else (None, every)
        low, high = self.times(dice) if timed else (None, None)

        def passes(id: Id, point: Known) -> bool:
            at = EPOCH + timedelta(microseconds=point.at_us)
            return test(id, point) and modality in (None, point.modality) and (low is None or low <= at <= high)

        queries = self.vectors(dice, 3)
        between = (low, high) if timed else None
        rankings = [self.memory.ranking(query, using, passes) for query in queries]
        for exact in (True, False):
            asked = {"where": where, "modality": modality, "between": between, "using": using, "recall": recall, "exact": exact}
            answer = self.collection.search(queries[0], k, **asked)
            expect_answer(answer, rankings[0], k, exact=exact)
            for hit in answer:
                expect_point(hit, self.memory.points[hit.id])
            for one, ranking in zip(self.collection.search_many(queries, k, **asked), rankings, strict=True):
                expect_answer(one, ranking, k, exact=exact)
            again = self.collection.search(queries[0], k, **asked)
            assert [(hit.id, hit.score) for hit in again] == [(hit.id, hit.score) for hit in answer]
            assert str(answer.plan)

    def times(self, dice: np.random.Generator) -> tuple[Any, Any]:
        """Return a span that begins and ends exactly where points stand, if there are any."""
        known = sorted(point.at_us for point in self.memory.points.values()) or [START_US]
        low, high = sorted(known[place] for place in dice.integers(len(known), size=2).tolist())
        return EPOCH + timedelta(microseconds=low), EPOCH + timedelta(microseconds=high)

    @rule(seed=SEEDS, using=st.sampled_from(["main", "side"]))
    def ask_with_a_stored_point(self, seed: int, using: str) -> None:
        for id in self.present(seed, 2):
            vector = self.memory.points[id].vectors.get(using)
            if vector is None:
                with pytest.raises(QueryInvalid):
                    self.collection.search(like=id, using=using)
            else:
                expect_answer(
                    self.collection.search(like=id, k=5, using=using, exact=True), self.memory.ranking(vector, using), 5, exact=True
                )

    @precondition(lambda self: self.memory.points)
    @rule()
    def a_field_that_never_was_is_an_error(self) -> None:
        with pytest.raises(FilterField):
            self.collection.count("topic = 'sea'")


LAYOUTS = ((1, 1), (4, 1), (4, 2), (16, 2))
KINDS = (("cosine", True), ("cosine", False), ("dot", False), ("euclidean", False), ("hamming", False))
QUICK = settings(
    max_examples=2, stateful_step_count=25, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True
)
THOROUGH = settings(QUICK, max_examples=100, stateful_step_count=80)


def history_of(layout: tuple[int, int], metric: str, probing: bool) -> type[History]:
    name = f"{layout[0]}Shards{layout[1]}Copies{metric.title()}{'Probing' if probing else ''}"
    return type(name, (History,), {"layout": layout, "metric": metric, "probing": probing})


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("metric", "probing"), KINDS)
def test_any_history(layout: tuple[int, int], metric: str, probing: bool) -> None:
    history = history_of(layout, metric, probing)
    run_state_machine_as_test(from_seed(len(history.__name__))(history), settings=QUICK)


@pytest.mark.soak
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("metric", "probing"), KINDS)
def test_long_histories(layout: tuple[int, int], metric: str, probing: bool) -> None:
    run_state_machine_as_test(history_of(layout, metric, probing), settings=THOROUGH)
