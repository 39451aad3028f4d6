"""Admission: what a write must be before it may touch the log. Every check raises before anything changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paradox.errors import (
    BatchEmpty,
    BatchMismatch,
    IdDuplicate,
    NumberRange,
    PayloadTooLarge,
    QueryInvalid,
    VectorDimensions,
    VectorNotFinite,
    VectorType,
    VectorZero,
)
from paradox.model.points import Key, id_of
from paradox.model.queries import MODES, Question
from paradox.model.schema import CollectionSpec, Limits, VectorSpec

COMPONENT_MAX = 1e16
"""Above, products of components leave float32."""
COMPONENT_MIN = 1e-16
"""Where every component is smaller, their products vanish from float32, and with them the direction."""


def check_vectors(
    vectors: NDArray[Any], spec: VectorSpec, *, name: str, present: NDArray[np.bool_] | None = None, what: str = "point"
) -> None:
    """Raise unless (n, d) `vectors` can be stored under `spec`: right dtype and dimensions, finite, and not zero under cosine."""
    if spec.metric == "hamming":
        if vectors.dtype != np.uint8:
            raise VectorType(
                f"vector {name!r} is {vectors.dtype}; hamming takes packed bits as uint8", hint="pack bits with numpy.packbits"
            )
        if vectors.ndim != 2 or vectors.shape[1] * 8 != spec.dimensions:
            raise VectorDimensions(
                f"{what} 0 has {vectors.shape[-1] * 8} bits, vector {name!r} holds {spec.dimensions}", hint="pack 8 bits into each byte"
            )
        return
    if vectors.dtype != np.float32:
        raise VectorType(
            f"vector {name!r} is {vectors.dtype}; expected numbers that fit float32", hint="convert it with .astype('float32')"
        )
    if vectors.ndim != 2 or vectors.shape[1] != spec.dimensions:
        raise VectorDimensions(
            f"{what} 0 has {vectors.shape[-1]} dimensions, vector {name!r} holds {spec.dimensions}",
            hint=f"encode with the collection's encoder, or create a collection with dimensions={vectors.shape[-1]}",
        )
    largest = np.abs(vectors).max(axis=1, initial=0.0)
    if not (largest < COMPONENT_MAX).all():
        row = int(np.flatnonzero(~(largest < COMPONENT_MAX))[0])
        column = int(np.flatnonzero(~(np.abs(vectors[row]) < COMPONENT_MAX))[0])
        raise VectorNotFinite(
            f"{what} {row} has {vectors[row, column]} at component {column}; expected finite numbers below {COMPONENT_MAX:g}",
            hint="look for a division by zero or an empty text before encoding",
        )
    if spec.metric == "cosine" and largest.min(initial=1.0) < COMPONENT_MIN:
        small = largest < COMPONENT_MIN if present is None else (largest < COMPONENT_MIN) & present
        for row in np.flatnonzero(small)[:1].tolist():
            raise VectorZero(
                f"{what} {row} is a zero vector, which has no direction for cosine to compare"
                if not largest[row]
                else f"{what} {row} has no component above {largest[row]:.0e}; cosine needs one of {COMPONENT_MIN:.0e} or more",
                hint="leave it out, or use metric='euclidean' or 'dot'",
            )


def check_keys(keys: list[Key]) -> None:
    """Raise IdDuplicate when a batch names an id twice."""
    if len(set(keys)) == len(keys):
        return
    seen: dict[Key, int] = {}
    for number, key in enumerate(keys):
        if key in seen:
            raise IdDuplicate(
                f"points {seen[key]} and {number} of one batch have the same id {id_of(key)!r}",
                hint="send the version that should win, once",
            )
        seen[key] = number


def check_batch(spec: CollectionSpec, rows: int, vectors: dict[str, NDArray[Any]], present: dict[str, NDArray[np.bool_]]) -> None:
    """Raise unless a batch of points has every vector of the collection, with `rows` rows each."""
    if not rows:
        raise BatchEmpty("the batch holds no points; expected at least one", hint="skip empty batches before calling add")
    unknown = sorted(set(vectors) - set(spec.vectors))
    if unknown:
        raise VectorDimensions(
            f"the collection has no vector named {unknown[0]!r}", hint=f"its vectors are {', '.join(sorted(spec.vectors))}"
        )
    missing = [name for name in spec.vectors if name not in vectors]
    if missing:
        raise BatchMismatch(f"no vectors were given for {missing[0]!r}", hint="give vectors=, or texts when the collection has an encoder")
    check_present(spec, rows, present)
    for name, matrix in vectors.items():
        if len(matrix) != rows:
            raise BatchMismatch(f"{len(matrix)} vectors {name!r} for {rows} points", hint="give one vector a point")
        check_vectors(matrix, spec.vectors[name], name=name, present=present.get(name))


def check_present(spec: CollectionSpec, rows: int, present: Mapping[str, Any]) -> None:
    """Raise BatchMismatch unless each mask names a vector of the collection and has one bool a row; every point has the main vector."""
    for name, mask in present.items():
        if name not in spec.vectors:
            raise BatchMismatch(
                f"present names {name!r:.80}, which is no vector of the collection", hint=f"its vectors are {', '.join(spec.vectors)}"
            )
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (rows,):
            raise BatchMismatch(
                f"present of {name!r} is not one true or false a point, for {rows} points", hint="leave it out where all have it"
            )
        if name == spec.main and not mask.all():
            number = int(np.flatnonzero(~mask)[0])
            raise BatchMismatch(f"point {number} has no vector {name!r}, by which points are placed", hint="give it for every point")


def check_payloads(payloads: list[bytes], limits: Limits) -> None:
    """Raise PayloadTooLarge when an encoded payload exceeds the limit."""
    if max(map(len, payloads), default=0) <= limits.payload_bytes_max:
        return
    for number, payload in enumerate(payloads):
        if len(payload) > limits.payload_bytes_max:
            raise PayloadTooLarge(
                f"the payload of point {number} has {len(payload):,} bytes; at most {limits.payload_bytes_max:,} are allowed",
                hint="keep large content in files or an object store and its address in the payload",
            )


def check_question(question: Question, spec: CollectionSpec, limits: Limits) -> None:
    """Raise unless a question can be answered by a collection of `spec`."""
    k = question.k
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= limits.k_max:
        raise NumberRange(f"k={k!r}; expected a whole number from 1 to {limits.k_max:,}", hint="use scroll to read many points")
    if not 0 < question.recall <= 1:
        raise NumberRange(f"recall={question.recall!r}; expected a number above 0, up to 1", hint="0.95 is the default; 1 searches exactly")
    if question.mode not in MODES:
        raise QueryInvalid(f"mode={question.mode!r} is unknown", hint=f"choose one of {', '.join(MODES)}")
    if question.mode != "vector":
        if not spec.text:
            raise QueryInvalid(
                f"mode={question.mode!r} needs full text, but the collection indexes none", hint="create it with text=['text']"
            )
        if not question.texts:
            raise QueryInvalid(f"mode={question.mode!r} needs words to search for", hint="give the query as a string")
    if question.mode != "text":
        if question.using not in spec.vectors:
            raise QueryInvalid(f"using={question.using!r} is no vector of this collection", hint=f"choose one of {', '.join(spec.vectors)}")
        if question.vectors is None:
            raise QueryInvalid("the search has nothing to look for", hint="give a query, or like=id")
        check_vectors(question.vectors, spec.vectors[question.using], name=question.using, what="query")
