"""Requests: operations as paths and bodies of a gateway, and what it replies as what was asked for. Pure."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np

from paradox.model import operations as ops
from paradox.model.filter_syntax import spell
from paradox.model.filters import Filter
from paradox.model.points import Key, id_of
from paradox.model.queries import Answer, Question
from paradox.model.schema import check_name
from paradox.wire import bodies

NO_PAYLOAD = msgspec.Raw(b"\xc0")


class Row(bodies.Row):
    """A row whose payload stays encoded until somebody looks at it."""

    payload: msgspec.Raw = NO_PAYLOAD


class Found(bodies.FoundReply):
    """What one search found, with such rows."""

    hits: list[Row]  # type: ignore[assignment]


class FoundMany(bodies.FoundManyReply):
    """What many searches found."""

    hits: list[list[Row]]  # type: ignore[assignment]


class Points(bodies.PointsReply):
    """Points fetched by id."""

    hits: list[Row]  # type: ignore[assignment]


class Page(bodies.ScrollPage):
    """One page of a scroll."""

    hits: list[Row]  # type: ignore[assignment]


def collection_path(name: str) -> str:
    """Return the path of a collection. Raises NameInvalid."""
    return f"/v1/collections/{quote(check_name(name), safe='')}"


def points_path(name: str) -> str:
    """Return the path of its points. Raises NameInvalid."""
    return f"{collection_path(name)}/points"


def text_of(where: Filter | None) -> str | None:
    """Return a filter as people write it."""
    return None if where is None else spell(where)


def shared(names: list[str] | None) -> str | list[str] | None:
    """Return one name where all are the same."""
    return names[0] if names and names.count(names[0]) == len(names) else names


def seeing(asked: Question | ops.GetPoints | ops.CountPoints | ops.ScrollPoints) -> dict[str, Any]:
    """Return what a body says of how much must be seen. A gateway knows no sessions: the position says what they ask for."""
    return {"after": asked.after or None, "consistency": None if asked.consistency == "session" else asked.consistency}


def terms_of(question: Question) -> dict[str, Any]:
    """Return what a search says beside its query."""
    return {
        "k": question.k,
        "where": text_of(question.where),
        "modality": question.modality,
        "between": None if question.between_us is None else np.array(question.between_us, dtype="<M8[us]"),
        "using": question.using or None,
        "mode": question.mode,
        "recall": question.recall,
        "exact": question.exact,
        **seeing(question),
        "with_payload": question.with_payload,
        "with_vectors": question.with_vectors,
        "within_s": question.deadline_s,
        "explain": question.explain,
    }


def search_body(question: Question, like: Key | None) -> bodies.SearchBody:
    """Return the body of one search: of a text that its sender has encoded itself, both."""
    vector = None if question.vectors is None else question.vectors[0]
    if question.texts:
        return bodies.SearchBody(query=question.texts[0], vector=vector, like=like, **terms_of(question))
    return bodies.SearchBody(query=vector, like=like, **terms_of(question))


def search_many_body(question: Question) -> bodies.SearchManyBody:
    """Return the body of many searches."""
    if question.texts:
        return bodies.SearchManyBody(queries=question.texts, vectors=question.vectors, **terms_of(question))
    return bodies.SearchManyBody(queries=question.vectors, **terms_of(question))


def answer_of(rows: list[Row]) -> Answer:
    """Return rows as columns."""
    vectors = [row.vector for row in rows if row.vector is not None]
    payloads = [bytes(row.payload) for row in rows]
    return Answer(
        keys=[row.id for row in rows],
        score=np.array([row.score for row in rows], dtype=np.float32),
        distance=np.array([row.distance for row in rows], dtype=np.float32),
        payloads=None if bytes(NO_PAYLOAD) in payloads else payloads,
        vectors=np.stack(vectors) if vectors and len(vectors) == len(rows) else None,
        modality=[row.modality for row in rows],
        at_us=[row.at for row in rows],  # type: ignore[misc]
        origin=[row.origin for row in rows],
    )


def receipt_of(reply: bodies.ReceiptReply) -> ops.Receipt:
    """Return a receipt as users read it."""
    return ops.Receipt(ids=[id_of(key) for key in reply.ids], position=reply.position)
