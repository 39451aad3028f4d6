"""Encoders that only one program has: a function or an object of a client, which encodes before anything is sent to a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from paradox.encode.catalogue import resolve
from paradox.errors import EncoderMismatch, SpecInvalid
from paradox.model import operations as ops
from paradox.model.operations import Operation
from paradox.model.points import Matrix
from paradox.model.queries import Question
from paradox.ports.encode import Encoder
from paradox.ports.transport import Transport


class ToldEncoder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An encoder that another program has, by what that says of it."""

    name: str
    dimensions: int
    fingerprint: str

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Raise EncoderMismatch: it is not here."""
        raise EncoderMismatch(f"encoder {self.name!r} is in the program that made the collection", hint="encode there, or give vectors")


def resolve_told(encoder: Any) -> Encoder:
    """Return the encoder that a caller means, also by what another program says of its own. Raises SpecInvalid."""
    if not isinstance(encoder, Mapping):
        return resolve(encoder)
    try:
        told = msgspec.convert(encoder, ToldEncoder)
    except msgspec.ValidationError as error:
        hint = "give its name, its dimensions and its fingerprint"
        raise SpecInvalid(f"the encoder is no description of one: {error}", hint=hint) from None
    if not (told.name and told.fingerprint and told.dimensions > 0):
        raise SpecInvalid("the encoder is described without a name, dimensions or a fingerprint", hint="give all three")
    return told


class Encoding:
    """A Transport over that of a server: texts of collections that were opened with an encoder of this program are encoded here."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._own: dict[str, tuple[str, Encoder]] = {}

    def send(self, operation: Operation) -> Any:
        """Return the reply, or raise a ParadoxError."""
        match operation:
            case ops.OpenCollection():
                return self._open(operation)
            case ops.AddPoints(collection=name) if operation.texts is not None and name in self._own:
                operation = self._encoded(operation, *self._own[name])
            case ops.Ask(collection=name) | ops.ExplainPlan(collection=name) if name in self._own:
                operation = msgspec.structs.replace(operation, question=_asked(operation.question, *self._own[name]))
        return self._transport.send(operation)

    def close(self) -> None:
        """Let go of the database. Safe to call twice."""
        self._transport.close()

    def _open(self, operation: ops.OpenCollection) -> ops.CollectionView:
        encoder = operation.wanted.get("encoder")
        own = None
        if encoder is not None and not isinstance(encoder, (str, Mapping)):
            own = resolve(encoder)
            told = {"name": own.name, "dimensions": own.dimensions, "fingerprint": own.fingerprint}
            operation = msgspec.structs.replace(operation, wanted=operation.wanted | {"encoder": told})
        view: ops.CollectionView = self._transport.send(operation)
        if own is not None:
            self._own[view.name] = (view.spec.main, own)
        return view

    def _encoded(self, operation: ops.AddPoints, main: str, encoder: Encoder) -> ops.AddPoints:
        texts = operation.texts or []
        if main in operation.vectors or not texts:
            return operation
        vectors = {main: np.asarray(encoder.encode(texts), dtype=np.float32)} | operation.vectors
        return msgspec.structs.replace(operation, vectors=vectors, texts=None, modality=operation.modality or ["text"] * operation.rows)


def _asked(question: Question, main: str, encoder: Encoder) -> Question:
    if question.vectors is not None or not question.texts or question.mode == "text" or question.using not in ("", main):
        return question
    texts = question.texts if question.mode == "hybrid" else ()
    return msgspec.structs.replace(question, vectors=np.asarray(encoder.encode(list(question.texts)), dtype=np.float32), texts=texts)
