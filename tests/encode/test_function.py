from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any

import numpy as np
import pytest

from paradox.encode.function import BATCH_TEXTS, PROBES, FunctionEncoder
from paradox.errors import (
    BatchMismatch,
    ParadoxError,
    PayloadInvalid,
    QueryInvalid,
    SpecInvalid,
    Unavailable,
    VectorDimensions,
    VectorNotFinite,
    VectorType,
)


def letters(texts: list[str]) -> list[list[int]]:
    return [[text.count(letter) for letter in "aeiou"] for text in texts]


def letters_of_one(text: str) -> list[int]:
    return [text.count(letter) for letter in "aeiou"]


def after_probing(answer: Any) -> FunctionEncoder:
    """An encoder that behaves until it is used."""
    calls: list[int] = []

    def function(texts: list[str]) -> Any:
        calls.append(len(texts))
        return letters(texts) if len(calls) == 1 else answer

    encoder = FunctionEncoder(function, name="faulty")
    assert encoder.dimensions == 5
    return encoder


@pytest.mark.parametrize(
    "function",
    [
        letters,
        letters_of_one,
        lambda texts: np.array(letters(texts), dtype=np.float64),
        lambda texts: [np.array(row) for row in letters(texts)],
        lambda text: np.array([letters_of_one(text)]),
        partial(letters),
    ],
)
def test_a_function_of_a_list_or_of_one_text_will_do(function: Callable[..., Any]) -> None:
    encoder = FunctionEncoder(function)
    assert encoder.dimensions == 5
    vectors = encoder.encode(["a tide", "noon"])
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[1, 1, 1, 0, 0], [0, 0, 0, 2, 0]]


def test_a_function_is_not_called_before_it_is_needed() -> None:
    calls: list[Any] = []

    def function(texts: list[str]) -> list[list[int]]:
        calls.append(texts)
        return letters(texts)

    encoder = FunctionEncoder(function)
    assert encoder.name
    assert calls == []
    assert encoder.dimensions == 5
    assert encoder.fingerprint
    assert calls == [list(PROBES)]


def test_long_batches_are_cut_and_keep_their_order() -> None:
    sizes: list[int] = []

    def function(texts: list[str]) -> list[list[int]]:
        sizes.append(len(texts))
        return [[int(text) if text.isdigit() else 0, 1] for text in texts]

    count = 2 * BATCH_TEXTS + 3
    vectors = FunctionEncoder(function).encode([str(number) for number in range(count)])
    assert vectors[:, 0].tolist() == list(range(count))
    assert sizes == [len(PROBES), BATCH_TEXTS, BATCH_TEXTS, 3]


def test_no_texts_give_no_vectors() -> None:
    assert FunctionEncoder(letters).encode([]).shape == (0, 5)


def test_names_and_fingerprints_tell_functions_apart() -> None:
    plain, named = FunctionEncoder(letters), FunctionEncoder(letters, name="vowels")
    assert plain.name.endswith(".letters")
    assert FunctionEncoder(partial(letters)).name == plain.name
    assert named.fingerprint.startswith("function/vowels/5/")
    assert named.fingerprint == FunctionEncoder(letters_of_one, name="vowels").fingerprint
    twice = FunctionEncoder(lambda texts: [[*row, *row] for row in letters(texts)], name="vowels")
    other = FunctionEncoder(lambda texts: [[text.count(letter) for letter in "tdrns"] for text in texts], name="vowels")
    assert len({plain.fingerprint, named.fingerprint, twice.fingerprint, other.fingerprint}) == 4


def test_the_last_bits_of_a_vector_do_not_change_the_fingerprint() -> None:
    noisy = FunctionEncoder(lambda texts: np.array(letters(texts)) * (1 + 1e-6) + 1e-7, name="vowels")
    assert noisy.fingerprint == FunctionEncoder(letters, name="vowels").fingerprint


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (np.ones((3, 5)), BatchMismatch, "'faulty' returned 3 vectors for 2 texts"),
        (np.ones((2, 4)), VectorDimensions, "vectors of 4 dimensions; expected 5"),
        (np.ones(5), VectorDimensions, r"shape \(5,\) for 2 texts; expected \(n, d\)"),
        (np.ones((2, 5, 1)), VectorDimensions, r"shape \(2, 5, 1\)"),
        ([[1, 2, 3, 4, np.nan], [1] * 5], VectorNotFinite, "NaN or an infinity for text 0 of 2"),
        ([[1] * 5, [1e39] * 5], VectorNotFinite, "text 1 of 2"),
        ([["a"] * 5] * 2, VectorType, "array of type <U1; expected numbers"),
        ([[1] * 5, [1] * 4], VectorType, "no array"),
        (np.ones((2, 5), dtype=complex), VectorType, "complex128"),
        (None, VectorType, "object"),
    ],
)
def test_what_a_function_returns_is_checked(answer: Any, error: type[ParadoxError], message: str) -> None:
    with np.errstate(over="ignore"), pytest.raises(error, match=message):
        after_probing(answer).encode(["a", "b"])


def test_a_function_that_fails_is_quoted_without_its_traceback() -> None:
    def failing(texts: list[str]) -> Any:
        raise ConnectionError("no route to model.example")

    with pytest.raises(Unavailable, match=r"test_function.*failing' failed: ConnectionError: no route to model\.example") as caught:
        FunctionEncoder(failing).encode(["the sea"])
    assert caught.value.__suppress_context__


def test_an_error_of_ours_passes_through() -> None:
    def failing(texts: list[str]) -> Any:
        raise QueryInvalid("not today")

    with pytest.raises(QueryInvalid, match="not today"):
        FunctionEncoder(failing).encode(["the sea"])


def test_a_function_that_recovers_is_probed_again() -> None:
    broken = [True]

    def function(texts: list[str]) -> Any:
        if broken[0]:
            raise TimeoutError("asleep")
        return letters(texts)

    encoder = FunctionEncoder(function)
    with pytest.raises(Unavailable, match="asleep"):
        encoder.encode(["the sea"])
    broken[0] = False
    assert encoder.encode(["a", "b"]).tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]


def test_vectors_of_different_lengths_are_refused() -> None:
    with pytest.raises(VectorDimensions, match="different lengths"):
        FunctionEncoder(lambda text: [1.0] * len(text)).encode(["the sea"])


def test_blank_texts_never_reach_the_function() -> None:
    with pytest.raises(PayloadInvalid, match="text 1 of 2 is empty"):
        after_probing(None).encode(["a", ""])


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(SpecInvalid, match="type int cannot be called"):
        FunctionEncoder(7)  # type: ignore[arg-type]


def test_calls_never_overlap() -> None:
    inside, most = [0], [0]

    def function(texts: list[str]) -> list[list[int]]:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        answer = letters(texts * 200)[: len(texts)]
        inside[0] -= 1
        return answer

    encoder = FunctionEncoder(function)
    threads = [Thread(target=encoder.encode, args=([f"text {number}"] * 50,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
