"""Every error a user can meet, in one tree.

    ParadoxError
    ├── InvalidRequest            what was asked cannot be done as written; nothing was changed
    │   ├── VectorNotFinite       vector.not_finite
    │   ├── VectorDimensions      vector.dimensions
    │   ├── VectorZero            vector.zero
    │   ├── VectorType            vector.type
    │   ├── IdDuplicate           id.duplicate
    │   ├── IdInvalid             id.invalid
    │   ├── BatchEmpty            batch.empty
    │   ├── BatchMismatch         batch.mismatch
    │   ├── PayloadInvalid        payload.invalid
    │   ├── PayloadTooLarge       payload.size
    │   ├── TimeInvalid           time.invalid
    │   ├── NameInvalid           name.invalid
    │   ├── NumberRange           k.range (and other numbers out of range)
    │   ├── FilterSyntax          filter.syntax
    │   ├── FilterField           filter.field
    │   ├── FilterType            filter.type
    │   ├── SpecInvalid           spec.invalid
    │   ├── QueryInvalid          query.invalid
    │   ├── RequestUnreadable     request.unreadable
    │   └── RequestTooLarge       request.size
    ├── AuthDenied                auth.denied
    ├── Missing
    │   ├── CollectionMissing     collection.missing
    │   ├── PointMissing          point.missing
    │   └── RouteMissing          route.missing
    ├── Conflict
    │   ├── SpecConflict          spec.conflict
    │   ├── EncoderMismatch       encoder.mismatch
    │   ├── LogConflict           log.conflict
    │   └── StoreLocked           store.locked
    ├── Unavailable
    │   ├── StoreReadOnly         store.read_only
    │   ├── StoreFull             store.full
    │   ├── StoreClosed           store.closed
    │   ├── StoreUnreadable       store.unreadable
    │   ├── LogUnavailable        log.unavailable
    │   ├── DeadlineExceeded      deadline.exceeded
    │   ├── GatewayBusy           gateway.busy
    │   ├── GatewayUnreachable    gateway.unreachable
    │   ├── NodesUnreachable      nodes.unreachable
    │   ├── ExtraMissing          extra.missing
    │   └── FeatureMissing        feature.missing
    ├── Damaged
    │   ├── LogCorrupt            log.corrupt
    │   ├── SegmentCorrupt        segment.corrupt
    │   ├── ObjectConflict        object.conflict
    │   └── FormatTooNew          format.version
    └── InternalError             internal: a bug of ours, never a mistake of the caller's

A message says what happened and what was expected; `hint` says what to do. `code` is stable across versions; `retryable` tells
whether the same call may succeed later without any change. `status` is what a gateway answers over HTTP.
"""

from __future__ import annotations

from typing import ClassVar


class ParadoxError(Exception):
    """The root of the tree. `str(error)` is the message, followed by the hint when there is one."""

    code: ClassVar[str] = "paradox"
    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class InvalidRequest(ParadoxError):
    """What was asked cannot be done as written. Nothing was changed."""

    code = "request.invalid"
    exit_code = 2
    status = 400


class VectorNotFinite(InvalidRequest):
    """A vector holds NaN or an infinity."""

    code = "vector.not_finite"


class VectorDimensions(InvalidRequest):
    """A vector's length differs from the collection's."""

    code = "vector.dimensions"


class VectorZero(InvalidRequest):
    """A zero vector has no direction, so cosine cannot rank it."""

    code = "vector.zero"


class VectorType(InvalidRequest):
    """A vector's type cannot be stored: text, objects, complex numbers, or unpacked bits."""

    code = "vector.type"


class IdDuplicate(InvalidRequest):
    """One request names the same id twice, so which version should win is unclear."""

    code = "id.duplicate"


class IdInvalid(InvalidRequest):
    """An id is neither a string, an integer of 64 bits nor a UUID."""

    code = "id.invalid"


class BatchEmpty(InvalidRequest):
    """A request that adds or changes no point."""

    code = "batch.empty"


class BatchMismatch(InvalidRequest):
    """The parts of one request have different lengths."""

    code = "batch.mismatch"


class PayloadInvalid(InvalidRequest):
    """A payload is not plain JSON-like data with string keys."""

    code = "payload.invalid"


class PayloadTooLarge(InvalidRequest):
    """A payload exceeds `payload_bytes_max`."""

    code = "payload.size"


class TimeInvalid(InvalidRequest):
    """A time is not a datetime, an ISO 8601 string or seconds since 1970."""

    code = "time.invalid"


class NameInvalid(InvalidRequest):
    """A name that could not be a folder name everywhere."""

    code = "name.invalid"


class NumberRange(InvalidRequest):
    """A number outside its stated range, such as k."""

    code = "k.range"


class FilterSyntax(InvalidRequest):
    """A filter string that cannot be read. The message draws a caret under the place."""

    code = "filter.syntax"


