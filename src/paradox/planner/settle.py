"""Settling: a question as it was asked becomes one that can be answered: with its vectors, checked against the collection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from numpy.typing import NDArray

from paradox.errors import PointMissing, QueryInvalid
from paradox.model.admit import check_question
from paradox.model.points import Key, id_of
from paradox.model.queries import Question
from paradox.model.schema import CollectionSpec, Limits
from paradox.planner.filter_check import check_filter


def settle(
    question: Question,
    like: Key | None,
    *,
    spec: CollectionSpec,
    limits: Limits,
    vector_of: Callable[[Key, str], NDArray[Any] | None],
    encode: Callable[[str, list[str]], NDArray[Any]],
    fields: Callable[[], Mapping[str, frozenset[str]]],
) -> Question:
    """Return a question with its vectors: those given, of a stored point, or encoded from its texts. Raises what is wrong with it.

    vector_of: (d,) of a point and a vector's name, None when it has none of this name; raises KeyError when there is no such point.
    encode: texts for a vector's name. fields: the payload fields that points ever had, with the kinds of their values.
    """
    if not question.using:
        question = msgspec.structs.replace(question, using=spec.main)
    if like is not None and question.using in spec.vectors:
        try:
            vector = vector_of(like, question.using)
        except KeyError:
            what = f"there is no point with id {id_of(like)!r} to search with"
            raise PointMissing(what, hint="give the query as a text or a vector") from None
        if vector is None:
            raise QueryInvalid(
                f"the point with id {id_of(like)!r} has no vector {question.using!r} to search with",
                hint="ask with a point that has one, or give using= another vector",
            )
        question = msgspec.structs.replace(question, vectors=vector[None])
    elif question.vectors is None and question.texts and question.mode != "text" and question.using in spec.vectors:
        question = msgspec.structs.replace(question, vectors=encode(question.using, list(question.texts)))
    check_question(question, spec, limits)
    if question.where is not None:
        check_filter(question.where, fields())
    return question
