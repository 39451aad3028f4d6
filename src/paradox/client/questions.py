"""Questions: from the words of a search to a Question."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
import numpy as np

from paradox.client.times import span_us
from paradox.client.vectors import matrix_of
from paradox.errors import FeatureMissing, NumberRange, QueryInvalid
from paradox.model.filter_syntax import as_filter
from paradox.model.filters import Expression, Filter
from paradox.model.operations import CollectionView, Receipt
from paradox.model.points import Key, key_of
from paradox.model.queries import MODES, Consistency, Question
from paradox.model.schema import Limits

Where: TypeAlias = str | Expression | Filter | None
LIMITS = Limits()
CONSISTENCIES: tuple[Consistency, ...] = ("eventual", "session", "strong")
QUERY_HINT = "give a text, a vector, or like=id"


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The words of a search beside its query, as the caller wrote them."""

    k: Any
    like: Any = None
    where: Any = None
    modality: Any = None
    between: Any = None
    using: Any = None
    mode: Any = "vector"
    recall: Any = 0.95
    exact: bool = False
    after: Any = None
    consistency: Any = None
    with_payload: bool = True
    with_vectors: bool = False
    within_s: Any = None
    explain: bool = False


def question_of(view: CollectionView, query: Any, terms: Terms) -> tuple[Question, Key | None]:
    """Return one question, and the key to ask with for `like=`. Raises QueryInvalid, NumberRange, TimeInvalid, VectorType, and so on."""
    if terms.like is not None:
        if query is not None:
            raise QueryInvalid("a search was given both a query and like=", hint="give one of them")
        if terms.mode != "vector" and terms.mode in MODES:
            raise QueryInvalid(f"like= asks with a stored vector, and mode={terms.mode!r} needs a text", hint="give mode='vector'")
        return _question(view, None, (), terms), key_of(terms.like)
    if query is None:
        raise QueryInvalid("a search was given neither a query nor like=", hint=QUERY_HINT)
    if isinstance(query, str):
        return _question(view, None, (query,), terms), None
    return _question(view, _vectors(view, query, terms, many=False), (), terms), None


def questions_of(view: CollectionView, queries: Any, terms: Terms) -> Question | None:
    """Return many questions of one kind, all texts or all vectors, as one; None for an empty list. Raises as `question_of`."""
    if isinstance(queries, str) or not hasattr(queries, "__len__"):
        raise QueryInvalid(
            f"queries are of type {type(queries).__name__}; expected a list of texts or of vectors", hint="for one, use search"
        )
    if not len(queries):
        return None
    if not isinstance(queries, np.ndarray) and any(isinstance(query, str) for query in queries):
        odd = next((number for number, query in enumerate(queries) if not isinstance(query, str)), None)
        if odd is not None:
            raise QueryInvalid(f"query {odd} is of type {type(queries[odd]).__name__}, but others are texts", hint="ask in two calls")
        return _question(view, None, tuple(queries), terms)
    return _question(view, _vectors(view, queries, terms, many=True), (), terms)


def position_of(after: Receipt | int | None) -> int:
    """Return the position to wait for. Raises QueryInvalid."""
    if after is None:
        return 0
    if isinstance(after, Receipt):
        return after.position
    if isinstance(after, int) and not isinstance(after, bool) and after >= 0:
        return after
    raise QueryInvalid(f"after={after!r:.80} is no position", hint="give the receipt of a write, or its .position")


def level_of(consistency: str | None) -> Consistency:
    """Return a level of consistency, "session" for None. Raises QueryInvalid."""
    level = next((one for one in CONSISTENCIES if one == (consistency or "session")), None)
    if level is None:
        raise QueryInvalid(f"consistency={consistency!r:.80} is unknown", hint=f"choose one of {', '.join(CONSISTENCIES)}")
    return level


def _question(view: CollectionView, vectors: Any, texts: tuple[str, ...], terms: Terms) -> Question:
    if terms.mode not in MODES:
        raise QueryInvalid(f"mode={terms.mode!r:.80} is unknown", hint=f"choose one of {', '.join(MODES)}")
    if terms.mode != "vector" and vectors is not None:
        raise QueryInvalid(f"mode={terms.mode!r} needs a text, and the query is a vector", hint="give a text, or mode='vector'")
    if not isinstance(terms.k, (int, np.integer)) or isinstance(terms.k, bool):
        raise NumberRange(f"k is of type {type(terms.k).__name__}; expected a whole number", hint="give k=10")
    if terms.modality is not None and not isinstance(terms.modality, str):
        raise QueryInvalid(f"modality is of type {type(terms.modality).__name__}; expected a word", hint="such as 'text' or 'image'")
    if not isinstance(terms.recall, (int, float, np.number)) or isinstance(terms.recall, bool):
        raise NumberRange(f"recall is of type {type(terms.recall).__name__}; expected a number", hint="give recall=0.95")
    return Question(
        vectors=vectors,
        texts=texts,
        using=using_of(view, terms.using),
        k=int(terms.k),
        where=as_filter(terms.where, LIMITS),
        modality=terms.modality,
        between_us=None if terms.between is None else span_us(terms.between),
        mode=terms.mode,
        recall=float(terms.recall),
        exact=bool(terms.exact),
        after=position_of(terms.after),
        consistency=level_of(terms.consistency),
        deadline_s=None if terms.within_s is None else _seconds(terms.within_s),
        with_payload=bool(terms.with_payload),
        with_vectors=bool(terms.with_vectors),
        explain=bool(terms.explain),
    )


def using_of(view: CollectionView, using: Any) -> str:
    """Return the vector to use, "" for the first. Raises QueryInvalid."""
    if using is None or using in view.spec.vectors:
        return using or ""
    raise QueryInvalid(
        f"collection {view.name!r} has no vector {using!r:.80}",
        hint=f"its vectors are {', '.join(repr(name) for name in view.spec.vectors)}",
    )


def _vectors(view: CollectionView, query: Any, terms: Terms, *, many: bool) -> Any:
    """Return (q, d) vectors. Raises FeatureMissing for an image, VectorType, VectorDimensions, QueryInvalid."""
    if isinstance(query, (bytes, bytearray, memoryview)) or type(query).__module__.partition(".")[0] == "PIL":
        raise FeatureMissing("asking with an image is not available in this version", hint="encode the image yourself and give its vector")
    name = using_of(view, terms.using) or view.spec.main
    matrix, mask = matrix_of(
        query, view.spec.vectors[name], f"collection {view.name!r}", subject="queries have" if many else "the query has"
    )
    if mask is not None:
        raise QueryInvalid("a query is None", hint=QUERY_HINT)
    if not many and len(matrix) != 1:
        raise QueryInvalid(f"the query has {len(matrix)} rows; expected one vector", hint="ask many at once with search_many")
    return matrix


def _seconds(within_s: Any) -> float:
    if isinstance(within_s, (int, float, np.number)) and not isinstance(within_s, bool) and within_s > 0:
        return float(within_s)
    raise NumberRange(f"within_s={within_s!r:.80} is no time to wait; expected seconds above 0", hint="give within_s=0.2")
