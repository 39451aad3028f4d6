from __future__ import annotations

import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from paradox.encode import words as words_module
from paradox.encode.words import WordsEncoder
from paradox.errors import ExtraMissing, PayloadInvalid

pytest.importorskip("wordllama")

FINGERPRINT = "wordllama/0.4/256/"


@pytest.fixture(scope="module")
def encoder() -> WordsEncoder:
    return WordsEncoder()


def test_texts_become_unit_vectors_in_their_order(encoder: WordsEncoder) -> None:
    texts = [f"number {number} of many " + "words " * (number % 50) for number in range(200)]
    vectors = encoder.encode(texts)
    assert vectors.shape == (200, encoder.dimensions)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors, np.concatenate([encoder.encode([text]) for text in texts]), atol=1e-5)


def test_texts_of_like_words_are_near(encoder: WordsEncoder) -> None:
    sea, ocean, stocks = encoder.encode(["waves of the sea", "ocean waves", "the stock market fell"])
    assert float(sea @ ocean) > float(sea @ stocks) + 0.3


def test_only_the_first_characters_of_a_text_count(encoder: WordsEncoder) -> None:
    start = "the sea " * 512
    long, other = encoder.encode([start + "and the sky", start + "or a fish"])
    assert (long == other).all()


@pytest.mark.parametrize(("texts", "message"), [([""], "text 0 of 1 is empty"), ("the sea", "one text was given")])
def test_what_is_no_text_is_refused(encoder: WordsEncoder, texts: list[str], message: str) -> None:
    with pytest.raises(PayloadInvalid, match=message):
        encoder.encode(texts)


def test_a_text_without_any_known_sign_is_refused_by_its_place(encoder: WordsEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder.encode(["the sea"])
    monkeypatch.setattr(encoder, "_embed", lambda texts, **_: np.array([[np.nan if text == "??" else 1.0] * 256 for text in texts]))
    with pytest.raises(PayloadInvalid, match="text 1 of 3 holds nothing that encoder 'words' knows"):
        encoder.encode(["the long sea", "??", "the sea"])


def test_no_texts_give_no_vectors(encoder: WordsEncoder) -> None:
    assert encoder.encode([]).shape == (0, 256)


def test_the_fingerprint_names_package_dimensions_and_weights(encoder: WordsEncoder) -> None:
    assert encoder.name == "words"
    assert encoder.fingerprint.startswith(FINGERPRINT)
    assert encoder.fingerprint == WordsEncoder().fingerprint


def test_many_threads_get_the_same_vectors(encoder: WordsEncoder) -> None:
    texts = ["the sea", "the sky above the sea"] * 20
    wanted = encoder.encode(texts)
    with ThreadPoolExecutor(4) as pool:
        assert all((vectors == wanted).all() for vectors in pool.map(lambda _: encoder.encode(texts), range(8)))


def test_the_applications_logging_is_left_alone() -> None:
    code = "; ".join(
        (
            "import logging",
            "from paradox.encode.words import WordsEncoder",
            "WordsEncoder().encode(['sea'])",
            "print(logging.getLogger().level, logging.getLogger().handlers)",
        )
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert ran.stdout.split() == [str(logging.WARNING), "[]"], ran.stderr


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words_module, "find_spec", lambda name: None)
    for use in (lambda: WordsEncoder().encode(["the sea"]), lambda: WordsEncoder().fingerprint):
        with pytest.raises(ExtraMissing, match=r"extra 'words'.*not installed\n  hint: pip install 'paradox-memory\[words\]'"):
            use()
