"""FunctionEncoder: a function of the user's own as an encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import RLock
from typing import Any, TypeAlias

import numpy as np
import xxhash
from numpy.typing import NDArray

from paradox.encode.texts import check_texts
from paradox.errors import BatchMismatch, ParadoxError, SpecInvalid, Unavailable, VectorDimensions, VectorNotFinite, VectorType
from paradox.model.points import Matrix

EncodeFunction: TypeAlias = Callable[[list[str]], Any] | Callable[[str], Any]
PROBES = ("The tide turns at noon.", "Rust never sleeps.")
BATCH_TEXTS = 256
MESSAGE_CHARACTERS_MAX = 300


class FunctionEncoder:
    """encoder=function, with function(list of n texts) → (n, d), or function(text) → (d,): anything NumPy can read.

    Which of the two it is, and d, are found by encoding two short texts when they are first needed. Calls never overlap, since a
    function need not be thread-safe. Vectors are stored as they come, not made unit length.
    """

    def __init__(self, function: EncodeFunction, name: str | None = None) -> None:
        """name: names the space in fingerprints and errors; by default the function's module and qualified name."""
        if not callable(function):
            raise SpecInvalid(f"an encoder of type {type(function).__name__} cannot be called", hint="give a function of a list of texts")
        self._function: Callable[[Any], Any] = function
        self._name = name or _name_of(function)
        self._lock = RLock()
        self._probe: Matrix | None = None
        self._takes_lists = True

    @property
    def name(self) -> str:
        """The name given, or the function's module and qualified name."""
        return self._name

    @property
    def dimensions(self) -> int:
        """The length of each vector. Raises as `encode`."""
        return int(self._probed().shape[1])

    @property
    def fingerprint(self) -> str:
        """Name, dimensions and a digest of the vector of a fixed text, rounded to 2 decimals of its length. Raises as `encode`.

        Rounding forgives most differences between processors; a function whose answers vary more than that is another space each time.
        """
        probe = self._probed()[0].astype(np.float64)
        length = float(np.linalg.norm(probe)) or 1.0
        rounded = np.round(probe / length * 100).astype(np.int64)
        return f"function/{self._name}/{len(probe)}/{xxhash.xxh3_64_hexdigest(rounded.astype('<i8').tobytes())[:8]}"

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Return (n, d) float32, one row a text, in calls of at most 256 texts. Thread-safe.

        Raises PayloadInvalid for what is not a text, or is blank; Unavailable with the function's own message when it fails; VectorType,
        BatchMismatch, VectorDimensions, VectorNotFinite when what it returns is not n vectors of d finite numbers.
        """
        batch = check_texts(texts)
        dimensions = self.dimensions
        parts = [self._call(batch[start : start + BATCH_TEXTS], dimensions) for start in range(0, len(batch), BATCH_TEXTS)]
        return np.concatenate(parts) if parts else np.empty((0, dimensions), np.float32)

    def _probed(self) -> Matrix:
        """Return the vectors of the probes, after finding out how the function is called."""
        with self._lock:
            if self._probe is None:
                self._probe = self._find_out(list(PROBES))
            return self._probe

    def _find_out(self, probes: list[str]) -> Matrix:
        try:
            answer = self._matrix(self._ask(probes))
        except ParadoxError as failure:
            refused: ParadoxError | None = failure
        else:
            refused = None
            if answer.ndim == 2 and len(answer) == len(probes) and answer.shape[1]:
                return _finite(answer, self._name)
        self._takes_lists = False
        try:
            return self._call(probes, None)
        except ParadoxError as failure:
            raise (refused or failure) from None

    def _call(self, texts: list[str], dimensions: int | None) -> Matrix:
        """Return (n, d) for one batch, checked. dimensions: those expected, None when not known yet."""
        with self._lock:
            if self._takes_lists:
                vectors = self._matrix(self._ask(texts))
            else:
                rows = [self._matrix(self._ask(text)).reshape(-1) for text in texts]
                if len({len(row) for row in rows}) > 1:
                    raise VectorDimensions(
                        f"encoder {self._name!r} returned vectors of different lengths", hint="return d numbers for every text"
                    )
                vectors = np.stack(rows)
        if vectors.ndim != 2:
            raise VectorDimensions(
                f"encoder {self._name!r} returned an array of shape {vectors.shape} for {len(texts)} texts; expected (n, d)",
                hint="return one vector a text",
            )
        if len(vectors) != len(texts):
            raise BatchMismatch(f"encoder {self._name!r} returned {len(vectors)} vectors for {len(texts)} texts", hint="return one a text")
        if not vectors.shape[1] or dimensions not in (None, vectors.shape[1]):
            raise VectorDimensions(
                f"encoder {self._name!r} returned vectors of {vectors.shape[1]} dimensions; expected {dimensions or 'at least 1'}",
                hint="an encoder's vectors all have one length",
            )
        return _finite(vectors, self._name)

    def _ask(self, texts: list[str] | str) -> Any:
        """Call the function. Raises Unavailable with its own message, without its traceback."""
        try:
            return self._function(texts)
        except ParadoxError:
            raise
        except Exception as error:
            told = f"{type(error).__name__}: {error}"[:MESSAGE_CHARACTERS_MAX]
            raise Unavailable(f"encoder {self._name!r} failed: {told}", hint="the message is the function's own") from None

    def _matrix(self, answer: Any) -> NDArray[np.float32]:
        """Return an answer as a float32 array of any shape. Raises VectorType."""
        try:
            array = np.asarray(answer)
        except Exception as error:
            raise VectorType(f"encoder {self._name!r} returned what is no array: {error}"[:MESSAGE_CHARACTERS_MAX]) from None
        if array.dtype.kind not in "fiu":
            raise VectorType(
                f"encoder {self._name!r} returned an array of type {array.dtype}; expected numbers",
                hint="return a NumPy array or lists of numbers, all of one length",
            )
        return np.ascontiguousarray(array, dtype=np.float32)


def _finite(vectors: Matrix, name: str) -> Matrix:
    """Return `vectors` if all are finite. Raises VectorNotFinite."""
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise VectorNotFinite(
            f"encoder {name!r} returned NaN or an infinity for text {broken[0]} of {len(vectors)}",
            hint="no distance to such a vector means anything",
        )
    return vectors


def _name_of(function: Any) -> str:
    """Return 'module.qualified_name' of a function, of a partial one's function, or of an object's type."""
    while isinstance(function, partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"
