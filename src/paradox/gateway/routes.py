"""Routes: every path of the gateway, what its body holds, what it does and what it replies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import msgspec
import numpy as np

from paradox.client import intake
from paradox.client.payloads import decode_payload
from paradox.client.questions import LIMITS, Terms, level_of, position_of, question_of, questions_of, using_of
from paradox.client.times import datetime_of
from paradox.errors import NumberRange
from paradox.gateway import bulk
from paradox.gateway.calls import Call, Route
from paradox.model import operations as ops
from paradox.model.filter_syntax import as_filter
from paradox.model.operations import CollectionView
from paradox.model.points import Key, id_of
from paradox.model.queries import Answer, Answers, Coverage, Plan, Question
from paradox.model.topology import number_of
from paradox.wire import bodies
from paradox.wire.pack import Form, id_given

FOUND_MAX = 1_000_000
"""Points that one reply may hold."""


def _collections(call: Call) -> dict[str, list[str]]:
    return {"collections": call.database.send(ops.ListCollections())}


def _create(call: Call) -> CollectionView:
    view: CollectionView = call.database.send(ops.OpenCollection(name=call.name, wanted=_wanted(call.body), create=True))
    return view


def _open(call: Call) -> CollectionView:
    view: CollectionView = call.database.send(ops.OpenCollection(name=call.name, wanted=_wanted(call.body), create=False))
    return view


def _wanted(body: bodies.CollectionBody) -> dict[str, Any]:
    return {name: value for name in body.__struct_fields__ if (value := getattr(body, name)) is not None}


def _describe(call: Call) -> dict[str, Any]:
    described: dict[str, Any] = call.database.send(ops.DescribeCollection(collection=call.name))
    return _without(described, call.place)


def _drop(call: Call) -> dict[str, Any]:
    call.database.send(ops.DropCollection(name=call.name))
    return {}


def _add(call: Call) -> bodies.ReceiptReply:
    body: bodies.AddBody = call.body
    view = call.view()
    parts = intake.Parts(
        texts=body.texts,
        ids=call.ids(body.ids),
        vectors=body.vectors,
        payload=body.payload,
        modality=body.modality,
        at=body.at,
        present=body.present,
    )
    points = body.points if body.points is None else [_point(point, call.given) for point in body.points]
    additions = intake.additions(view, points, parts)
    return _receipt(intake.joined_receipt([call.database.send(addition) for addition in additions]))


def _point(point: Any, form: Form) -> Any:
    return {**point, "id": id_given(point["id"], form)} if isinstance(point, dict) and "id" in point else point


def _update(call: Call) -> bodies.ReceiptReply:
    body: bodies.UpdateBody = call.body
    operation = intake.update(call.name, call.ids(body.ids), body.payload)
    return _receipt(call.database.send(msgspec.structs.replace(operation, after=position_of(body.after))))


def _delete(call: Call) -> bodies.ReceiptReply:
    body: bodies.DeleteBody = call.body
    operation = intake.deletion(call.name, call.ids(body.ids), as_filter(body.where, LIMITS))
    return _receipt(call.database.send(msgspec.structs.replace(operation, after=position_of(body.after))))


def _get(call: Call) -> bodies.PointsReply:
    body: bodies.GetBody = call.body
    operation = ops.GetPoints(
        collection=call.name,
        keys=intake.keys_given(call.ids(body.ids)),
        with_vectors=body.with_vectors,
        using=using_of(call.view(), body.using),
        after=position_of(body.after),
        consistency=level_of(body.consistency),
    )
    return bodies.PointsReply(hits=_rows(call.database.send(operation), call.form))


def _asked(call: Call, view: CollectionView) -> tuple[Question, Key | None]:
    """Return the question of a body, and the key of a point to ask with."""
    body: bodies.SearchBody = call.body
    question, key = question_of(view, body.query, _terms(body, like=id_given(body.like, call.given)))
    if body.vector is not None:
        encoded, _ = question_of(view, body.vector, msgspec.structs.replace(_terms(body), mode="vector"))
        question = msgspec.structs.replace(question, vectors=encoded.vectors)
    return question, key


def _search(call: Call) -> bodies.FoundReply:
    asked = asked_of(call, call.view())
    answers = call.database.send(asked)
    plan = answers.trace() if call.body.plan or call.body.explain else None
    return found_reply(call, answers.of[0], answers, plan)


def asked_of(call: Call, view: CollectionView) -> ops.Ask:
    """Return the search that a body asks for. Raises what is wrong with it."""
    question, key = _asked(call, view)
    return ops.Ask(collection=call.name, question=question, like=key)


def found_reply(call: Call, answer: Answer, answers: Answers, plan: Plan | None = None) -> bodies.FoundReply:
    """Return one of some answers as a reply."""
    return bodies.FoundReply(hits=_rows(answer, call.form), position=answers.position, coverage=answers.coverage, plan=plan)


def is_joinable(body: Any) -> bool:
    """Tell whether a search may wait for others to be asked with it: one of a vector, that takes about as long as theirs."""
    return (
        isinstance(body, bodies.SearchBody)
        and body.query is not None
        and not isinstance(body.query, str)
        and body.mode == "vector"
        and body.where is None
        and body.like is None
        and body.vector is None
        and body.within_s is None
        and not (body.exact or body.explain or body.plan)
    )


def _search_many(call: Call) -> bodies.FoundManyReply:
    body: bodies.SearchManyBody = call.body
    view = call.view()
    question = questions_of(view, body.queries, _terms(body))
    if question is not None and body.vectors is not None:
        encoded = questions_of(view, body.vectors, msgspec.structs.replace(_terms(body), mode="vector"))
        question = msgspec.structs.replace(question, vectors=None if encoded is None else encoded.vectors)
    if question is not None and len(body.queries) * question.k > FOUND_MAX:
        raise NumberRange(
            f"{len(body.queries):,} queries for {question.k:,} points each; at most {FOUND_MAX:,} in all", hint="ask in parts"
        )
    if question is None:
        return bodies.FoundManyReply(hits=[], position=0, coverage=Coverage(share=1.0, holders={}))
    answers = call.database.send(ops.Ask(collection=call.name, question=question))
    plan = None if body.plan is None else answers.trace(body.plan)
    hits = [_rows(answer, call.form) for answer in answers.of]
    return bodies.FoundManyReply(hits=hits, position=answers.position, coverage=answers.coverage, plan=plan)


def _explain(call: Call) -> Plan:
    question, key = _asked(call, call.view())
    plan: Plan = call.database.send(ops.ExplainPlan(collection=call.name, question=question, like=key))
    return plan


def _count(call: Call) -> dict[str, int]:
    body: bodies.CountBody = call.body
    operation = ops.CountPoints(
        collection=call.name,
        where=as_filter(body.where, LIMITS),
        after=position_of(body.after),
        consistency=level_of(body.consistency),
    )
    return {"count": call.database.send(operation)}


def _scroll(call: Call) -> Iterator[Any]:
    scroll: ops.Scroll = call.database.send(_scroll_of(call, call.view()))
    yield bodies.ScrollReply(total=scroll.total, position=scroll.position)
    for answer in scroll.answers:
        yield bodies.ScrollPage(hits=_rows(answer, call.form))
    yield bodies.ScrollPage(hits=[], last=True)


def _scroll_arrow(call: Call) -> Iterator[bytes]:
    view = call.view()
    asked = _scroll_of(call, view)
    scroll: ops.Scroll = call.database.send(asked)
    return bulk.written(scroll.answers, view.spec, (asked.using or view.spec.main) if asked.with_vectors else None)


def _scroll_of(call: Call, view: CollectionView) -> ops.ScrollPoints:
    body: bodies.ScrollBody = call.body
    if intake.batch_of(body.batch) > LIMITS.batch_points_max:
        raise NumberRange(f"batch={body.batch:,}; at most {LIMITS.batch_points_max:,} points a page", hint="leave it out, or give 1000")
    return ops.ScrollPoints(
        collection=call.name,
        where=as_filter(body.where, LIMITS),
        batch=intake.batch_of(body.batch),
        with_vectors=body.with_vectors,
        using=using_of(view, body.using),
        after=position_of(body.after),
        consistency=level_of(body.consistency),
    )


def _status(call: Call) -> dict[str, Any]:
    status: dict[str, Any] = call.database.send(ops.DescribeDatabase())
    return _without({name: value for name, value in status.items() if name != "path"}, call.place)


def _verify(call: Call) -> dict[str, Any]:
    report: dict[str, Any] = call.database.send(ops.VerifyDatabase())
    return _without(report, call.place)


def _split(call: Call) -> dict[str, Any]:
    body: bodies.SplitBody = call.body
    told: dict[str, Any] = call.database.send(ops.SplitRegion(collection=body.collection, region=number_of(body.region, "r")))
    return told


def _move(call: Call) -> dict[str, Any]:
    body: bodies.MoveBody = call.body
    told: dict[str, Any] = call.database.send(ops.MoveShard(collection=body.collection, shard=number_of(body.shard, "s"), node=body.node))
    return told


def _without(value: Any, place: str) -> Any:
    """Return plain values whose texts do not say where the server keeps its files."""
    if isinstance(value, str):
        return without(value, place)
    if isinstance(value, dict):
        return {name: _without(one, place) for name, one in value.items()}
    return [_without(one, place) for one in value] if isinstance(value, list) else value


def without(text: str, place: str) -> str:
    """Return a text with paths as they are below `place`."""
    return text.replace(f"{place}/", "") if place else text


def _terms(body: bodies.TermsBody, *, like: Any = None) -> Terms:
    return Terms(
        k=body.k,
        like=like,
        where=body.where,
        modality=body.modality,
        between=body.between.tolist() if isinstance(body.between, np.ndarray) else body.between,
        using=body.using,
        mode=body.mode,
        recall=body.recall,
        exact=body.exact,
        after=body.after,
        consistency=body.consistency,
        with_payload=body.with_payload,
        with_vectors=body.with_vectors,
        within_s=body.within_s,
        explain=body.explain,
    )


def _rows(answer: Answer, form: Form) -> list[bodies.Row]:
    """Return columns as rows: payloads go on as they are stored where the form is theirs."""
    count = len(answer.keys)
    packed = form == "msgpack"
    none: list[Any] = [None] * count
    payloads: list[Any] = none
    if answer.payloads is not None:
        payloads = [msgspec.Raw(payload) if packed else decode_payload(payload) for payload in answer.payloads]
    ids: list[Any] = answer.keys if packed else [_shown(key) for key in answer.keys]
    return [
        bodies.Row(id=id, score=score, distance=distance, payload=payload, vector=vector, modality=modality, at=at, origin=origin)
        for id, score, distance, payload, vector, modality, at, origin in zip(
            ids,
            answer.score.tolist(),
            answer.distance.tolist(),
            payloads,
            none if answer.vectors is None else answer.vectors,
            answer.modality,
            answer.at_us if packed else map(datetime_of, answer.at_us),
            answer.origin,
            strict=True,
        )
    ]


def _shown(key: Key) -> str | int | UUID:
    return key if type(key) is not bytes else id_of(key)  # type: ignore[return-value]


def _receipt(receipt: ops.Receipt) -> bodies.ReceiptReply:
    return bodies.ReceiptReply(ids=list(receipt.ids), position=receipt.position)


OF_ONE = "/v1/collections/{name}"
ROUTES: tuple[Route, ...] = (
    Route(method="GET", path="/v1/collections", summary="Names of all collections", run=_collections, reply=dict[str, list[str]]),
    Route(
        method="PUT",
        path=OF_ONE,
        summary="Open a collection, or create it",
        run=_create,
        body=bodies.CollectionBody,
        reply=CollectionView,
        writes=True,
    ),
    Route(method="GET", path=OF_ONE, summary="What a collection is and how it stands", run=_describe, reply=dict[str, Any]),
    Route(method="DELETE", path=OF_ONE, summary="Delete a collection with all its points", run=_drop, reply=dict[str, Any], writes=True),
    Route(
        method="POST",
        path=f"{OF_ONE}/open",
        summary="Open a collection that exists",
        run=_open,
        body=bodies.CollectionBody,
        reply=CollectionView,
    ),
    Route(
        method="POST",
        path=f"{OF_ONE}/points",
        summary="Add points, or replace those with the same ids",
        run=_add,
        body=bodies.AddBody,
        reply=bodies.ReceiptReply,
        writes=True,
    ),
    Route(
        method="PATCH",
        path=f"{OF_ONE}/points",
        summary="Set payload fields of points",
        run=_update,
        body=bodies.UpdateBody,
        reply=bodies.ReceiptReply,
        writes=True,
    ),
    Route(
        method="POST",
        path=f"{OF_ONE}/points/get",
        summary="Fetch points by id",
        run=_get,
        body=bodies.GetBody,
        reply=bodies.PointsReply,
    ),
    Route(
        method="POST",
        path=f"{OF_ONE}/points/delete",
        summary="Delete points by id or by filter",
        run=_delete,
        body=bodies.DeleteBody,
        reply=bodies.ReceiptReply,
        writes=True,
    ),
    Route(
        method="POST",
        path=f"{OF_ONE}/search",
        summary="Search",
        run=_search,
        body=bodies.SearchBody,
        reply=bodies.FoundReply,
        joins=True,
    ),
    Route(
        method="POST",
        path=f"{OF_ONE}/search/batch",
        summary="Search for many queries at once",
        run=_search_many,
        body=bodies.SearchManyBody,
        reply=bodies.FoundManyReply,
    ),
    Route(
        method="POST",
        path=f"{OF_ONE}/explain",
        summary="Run a search as planned and exactly, and tell",
        run=_explain,
        body=bodies.SearchBody,
        reply=Plan,
    ),
    Route(method="POST", path=f"{OF_ONE}/count", summary="Count points", run=_count, body=bodies.CountBody, reply=dict[str, int]),
    Route(
        method="POST",
        path=f"{OF_ONE}/scroll",
        summary="Every point of one view, as a stream of pages",
        run=_scroll,
        arrow=_scroll_arrow,
        body=bodies.ScrollBody,
        reply=bodies.ScrollPage,
        streams=True,
    ),
    Route(
        method="POST",
        path=f"{OF_ONE}/points/bulk",
        summary="Add points from a stream of any length, a part at a time",
        run=bulk.add,
        reply=bodies.BulkReply,
        bulk=True,
        writes=True,
    ),
    Route(method="GET", path="/v1/status", summary="Health in one sentence, then details", run=_status, reply=dict[str, Any]),
    Route(
        method="POST",
        path="/v1/cluster/split",
        summary="Cut a region in two",
        run=_split,
        body=bodies.SplitBody,
        reply=dict[str, Any],
        writes=True,
    ),
    Route(
        method="POST",
        path="/v1/cluster/move",
        summary="Place a shard on another node",
        run=_move,
        body=bodies.MoveBody,
        reply=dict[str, Any],
        writes=True,
    ),
    Route(method="POST", path="/v1/verify", summary="Read every stored byte against its checksum", run=_verify, reply=dict[str, Any]),
)
