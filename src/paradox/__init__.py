"""Paradox: an embedded latent memory.

    db = paradox.connect("./memory")
    notes = db.collection("notes", encoder="text")
    notes.add(["The tide turns at noon."], payload=[{"topic": "sea"}])
    for hit in notes.search("when does the sea change?", k=3, where="topic = 'sea'"):
        print(hit.score, hit.payload["text"])

What is heavy is imported when it is first used, so that `import paradox` costs milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from paradox.connect import connect, connect_async
from paradox.errors import (
    AuthDenied,
    BatchEmpty,
    BatchMismatch,
    CollectionMissing,
    Conflict,
    Damaged,
    DeadlineExceeded,
    EncoderMismatch,
    ExtraMissing,
    FeatureMissing,
    FilterField,
    FilterSyntax,
    FilterType,
    FormatTooNew,
    GatewayBusy,
    GatewayUnreachable,
    IdDuplicate,
    IdInvalid,
    InternalError,
    InvalidRequest,
    LogConflict,
    LogCorrupt,
    LogUnavailable,
    Missing,
    NameInvalid,
    NodesUnreachable,
    NumberRange,
    ObjectConflict,
    ParadoxError,
    PayloadInvalid,
    PayloadTooLarge,
    PointMissing,
    QueryInvalid,
    RequestTooLarge,
    RequestUnreadable,
    RouteMissing,
    SegmentCorrupt,
    SpecConflict,
    SpecInvalid,
    StoreClosed,
    StoreFull,
    StoreLocked,
    StoreReadOnly,
    StoreUnreadable,
    TimeInvalid,
    Unavailable,
    VectorDimensions,
    VectorNotFinite,
    VectorType,
    VectorZero,
)

if TYPE_CHECKING:
    from paradox.client.aio import AsyncCollection, AsyncDatabase
    from paradox.client.hits import Hit, Hits
    from paradox.client.sync import Collection, Database
    from paradox.model.filters import field
    from paradox.model.operations import Receipt
    from paradox.model.points import Id
    from paradox.model.queries import Coverage, Plan
    from paradox.node.encoders import encoders

__version__ = "4.0.0a1"

LAZY: Final = {
    "AsyncCollection": "paradox.client.aio",
    "AsyncDatabase": "paradox.client.aio",
    "Collection": "paradox.client.sync",
    "Coverage": "paradox.model.queries",
    "Database": "paradox.client.sync",
    "Hit": "paradox.client.hits",
    "Hits": "paradox.client.hits",
    "Id": "paradox.model.points",
    "Plan": "paradox.model.queries",
    "Receipt": "paradox.model.operations",
    "encoders": "paradox.node.encoders",
    "field": "paradox.model.filters",
}

__all__ = [
    "AsyncCollection",
    "AsyncDatabase",
    "AuthDenied",
    "BatchEmpty",
    "BatchMismatch",
    "Collection",
    "CollectionMissing",
    "Conflict",
    "Coverage",
    "Damaged",
    "Database",
    "DeadlineExceeded",
    "EncoderMismatch",
    "ExtraMissing",
    "FeatureMissing",
    "FilterField",
    "FilterSyntax",
    "FilterType",
    "FormatTooNew",
    "GatewayBusy",
    "GatewayUnreachable",
    "NodesUnreachable",
    "Hit",
    "Hits",
    "Id",
    "IdDuplicate",
    "IdInvalid",
    "InternalError",
    "InvalidRequest",
    "LogConflict",
    "LogCorrupt",
    "LogUnavailable",
    "Missing",
    "NameInvalid",
    "NumberRange",
    "ObjectConflict",
    "ParadoxError",
    "PayloadInvalid",
    "PayloadTooLarge",
    "Plan",
    "PointMissing",
    "QueryInvalid",
    "Receipt",
    "RequestTooLarge",
    "RequestUnreadable",
    "RouteMissing",
    "SegmentCorrupt",
    "SpecConflict",
    "SpecInvalid",
    "StoreClosed",
    "StoreFull",
    "StoreLocked",
    "StoreReadOnly",
    "StoreUnreadable",
    "TimeInvalid",
    "Unavailable",
    "VectorDimensions",
    "VectorNotFinite",
    "VectorType",
    "VectorZero",
    "__version__",
    "connect",
    "connect_async",
    "encoders",
    "field",
]


def __getattr__(name: str) -> Any:
    module = LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'paradox' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
