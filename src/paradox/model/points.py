"""Points: one latent object each, travelling in columns.

A batch of points is one `Points`: a column a field, one row a point. Payloads stay encoded (MessagePack) from the moment they
are accepted until a user reads them, so that the engine moves bytes, not objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias
from uuid import UUID

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from paradox.errors import IdInvalid

Id: TypeAlias = str | int | UUID
Key: TypeAlias = str | int | bytes
"""An id as it is stored: a UUID is its 16 bytes."""
Vector: TypeAlias = NDArray[np.float32]
Matrix: TypeAlias = NDArray[np.float32]
Rows: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
Holders: TypeAlias = NDArray[np.int16]
"""(n, copies) the shards that hold each of n points, the one that answers for it first; -1 = no further one."""

INT_ID_MIN, INT_ID_MAX = -(2**63), 2**63 - 1
ID_BYTES_MAX = 1024


class Points(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of points in columns; every column has `len(keys)` rows.

    vectors: name → (n, d) float32 (uint8 of packed bits for hamming). A name that only some points have is absent for the others:
    `present[name]` is then a bool column; a name missing from `present` is present everywhere.
    payloads: one MessagePack map each. at_us: event time in microseconds since 1970, int64. modality: one name a row.
    stamp: uint64 hybrid logical clock time. origin: who wrote. key_id: uint32, the encryption key that covers the row (0 = none).
    """

    keys: list[Key]
    vectors: dict[str, NDArray[Any]]
    payloads: list[bytes]
    at_us: NDArray[np.int64]
    modality: list[str]
    stamp: NDArray[np.uint64]
    key_id: NDArray[np.uint32]
    origin: str = ""
    present: dict[str, Mask] = {}

    def __len__(self) -> int:
        return len(self.keys)


def joined(parts: Sequence[Points]) -> Points:
    """Return batches of one origin, with the same vectors, as one batch."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    return Points(
        keys=[key for part in parts for key in part.keys],
        vectors={name: np.concatenate([part.vectors[name] for part in parts]) for name in first.vectors},
        payloads=[payload for part in parts for payload in part.payloads],
        at_us=np.concatenate([part.at_us for part in parts]),
        modality=[name for part in parts for name in part.modality],
        stamp=np.concatenate([part.stamp for part in parts]),
        key_id=np.concatenate([part.key_id for part in parts]),
        origin=first.origin,
        present={name: np.concatenate([part.present[name] for part in parts]) for name in first.present},
    )


def key_of(id: Id) -> Key:
    """Return the stored form of an id. Raises IdInvalid for anything but str, int of 64 bits, or UUID."""
    if type(id) is str:
        if not id:
            raise IdInvalid("an id is an empty string", hint="leave ids out to have them made, or give each point a name")
        if len(id) > ID_BYTES_MAX:
            raise IdInvalid(f"an id has {len(id)} characters, at most {ID_BYTES_MAX} are allowed", hint="keep long text in the payload")
        try:
            id.encode()
        except UnicodeEncodeError:
            raise IdInvalid(f"the id {id!r} is not valid Unicode text", hint="ids are stored as UTF-8") from None
        return id
    if isinstance(id, UUID):
        return id.bytes
    if isinstance(id, str):
        return key_of(str(id))
    if isinstance(id, (int, np.integer)) and not isinstance(id, bool):
        number = int(id)
        if INT_ID_MIN <= number <= INT_ID_MAX:
            return number
        raise IdInvalid(f"the id {number} does not fit 64 bits", hint="use a string for larger numbers")
    raise IdInvalid(f"an id is of type {type(id).__name__}; expected str, int or UUID", hint="convert it with str()")


def keys_of(ids: Iterable[Id]) -> list[Key]:
    """Return the stored form of many ids; an integer or text array is taken whole. Raises IdInvalid like `key_of`."""
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu" and (ids.dtype.kind == "i" or not len(ids) or ids.max() <= INT_ID_MAX):
        return ids.tolist()
    given: list[Any] = list(ids)
    return given if _are_plain_texts(given) else [key_of(id) for id in given]


def _are_plain_texts(keys: list[Any]) -> bool:
    """Tell whether all are strings that can be ids as they are, by a few native passes: most batches are."""
    if set(map(type, keys)) != {str} or not 0 < min(map(len, keys)) <= max(map(len, keys)) <= ID_BYTES_MAX:
        return False
    try:
        "".join(keys).encode()
    except UnicodeEncodeError:
        return False
    return True


def id_of(key: Key) -> Id:
    """Return the user's form of a stored id."""
    return UUID(bytes=key) if isinstance(key, bytes) else key


def made_keys(count: int, now_ms: int, dice: bytes) -> list[Key]:
    """Return `count` UUIDs of version 7 (RFC 9562), in ascending order: 48 bits of time, a counter, 62 random bits."""
    raw: NDArray[Any] = np.empty((count, 16), dtype=np.uint8)
    raw[:, :6] = np.frombuffer(now_ms.to_bytes(6, "big"), dtype=np.uint8)
    raw[:, 6:] = np.frombuffer(dice, dtype=np.uint8).reshape(count, 10)
    counter = np.arange(count, dtype=np.uint32)
    raw[:, 6] = 0x70 | (counter >> 16 & 0x0F)
    raw[:, 7] = counter >> 8 & 0xFF
    raw[:, 8] = 0x80 | (raw[:, 8] & 0x3F)
    order = counter & 0xFF
    raw[:, 9] = order
    joined = raw.tobytes()
    return [joined[start : start + 16] for start in range(0, 16 * count, 16)]


def hash_keys(keys: Sequence[Key]) -> NDArray[np.uint64]:
    """Return one stable 64-bit hash a key, alike on every machine. Source: xxHash, XXH3 64 bits, seeded by the kind of key."""
    digest = xxhash.xxh3_64_intdigest
    hashes = [digest(key.encode()) if isinstance(key, str) else digest(*_hashed(key)) for key in keys]
    return np.array(hashes, dtype=np.uint64)


def _hashed(key: int | bytes) -> tuple[bytes, int]:
    return (key.to_bytes(8, "little", signed=True), 1) if isinstance(key, int) else (key, 2)
