"""Filters of every selectivity, for, beside and against the question."""

from __future__ import annotations

import numpy as np
import pytest

from paradox.cli.bench.corpus import Corpus
from paradox.cli.bench.workload import SHARES, SLANTS, STEPS, filter_payloads, payloads, rank_points, selections, shuffled_buckets


def test_every_filter_keeps_the_share_it_says(small: Corpus) -> None:
    for selection in selections(small, rank_points(small)):
        for part in selection.parts:
            wanted = selection.share * len(small)
            assert abs(int(part.allowed.sum()) - wanted) <= 1, part.where


def test_there_is_a_selection_for_each_slant_and_share(small: Corpus) -> None:
    found = [(selection.slant, selection.share) for selection in selections(small, rank_points(small))]
    assert found == [(slant, share) for slant in SLANTS for share in SHARES]


def test_near_neighbours_pass_a_correlated_filter_and_fail_an_opposed_one(small: Corpus) -> None:
    passing: dict[str, float] = {}
    for selection in selections(small, rank_points(small)):
        if selection.share == 0.1:
            kept = [part.allowed[small.truth.rows[part.questions]].mean() for part in selection.parts]
            passing[selection.slant] = float(np.mean(kept))
    assert passing["correlated"] > 2 * passing["independent"] > 2 * passing["opposed"]


def test_truth_under_a_filter_holds_only_what_passes(small: Corpus) -> None:
    for selection in selections(small, rank_points(small)):
        for part in selection.parts:
            rows = part.truth.rows[part.truth.rows >= 0]
            assert part.allowed[rows].all()
            assert len(rows) == len(part.questions) * min(10, int(part.allowed.sum()))


def test_filters_and_payloads_speak_of_the_same_fields(small: Corpus) -> None:
    ranks = rank_points(small)
    fields = filter_payloads(ranks)
    for selection in selections(small, ranks):
        for part in selection.parts:
            name, operator, bound = part.where.split()
            values = np.array([payload[name] for payload in fields])
            np.testing.assert_array_equal(values < int(bound) if operator == "<" else values >= int(bound), part.allowed)


@pytest.mark.parametrize("count", [1, 99, 10_000, 12_345])
def test_buckets_are_even(count: int) -> None:
    buckets = shuffled_buckets(count)
    assert buckets.min() == 0
    assert buckets.max() < STEPS
    assert np.ptp(np.bincount(buckets, minlength=STEPS)) <= 1


def test_a_payload_is_the_text_of_its_row(small: Corpus) -> None:
    made = payloads(small, 3, 5, shuffled_buckets(len(small)))
    assert [payload["text"] for payload in made] == list(small.texts[3:5])
    assert {payload["source"] for payload in made} <= {"even", "odd"}
