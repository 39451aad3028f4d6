"""What every Index must do. Subclass `IndexConformance` in a test module and say how to make one.

`exact` adapters must rank as brute force does; the others must have the nearest among a moderate number of candidates.
"""

from __future__ import annotations

from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from paradox.ports.index import Index

ROWS, QUERIES = 1_500, 12


class IndexConformance:
    exact = False
    repeats = 1
    """How often a row may stand in one answer."""

    def draw(self, dice: np.random.Generator, count: int) -> NDArray[Any]:
        """Return (count, d) vectors as the adapter takes them."""
        raise AssertionError("say how")

    def index_of(self, vectors: NDArray[Any]) -> Index:
        """Return an index over these rows."""
        raise AssertionError("say how")

    def scores(self, vectors: NDArray[Any], query: NDArray[Any]) -> NDArray[np.float64]:
        """Return (n,) true scores, higher is nearer."""
        return vectors.astype(np.float64) @ query.astype(np.float64)

    @pytest.fixture
    def vectors(self) -> NDArray[Any]:
        return self.draw(np.random.default_rng(1), ROWS)

    @pytest.fixture
    def queries(self) -> NDArray[Any]:
        return self.draw(np.random.default_rng(2), QUERIES)

    @pytest.fixture
    def index(self, vectors: NDArray[Any]) -> Index:
        return self.index_of(vectors)

    def found(self, rows: NDArray[Any]) -> list[set[int]]:
        """Return the rows of each query, and check that they are few enough of each and in range."""
        sets = []
        for row in np.asarray(rows).tolist():
            here = [one for one in row if one != -1]
            assert all(0 <= one < ROWS for one in here)
            assert all(here.count(one) <= self.repeats for one in set(here))
            sets.append(set(here))
        return sets

    def expect_near(
        self, sets: list[set[int]], vectors: NDArray[Any], queries: NDArray[Any], allow: NDArray[np.bool_] | None = None
    ) -> None:
        """Check that the ten nearest are among the candidates."""
        hits = wanted = 0
        for rows, query in zip(sets, queries, strict=True):
            score = self.scores(vectors, query)
            if allow is not None:
                score = np.where(allow, score, -np.inf)
            edge = np.sort(score)[-10] if allow is None or allow.sum() >= 10 else score[allow].min(initial=np.inf)
            hits += min(10, sum(score[row] >= edge for row in rows))
            wanted += min(10, ROWS if allow is None else int(allow.sum()))
        assert hits >= (1.0 if self.exact else 0.97) * wanted

    def test_it_knows_how_many_rows_it_has(self, index: Index) -> None:
        assert len(index) == ROWS

    def test_candidates_come_best_first_and_hold_the_nearest(self, index: Index, vectors: NDArray[Any], queries: NDArray[Any]) -> None:
        scores, rows = index.search(queries, 100)
        assert scores.shape == rows.shape
        assert len(rows) == QUERIES
        filled = np.where(rows >= 0, scores, -np.inf)
        with np.errstate(invalid="ignore"):
            assert (np.diff(filled, axis=1)[np.isfinite(filled[:, 1:])] <= 1e-6).all()
        self.expect_near(self.found(rows), vectors, queries)

    def test_an_exact_index_ranks_as_brute_force_does(self, index: Index, vectors: NDArray[Any], queries: NDArray[Any]) -> None:
        scores, rows = index.search(queries, 7)
        for score, row, query in zip(scores, rows, queries, strict=True):
            true = self.scores(vectors, query)
            if not self.exact:
                assert np.isfinite(score[row >= 0]).all()
                continue
            edge = np.sort(true)[-7]
            assert set(row[row >= 0].tolist()) == set(np.flatnonzero(true >= edge).tolist()), "what ties with the last belongs to it"
            assert np.array_equal(score[row >= 0], true[row[row >= 0]])

    def test_only_allowed_rows_come_back(self, index: Index, vectors: NDArray[Any], queries: NDArray[Any]) -> None:
        for share in (0.5, 0.1, 0.01):
            allow = np.random.default_rng(3).random(ROWS) < share
            _, rows = index.search(queries, 100, allow=allow)
            sets = self.found(rows)
            assert all(allow[row] for one in sets for row in one)
            self.expect_near(sets, vectors, queries, allow)

    def test_all_allowed_rows_come_back_when_they_are_few(self, index: Index, queries: NDArray[Any]) -> None:
        allow = np.zeros(ROWS, dtype=np.bool_)
        allow[[0, 3, 700, ROWS - 1]] = True
        _, rows = index.search(queries, 50, allow=allow)
        assert self.found(rows) == [{0, 3, 700, ROWS - 1}] * QUERIES

    def test_more_candidates_than_rows_are_all_rows(self, index: Index, queries: NDArray[Any]) -> None:
        _, rows = index.search(queries[:2], ROWS + 500)
        assert self.found(rows) == [set(range(ROWS))] * 2

    def test_queries_together_and_one_by_one_find_the_same(self, index: Index, queries: NDArray[Any]) -> None:
        _, rows = index.search(queries, 20)
        for number in range(QUERIES):
            _, alone = index.search(queries[number : number + 1], 20)
            assert self.found(alone)[0] == self.found(rows)[number]

    def test_equal_questions_get_equal_answers_from_every_thread(self, index: Index, queries: NDArray[Any]) -> None:
        scores, rows = index.search(queries, 20)
        answers: list[tuple[NDArray[Any], NDArray[Any]]] = []

        def ask() -> None:
            for _ in range(5):
                answers.append(index.search(queries, 20))

        threads = [Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 40
        assert all(np.array_equal(scores, one) and np.array_equal(rows, other) for one, other in answers)


class AppendableConformance(IndexConformance):
    """For adapters that take more rows."""

    def test_a_row_is_found_as_soon_as_it_is_added(self, vectors: NDArray[Any]) -> None:
        index: Any = self.index_of(vectors[:10])
        for row in range(10, 60):
            index.add(vectors[row : row + 1])
            assert len(index) == row + 1
            _, rows = index.search(vectors[row : row + 1], row + 1)
            assert row in rows[0].tolist()

    def test_rows_added_since_a_mask_was_made_are_not_allowed(self, vectors: NDArray[Any], queries: NDArray[Any]) -> None:
        index: Any = self.index_of(vectors[:500])
        allow = np.ones(500, dtype=np.bool_)
        index.add(vectors[500:])
        _, rows = index.search(queries, 600, allow=allow)
        assert self.found(rows) == [set(range(500))] * QUERIES

    def test_searching_and_adding_at_the_same_time_is_no_error(self, vectors: NDArray[Any], queries: NDArray[Any]) -> None:
        index: Any = self.index_of(vectors[:100])
        assert isinstance(index.add, type(index.search))
        errors: list[BaseException] = []
        done: list[bool] = []

        def search() -> None:
            try:
                while not done:
                    _, rows = index.search(queries, 10)
                    assert rows.max() < len(index)
                    _, rows = index.search(queries, 10, allow=np.ones(100, dtype=np.bool_))
                    assert rows.max() < 100
            except BaseException as error:
                errors.append(error)

        threads = [Thread(target=search) for _ in range(4)]
        for thread in threads:
            thread.start()
        for start in range(100, ROWS, 50):
            index.add(vectors[start : start + 50])
        done.append(True)
        for thread in threads:
            thread.join()
        assert errors == []
        assert len(index) == ROWS


class StoredConformance(IndexConformance):
    """For adapters that are kept in files."""

    def load(self, path: Path) -> Index:
        """Open what `save` wrote. Raises ValueError or OSError."""
        raise AssertionError("say how")

    def test_a_saved_index_answers_as_before(self, index: Index, queries: NDArray[Any], tmp_path: Path) -> None:
        index.save(tmp_path / "index")
        loaded = self.load(tmp_path / "index")
        assert len(loaded) == len(index)
        allow = np.arange(ROWS) % 3 > 0
        for asked in ({}, {"allow": allow}):
            before, after = index.search(queries, 20, **asked), loaded.search(queries, 20, **asked)
            assert np.array_equal(before[0], after[0])
            assert np.array_equal(before[1], after[1])

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
    def test_a_file_that_was_cut_off_is_an_error_and_no_crash(self, index: Index, tmp_path: Path, share: float) -> None:
        path = tmp_path / "index"
        index.save(path)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises((ValueError, OSError)):
            self.load(path)

    def test_a_file_that_is_none_of_ours_is_an_error_and_no_crash(self, tmp_path: Path) -> None:
        path = tmp_path / "index"
        path.write_bytes(np.random.default_rng(4).bytes(10_000))
        with pytest.raises((ValueError, OSError)):
            self.load(path)
        with pytest.raises((ValueError, OSError)):
            self.load(tmp_path / "absent")
