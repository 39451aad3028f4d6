"""Vectors: from arrays, lists and dicts of them to float32 matrices (packed bits for hamming)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.errors import BatchMismatch, InvalidRequest, VectorDimensions, VectorType
from paradox.model.admit import COMPONENT_MAX, COMPONENT_MIN, check_vectors
from paradox.model.points import Mask
from paradox.model.schema import CollectionSpec, VectorSpec

ARRAY_KINDS = "iuf"
NUMBERS_HINT = "give numbers: a NumPy array (n, d) or nested lists"
BITS_HINT = "hamming vectors are packed bits: give np.packbits(bits, axis=1), which is uint8"


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors of n points by name: (n, d) each, and which rows have one, for names that not all rows have."""

    matrices: dict[str, NDArray[Any]]
    present: dict[str, Mask]


def vector_columns(given: Any, spec: CollectionSpec, collection: str) -> Columns:
    """Return what was given as `vectors=`: a matrix, nested lists or one vector; or a dict of them by name.

    A float32 C-contiguous matrix is not copied. A name's rows may be None for points without it, except the first name's.
    Raises VectorType, VectorDimensions, BatchMismatch, InvalidRequest for an unknown name.
    """
    if not isinstance(given, Mapping):
        if len(spec.vectors) > 1:
            raise InvalidRequest(
                f"collection {collection!r} has the vectors {_names(spec)}, and these have no name",
                hint=f"give vectors={{{spec.main!r}: …}}",
            )
        given = {spec.main: given}
    matrices: dict[str, NDArray[Any]] = {}
    present: dict[str, Mask] = {}
    for name, column in given.items():
        if name not in spec.vectors:
            raise InvalidRequest(f"collection {collection!r} has no vector {name!r:.80}", hint=f"its vectors are {_names(spec)}")
        matrix, mask = matrix_of(column, spec.vectors[name], f"collection {collection!r}")
        if mask is not None and name == spec.main:
            message = f"point {int(np.argmin(mask))} has no vector {name!r}"
            raise BatchMismatch(message, hint="every point needs the collection's first vector")
        matrices[name] = matrix
        if mask is not None:
            present[name] = mask
    lengths = {name: len(matrix) for name, matrix in matrices.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} {rows}" for name, rows in lengths.items())
        raise BatchMismatch(
            f"the named vectors have different lengths: {shown}", hint="give each one row a point, None for a point without it"
        )
    return Columns(matrices=matrices, present=present)


def matrix_of(given: Any, vector: VectorSpec, holder: str, *, subject: str = "vectors have") -> tuple[NDArray[Any], Mask | None]:
    """Return vectors as (n, d) float32, or (n, d / 8) uint8 for hamming, and which rows were given when some were None.

    One vector (d,) is a matrix of one row. An error says that `subject` n dimensions and `holder` holds d.
    Raises VectorType, VectorDimensions.
    """
    mask: Mask | None = None
    width, dtype = shape_of(vector)
    if isinstance(given, np.ndarray) and given.dtype.kind == "O":
        given = list(given)
    if isinstance(given, (list, tuple)) and any(row is None for row in given):
        mask = np.array([row is not None for row in given], dtype=np.bool_)
        given = [np.zeros(width, dtype=np.uint8) if row is None else row for row in given]
    array = _array_of(given, width)
    if array.ndim == 1:
        array = array.reshape(1, -1) if len(array) else array.reshape(0, width)
    if array.ndim != 2:
        raise VectorDimensions(f"vectors have the shape {array.shape}; expected (points, dimensions)", hint="flatten each point to one row")
    if vector.metric == "hamming":
        array = _as_bits(array, given)
    if array.shape[1] != width and len(array):
        if vector.metric == "hamming":
            message = f"{subject} {array.shape[1]} bytes of bits; {holder} holds {vector.dimensions} bits, which are {width} bytes"
            raise VectorDimensions(message, hint=BITS_HINT)
        raise VectorDimensions(
            f"{subject} {array.shape[1]} dimensions; {holder} holds {vector.dimensions}",
            hint=f"encode with the encoder of the collection, or create a collection with dimensions={array.shape[1]}",
        )
    with np.errstate(over="ignore", invalid="ignore"):  # a number beyond float32 becomes infinite, which the engine refuses
        return np.ascontiguousarray(array, dtype=dtype), mask


