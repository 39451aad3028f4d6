from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from paradox.encode.catalogue import encoders, resolve
from paradox.encode.function import FunctionEncoder
from paradox.encode.sentence import SentenceEncoder
from paradox.errors import SpecInvalid


class OwnEncoder:
    name = "own"
    dimensions = 2

    @property
    def fingerprint(self) -> str:
        raise AssertionError("a fingerprint may be costly: it was not asked for")

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.ones((len(texts), 2), dtype=np.float32)


class Model:
    """As sentence-transformers has them: called for something else."""

    def encode(self, texts: list[str]) -> np.ndarray:
        return np.ones((len(texts), 3))

    def __call__(self, tensors: object) -> None:
        raise AssertionError("the model itself was called")


def test_a_name_is_resolved() -> None:
    assert isinstance(resolve("text"), SentenceEncoder)


def test_every_listed_encoder_is_as_its_card_says() -> None:
    cards = encoders()
    assert [card.name for card in cards] == ["text", "words"]
    for card in cards:
        encoder = resolve(card.name)
        assert (encoder.name, encoder.dimensions) == (card.name, card.dimensions)
        assert card.licence
        assert card.languages


def test_the_default_encoder_needs_nothing_more() -> None:
    card = encoders()[0]
    assert (card.needs, card.installed) == ("", True)


def test_an_encoder_stays_itself() -> None:
    own = OwnEncoder()
    assert resolve(own) is own
    made = SimpleNamespace(name="made", dimensions=1, fingerprint="made/1", encode=lambda texts: np.ones((len(texts), 1)))
    assert resolve(made) is made


def test_a_function_and_an_object_with_encode_become_encoders() -> None:
    function = resolve(lambda texts: np.ones((len(texts), 4)))
    model = resolve(Model())
    assert isinstance(function, FunctionEncoder)
    assert isinstance(model, FunctionEncoder)
    assert (function.dimensions, model.dimensions) == (4, 3)
    assert model.name.endswith("Model.encode")


def test_an_unknown_name_is_answered_with_the_known() -> None:
    with pytest.raises(SpecInvalid, match=r"'txt' is unknown\n  hint: choose one of 'text', 'words', or give a function"):
        resolve("txt")


def test_the_name_of_a_function_is_not_the_function() -> None:
    with pytest.raises(SpecInvalid, match=r"'app\.embed' is a function that only its program has\n  hint: give the function itself"):
        resolve("app.embed")


def test_anything_else_is_refused() -> None:
    with pytest.raises(SpecInvalid, match="type int; expected a name, a function or an encoder"):
        resolve(7)  # type: ignore[arg-type]