class FilterField(InvalidRequest):
    """A filter names a field that no point of the collection ever had."""

    code = "filter.field"


class FilterType(InvalidRequest):
    """A filter compares a field with a value of another type."""

    code = "filter.type"


class SpecInvalid(InvalidRequest):
    """A collection's specification is contradictory or out of range."""

    code = "spec.invalid"


class QueryInvalid(InvalidRequest):
    """A search that asks for nothing, or for two things that exclude each other."""

    code = "query.invalid"


class RequestUnreadable(InvalidRequest):
    """The body of a request is not what its route takes."""

    code = "request.unreadable"


class RequestTooLarge(InvalidRequest):
    """The body of a request is larger than a gateway takes."""

    code = "request.size"
    status = 413


class AuthDenied(ParadoxError):
    """The server asks for a key, and none or a wrong one was given."""

    code = "auth.denied"
    exit_code = 3
    status = 401


class Missing(ParadoxError):
    """What was named does not exist."""

    code = "missing"
    exit_code = 4
    status = 404


class CollectionMissing(Missing):
    """No collection has this name."""

    code = "collection.missing"


class PointMissing(Missing):
    """No point has this id."""

    code = "point.missing"


class RouteMissing(Missing):
    """A gateway has nothing at this path, or not for this method."""

    code = "route.missing"


class Conflict(ParadoxError):
    """What was asked contradicts what is already there."""

    code = "conflict"
    exit_code = 5
    status = 409


class SpecConflict(Conflict):
    """The collection exists with another specification."""

    code = "spec.conflict"


class EncoderMismatch(Conflict):
    """The collection's vectors come from another encoder; mixing spaces would make distances meaningless."""

    code = "encoder.mismatch"


class LogConflict(Conflict):
    """Another program appended to the log first."""

    code = "log.conflict"
    retryable = True


class StoreLocked(Conflict):
    """Another process writes to this folder."""

    code = "store.locked"
    retryable = True


class Unavailable(ParadoxError):
    """The request is fine, but it cannot be served now or here."""

    code = "unavailable"
    status = 503


class StoreReadOnly(Unavailable):
    """A write to a database that was opened, or is mounted, read-only."""

    code = "store.read_only"
    status = 403


class StoreFull(Unavailable):
    """The disk is full. The write was rolled back."""

    code = "store.full"
    status = 507
    retryable = True


class StoreClosed(Unavailable):
    """The database was closed."""

    code = "store.closed"


class StoreUnreadable(Unavailable):
    """The folder cannot be used as a database: not a folder, no permission, or not ours."""

    code = "store.unreadable"


class LogUnavailable(Unavailable):
    """The log cannot promise durability at the moment, so it accepts no writes."""

    code = "log.unavailable"
    retryable = True


class DeadlineExceeded(Unavailable):
    """The answer was not ready within the time allowed."""

    code = "deadline.exceeded"
    retryable = True
    status = 504


class GatewayBusy(Unavailable):
    """More requests wait at a gateway than it can soon answer."""

    code = "gateway.busy"
    retryable = True
    status = 429


class GatewayUnreachable(Unavailable):
    """Nobody answers at the address, or what answers is no gateway of Paradox."""

    code = "gateway.unreachable"
    retryable = True


class NodesUnreachable(Unavailable):
    """No node of the cluster answers."""

    code = "nodes.unreachable"
    retryable = True
    status = 503


class ExtraMissing(Unavailable):
    """An optional package is not installed."""

    code = "extra.missing"


class FeatureMissing(Unavailable):
    """This version does not do that yet."""

    code = "feature.missing"
    status = 501


class Damaged(ParadoxError):
    """Stored bytes are not what was written."""

    code = "damaged"
    status = 503


class LogCorrupt(Damaged):
    """A log record before the tail fails its checksum."""

    code = "log.corrupt"


class SegmentCorrupt(Damaged):
    """A segment or manifest fails its checksum."""

    code = "segment.corrupt"


class ObjectConflict(Damaged):
    """A write-once object already exists with other bytes."""

    code = "object.conflict"


class FormatTooNew(Damaged):
    """The folder was written by a newer version of Paradox."""

    code = "format.version"


class InternalError(ParadoxError):
    """An invariant of ours does not hold: a bug. Please report it with the message."""

    code = "internal"


def error_of(code: str, message: str, *, hint: str = "") -> ParadoxError:
    """Return the error with this code, as it travelled; one of a later version becomes a plain ParadoxError."""
    return _by_code(ParadoxError).get(code, ParadoxError)(message, hint=hint)


def _by_code(kind: type[ParadoxError]) -> dict[str, type[ParadoxError]]:
    return {kind.code: kind} | {code: one for below in kind.__subclasses__() for code, one in _by_code(below).items()}