def with_absent(columns: Columns, spec: CollectionSpec, rows: int) -> Columns:
    """Return the columns with those of the collection's other vectors that no point has, as zeros that are not present."""
    absent = [name for name in spec.vectors if name != spec.main and name not in columns.matrices]
    if not absent:
        return columns
    matrices, present = dict(columns.matrices), dict(columns.present)
    for name in absent:
        width, dtype = shape_of(spec.vectors[name])
        matrices[name], present[name] = np.zeros((rows, width), dtype=dtype), np.zeros(rows, dtype=np.bool_)
    return Columns(matrices=matrices, present=present)


def check_values(columns: Columns, spec: CollectionSpec) -> None:
    """Raise what an engine would for numbers that cannot be stored. Cost: one multiply-add a number, and no copy unless one is odd."""
    for name, matrix in columns.matrices.items():
        if matrix.dtype != np.float32:
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.einsum("ij,ij->i", matrix, matrix)
        if name in columns.present:
            lengths[~columns.present[name]] = 1.0
        if not ((lengths > matrix.shape[1] * COMPONENT_MIN**2) & (lengths < COMPONENT_MAX**2)).all():
            check_vectors(matrix, spec.vectors[name], name=name, present=columns.present.get(name))


def shape_of(vector: VectorSpec) -> tuple[int, type[np.uint8] | type[np.float32]]:
    """Return how wide a vector's rows are and their dtype: packed bits for hamming."""
    return (vector.dimensions // 8, np.uint8) if vector.metric == "hamming" else (vector.dimensions, np.float32)


def _names(spec: CollectionSpec) -> str:
    return ", ".join(repr(name) for name in spec.vectors)


def _array_of(given: Any, width: int) -> NDArray[Any]:
    """Return numbers as an array. Raises VectorType for anything else, VectorDimensions for rows of different lengths."""
    if isinstance(given, (str, bytes, bytearray)):
        raise VectorType(f"vectors are of type {type(given).__name__}; expected numbers", hint=NUMBERS_HINT)
    try:
        array = np.asarray(given)
    except (ValueError, TypeError, RuntimeError, OverflowError):
        raise _odd_row(given, width) from None
    if array.dtype.kind in ARRAY_KINDS:
        return array
    if array.dtype.kind == "b":
        raise VectorType("vectors are of type bool; expected numbers", hint=BITS_HINT)
    if array.size == 0 and array.dtype.kind == "O" and array.ndim:
        return np.zeros((0, width), dtype=np.float32)
    raise _odd_value(given, array)


def _odd_row(given: Any, width: int) -> InvalidRequest:
    """Return the error for the first row whose length is not `width`."""
    if isinstance(given, Sequence):
        for number, row in enumerate(given):
            length = len(row) if hasattr(row, "__len__") else 1
            if length != width:
                message = f"the vector of point {number} has {length} dimensions; expected {width}"
                return VectorDimensions(message, hint="give every point as many")
        odd = _odd_number(given)
        if odd is not None:
            return odd
    return VectorType(f"vectors of type {type(given).__name__} cannot be read as numbers", hint=NUMBERS_HINT)


def _odd_value(given: Any, array: NDArray[Any]) -> InvalidRequest:
    """Return the error for the first value that is not a number."""
    odd = _odd_number(given) if isinstance(given, (list, tuple)) else None
    if odd is not None:
        return odd
    return VectorType(f"vectors are of type {array.dtype.name}; expected numbers", hint=NUMBERS_HINT)


def _odd_number(rows: Sequence[Any]) -> VectorType | None:
    """Return the error for the first value in lists of lists that is not a number."""
    for number, row in enumerate(rows):
        for place, value in enumerate(row if isinstance(row, (list, tuple)) else ()):
            if not isinstance(value, (int, float, np.integer, np.floating)):
                message = f"the vector of point {number} holds a {type(value).__name__} at {place}; expected a number"
                return VectorType(message, hint=NUMBERS_HINT)
    return None


def _as_bits(array: NDArray[Any], given: Any) -> NDArray[Any]:
    """Return packed bits. Lists of whole numbers from 0 to 255 will do; floats are unpacked bits or no bits at all."""
    if array.dtype == np.uint8 or not array.size:
        return array
    listed = not isinstance(given, np.ndarray)
    if array.dtype.kind in "iu" and listed and int(array.min()) >= 0 and int(array.max()) <= 255:
        return array
    raise VectorType(f"vectors are of type {array.dtype.name}; expected uint8", hint=BITS_HINT)
