"""The words of a spec: what a caller says a collection shall be, and what an existing one is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, SupportsIndex

from paradox.errors import EncoderMismatch, SpecConflict, SpecInvalid
from paradox.model.schema import MAIN_VECTOR, METRICS, CollectionSpec, VectorSpec, check_name, check_spec
from paradox.ports.encode import Encoder

DIMENSIONS = "dimensions"
EXAMPLES: Final = {DIMENSIONS: 384, "shards": 4, "copies": 2, "replicas": 1}
TEXT_HINT = "such as text=['title', 'body']"
SPEC_OPTIONS = ("shards", "copies", "replicas", "time_bucket", "text", "conflicts")


def wanted_spec(wanted: dict[str, Any], resolve: Callable[[Any], Encoder]) -> tuple[CollectionSpec, dict[str, Encoder]]:
    """Return the spec that a caller's words mean, and the encoders they name, by vector. Raises SpecInvalid."""
    vectors, encoders = _vectors(wanted, resolve)
    options = {name: _option(name, wanted[name]) for name in SPEC_OPTIONS if name in wanted}
    return check_spec(CollectionSpec(vectors=vectors, **options)), encoders


def _option(name: str, value: Any) -> Any:
    """Return an option of a spec in its own type. Raises SpecInvalid."""
    match name:
        case "shards" | "copies" | "replicas":
            return _whole(name, value)
        case "text":
            fields = (value,) if isinstance(value, str) else value
            if not isinstance(fields, (list, tuple)):
                raise SpecInvalid(f"text is of type {type(value).__name__}; expected names of payload fields", hint=TEXT_HINT)
            for field in fields:
                if not isinstance(field, str):
                    raise SpecInvalid(f"text holds a {type(field).__name__}; expected names of payload fields", hint=TEXT_HINT)
            return tuple(fields)
        case _:
            if not isinstance(value, str):
                raise SpecInvalid(f"{name} is of type {type(value).__name__}; expected a word", hint=f"leave {name}= out for the default")
            return value


def _whole(name: str, value: Any) -> int:
    """Return a whole number. Raises SpecInvalid."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise SpecInvalid(f"{name} is of type {type(value).__name__}; expected a whole number", hint=f"such as {name}={EXAMPLES[name]}")
    return value.__index__()


def _vectors(wanted: dict[str, Any], resolve: Callable[[Any], Encoder]) -> tuple[dict[str, VectorSpec], dict[str, Encoder]]:
    metric = wanted.get("metric", "cosine")
    if metric not in METRICS:
        raise SpecInvalid(f"metric {metric!r:.80} is unknown", hint=f"choose one of {', '.join(METRICS)}")
    given = [name for name in ("dimensions", "encoder", "vectors") if name in wanted]
    if "vectors" in given and len(given) > 1:
        raise SpecInvalid(f"both {given[0]}= and vectors= were given", hint="name every vector in vectors=, or leave vectors= out")
    if "vectors" in given:
        named = wanted["vectors"]
        if not isinstance(named, dict):
            raise SpecInvalid("vectors= takes a dict of names and dimensions", hint="such as {'title': 384, 'image': 512}")
        for name, size in named.items():
            check_name(name, of="a vector")
            if isinstance(size, bool) or not isinstance(size, SupportsIndex):
                raise SpecInvalid(
                    f"vector {name!r} is of type {type(size).__name__}; expected its number of dimensions",
                    hint=f"such as {{{name!r}: 384}}",
                )
        return {name: VectorSpec(dimensions=size.__index__(), metric=metric) for name, size in named.items()}, {}
    if "encoder" in given:
        encoder = resolve(wanted["encoder"])
        if "dimensions" in given and wanted["dimensions"] != encoder.dimensions:
            raise SpecInvalid(
                f"encoder {encoder.name!r} makes {encoder.dimensions} dimensions, not {wanted['dimensions']!r:.80}",
                hint="leave dimensions= out: the encoder says",
            )
        vector = VectorSpec(dimensions=encoder.dimensions, metric=metric, encoder=encoder.name, fingerprint=encoder.fingerprint)
        return {MAIN_VECTOR: vector}, {MAIN_VECTOR: encoder}
    if "dimensions" in given:
        return {MAIN_VECTOR: VectorSpec(dimensions=_whole(DIMENSIONS, wanted[DIMENSIONS]), metric=metric)}, {}
    raise SpecInvalid("a new collection needs to know its vectors", hint="give encoder='text', dimensions=384 or vectors={'title': 384}")


def check_same(name: str, spec: CollectionSpec, wanted: dict[str, Any], resolve: Callable[[Any], Encoder]) -> dict[str, Encoder]:
    """Return the encoders a caller named for an existing collection. Raises SpecConflict, EncoderMismatch when the words contradict it."""
    encoders: dict[str, Encoder] = {}
    if "encoder" in wanted:
        encoder = resolve(wanted["encoder"])
        main = spec.vectors[spec.main]
        if main.fingerprint != encoder.fingerprint:
            raise EncoderMismatch(
                f"collection {name!r} was made with encoder {main.encoder or 'none'!r} ({main.fingerprint or 'vectors from outside'}), "
                f"not with {encoder.name!r} ({encoder.fingerprint})",
                hint="open it with the same encoder, or add the texts to a new collection",
            )
        encoders[spec.main] = encoder
    held, asked = _words_of(spec), {option: value for option, value in wanted.items() if option != "encoder"}
    if "text" in asked:
        asked["text"] = list(_option("text", asked["text"]))
    differing = [option for option, value in asked.items() if value != held[option]]
    if differing:
        redundant = "dimensions" if len(spec.vectors) > 1 or "vectors" in asked else "vectors"
        shown = {option: value for option, value in held.items() if value is not None and option != redundant}
        raise SpecConflict(
            f"collection {name!r} exists with {_shown(shown)}; it was asked for with {_shown(asked)}",
            hint=f"leave {' and '.join(f'{option}=' for option in differing)} out to open it as it is, or choose another name",
        )
    return encoders


def _words_of(spec: CollectionSpec) -> dict[str, Any]:
    """Return a spec in the words of `collection(…)`."""
    main = spec.vectors[spec.main]
    options = {option: getattr(spec, option) for option in SPEC_OPTIONS}
    return {"dimensions": main.dimensions, "vectors": plain_vectors(spec), "metric": main.metric, **options, "text": list(spec.text)}


def _shown(words: dict[str, Any]) -> str:
    return ", ".join(f"{option}={value!r:.200}" for option, value in words.items())


def plain_vectors(spec: CollectionSpec) -> dict[str, int]:
    """Return the vectors of a spec as names and dimensions."""
    return {name: vector.dimensions for name, vector in spec.vectors.items()}
