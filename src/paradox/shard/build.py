"""Building sealed segments: live rows of one or more segments become one, region by region."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Key, Mask, Matrix, Rows, hash_keys
from paradox.model.schema import CollectionSpec, Metric
from paradox.model.topology import RegionMap
from paradox.ports.kernels import GrowingIndex, Kernels
from paradox.ports.text import TextIndex
from paradox.shard.columns import Columns
from paradox.shard.container import ContainerWriter
from paradox.shard.geometry import Form, form_of, index_form
from paradox.shard.growing import Growing, texts_of
from paradox.shard.sealed import POINTS_FILE, TEXT_FOLDER, Sealed, scan_file
from paradox.space.buckets import bucket_of
from paradox.space.regions import Atlas, centres

Segment: TypeAlias = Growing | Sealed
BLOCK = 8_192
SPILL_LISTS = 2
"""In how many regions' lists a row stands inside a segment: its nearest and one complementary."""


class Source(msgspec.Struct, frozen=True):
    """Rows of one segment that go into the new one."""

    segment: Segment
    rows: Rows


class Layout(msgspec.Struct, frozen=True):
    """The order of the new segment's rows: `source[i]` and `row[i]` say where row i comes from; `home[i]` its row in the region table."""

    source: NDArray[np.int32]
    row: Rows
    home: NDArray[np.int32]
    bucket: NDArray[np.int32]
    modality: NDArray[np.int32]
    modalities: list[str]


def alive_at(segment: Segment, position: int) -> Mask:
    """Return (n,) the rows that were there when the log stood at `position`: what died later is still in."""
    alive = segment.alive().copy()
    for since, rows in list(segment.deaths):
        if since > position:
            alive[rows] = True
    return alive


def forget_deaths(segment: Segment, position: int) -> None:
    """Drop what `alive_at` needs for positions before `position`."""
    segment.deaths[:] = [(since, rows) for since, rows in segment.deaths if since > position]


def build_segment(
    folder: Path, sources: Sequence[Source], *, spec: CollectionSpec, regions: RegionMap, kernels: Kernels, first_position: int
) -> Layout:
    """Write a sealed segment's files into the existing empty `folder`. The caller makes them durable and opens them.

    regions: the map of the regions that this holder has. Cost: about 10 µs a row of 256 dimensions, reading each vector twice.
    """
    layout = arrange(sources, spec=spec, regions=regions)
    forms = {name: form_of(next(_blocks_of(sources, name)), vector.metric) for name, vector in spec.vectors.items()}
    payloads = _gather_lists(layout, [source.segment.payloads_at(source.rows) for source in sources], sources)
    keys: list[Key] = _gather_lists(layout, [source.segment.keys_at(source.rows) for source in sources], sources)
    with (folder / POINTS_FILE).open("wb") as file:
        writer = ContainerWriter(file)
        for name in spec.vectors:
            _write_vectors(writer, name, sources, layout)
            centre = forms[name].centre
            if isinstance(centre, np.ndarray):
                writer.add(f"centre.{name}", centre)
        _write_bytes(writer, "payload", payloads)
        _write_bytes(writer, "key", [msgspec.msgpack.encode(key) for key in keys])
        hashes = hash_keys(keys)
        order = np.argsort(hashes, kind="stable").astype(np.uint32)
        writer.add("key.hashes", hashes[order])
        writer.add("key.rows", order)
        origins = _write_own_fields(writer, sources, layout)
        _write_regions(writer, layout, regions)
        columns = Columns()
        columns.extend(payloads)
        for name, array in columns.to_arrays().items():
            writer.add(f"column.{name}", array)
        writer.finish(
            {
                "rows": len(keys),
                "first_position": first_position,
                "lengths": {name: form.length for name, form in forms.items()},
                "modalities": layout.modalities,
                "origins": origins,
                "epoch": regions.epoch,
                "scale": regions.scale,
            }
        )
    _write_indexes(folder, sources, layout, spec=spec, kernels=kernels, forms=forms)
    if spec.text:
        fill_text(kernels.text(spec.text), payloads, spec.text).save(folder / TEXT_FOLDER)
    return layout


def arrange(sources: Sequence[Source], *, spec: CollectionSpec, regions: RegionMap) -> Layout:
    """Return the order of rows: by home region, then modality, then time bucket, then arrival."""
    source = np.concatenate([np.full(len(part.rows), number, dtype=np.int32) for number, part in enumerate(sources)])
    row = np.concatenate([part.rows for part in sources])
    metric = spec.vectors[spec.main].metric
    if len(regions) > 1 and metric != "hamming":
        atlas = Atlas(regions, metric, all_cores=True)
        home = np.concatenate([homes for part in sources for homes in _homes(part, spec.main, atlas)])
    else:
        home = np.zeros(len(row), dtype=np.int32)
    at_us = np.concatenate([part.segment.own().at_us[part.rows] for part in sources])
    bucket = bucket_of(at_us, spec.time_bucket)
    modality, modalities = _merge_codes([(part.segment.own().modality, part.rows) for part in sources])
    order = np.lexsort((np.arange(len(row)), bucket, modality, home))
    return Layout(source[order], row[order], home[order], bucket[order], modality[order], modalities)


def _homes(part: Source, vector: str, atlas: Atlas) -> Iterator[NDArray[np.int32]]:
    """Yield the home regions of a source's rows; where it was built by these same regions they are known."""
    if isinstance(part.segment, Sealed) and _same_regions(part.segment, atlas.regions):
        yield part.segment.homes(part.rows)
    else:
        yield from (atlas.assign(block)[:, 0] for block in _blocks_of([part], vector))


def _same_regions(segment: Sealed, regions: RegionMap) -> bool:
    same = segment.epoch == regions.epoch and np.array_equal(segment.region_names, regions.names)
    return same and np.array_equal(segment.centroids(), centres(regions))


def _blocks_of(sources: Sequence[Source], vector: str) -> Iterator[NDArray[Any]]:
    for part in sources:
        matrix = part.segment.vectors[vector].matrix()
        for start in range(0, len(part.rows), BLOCK):
            yield matrix[part.rows[start : start + BLOCK]]


def _gather(layout: Layout, columns: Sequence[NDArray[Any]], start: int, end: int) -> NDArray[Any]:
    """Return rows start … end-1 of the new segment from each source's column."""
    source, row = layout.source[start:end], layout.row[start:end]
    if len(columns) == 1:
        return columns[0][row]
    out = np.empty((end - start, *columns[0].shape[1:]), dtype=columns[0].dtype)
    for number, column in enumerate(columns):
        mine = np.flatnonzero(source == number)
        out[mine] = column[row[mine]]
    return out


def _gather_lists(layout: Layout, columns: list[list[Any]], sources: Sequence[Source]) -> list[Any]:
    """Return the new segment's rows of columns that are lists aligned with each source's `rows`."""
    starts = np.cumsum([0, *(len(part.rows) for part in sources)])
    place = np.empty(int(starts[-1]), dtype=np.int64)
    for number, part in enumerate(sources):
        mine = np.flatnonzero(layout.source == number)
        place[mine] = starts[number] + np.searchsorted(part.rows, layout.row[mine])
    joined = [value for column in columns for value in column]
    return [joined[index] for index in place.tolist()]


def _merge_codes(parts: Sequence[tuple[tuple[NDArray[np.int32], list[str]], Rows]]) -> tuple[NDArray[np.int32], list[str]]:
    """Return codes of the chosen rows against one list of names, sorted."""
    names = sorted({name for (_, known), _ in parts for name in known})
    number = {name: code for code, name in enumerate(names)}
    merged = [np.array([number[name] for name in known] or [0], dtype=np.int32)[codes[rows]] for (codes, known), rows in parts]
    return np.concatenate(merged), names


def _write_vectors(writer: ContainerWriter, name: str, sources: Sequence[Source], layout: Layout) -> None:
    columns = [part.segment.vectors[name] for part in sources]
    matrices = [column.matrix() for column in columns]
    rows = len(layout.row)
    shape = (rows, *matrices[0].shape[1:])
    blocks = (_gather(layout, matrices, start, min(start + BLOCK, rows)) for start in range(0, rows, BLOCK))
    writer.add_blocks(f"vector.{name}", matrices[0].dtype, shape, blocks)
    writer.add(f"inverse.{name}", _gather(layout, [column.inverse() for column in columns], 0, rows))
    if any(column.present() is not None for column in columns):
        present = [
            np.ones(len(matrix), dtype=np.bool_) if (own := c.present()) is None else own
            for c, matrix in zip(columns, matrices, strict=True)
        ]
        writer.add(f"present.{name}", _gather(layout, present, 0, rows))


def _write_bytes(writer: ContainerWriter, name: str, values: Sequence[bytes]) -> None:
    ends = np.cumsum(np.fromiter(map(len, values), dtype=np.uint64, count=len(values)), dtype=np.uint64)
    writer.add(f"{name}.ends", ends)
    joined = (np.frombuffer(b"".join(values[start : start + BLOCK]), dtype=np.uint8) for start in range(0, len(values), BLOCK))
    writer.add_blocks(f"{name}.bytes", np.dtype(np.uint8), (int(ends[-1]) if len(ends) else 0,), joined)


def _write_own_fields(writer: ContainerWriter, sources: Sequence[Source], layout: Layout) -> list[str]:
    rows = len(layout.row)
    for name in ("at_us", "stamp", "key_id", "owned"):
        columns = [_own_column(part.segment, name) for part in sources]
        writer.add(name, _gather(layout, columns, 0, rows))
    holders = [part.segment.holders() for part in sources]
    if all(column is not None for column in holders):
        writer.add("holders", _gather(layout, [column for column in holders if column is not None], 0, rows))
    writer.add("modality", layout.modality)
    names = sorted({name for part in sources for name in part.segment.own().origin[1]})
    number = {name: code for code, name in enumerate(names)}
    codes = [
        np.array([number[n] for n in part.segment.own().origin[1]] or [0], dtype=np.int32)[part.segment.own().origin[0]] for part in sources
    ]
    writer.add("origin", _gather(layout, codes, 0, rows))
    return names


def _own_column(segment: Segment, name: str) -> NDArray[Any]:
    match name:
        case "at_us":
            return segment.own().at_us
        case "stamp":
            return segment.stamps()
        case "key_id":
            return segment.key_ids()
        case _:
            return segment.owned()


def _write_regions(writer: ContainerWriter, layout: Layout, regions: RegionMap) -> None:
    writer.add("region.names", regions.names)
    writer.add("region.centroids", centres(regions))
    writer.add("region.starts", np.searchsorted(layout.home, np.arange(len(regions) + 1)).astype(np.int64))
    parts = np.stack((layout.home, layout.modality, layout.bucket), axis=1)
    change = np.flatnonzero(np.any(parts[1:] != parts[:-1], axis=1)) + 1
    starts = np.concatenate(([0], change)) if len(parts) else np.empty(0, dtype=np.int64)
    writer.add("partition.names", parts[starts].astype(np.int32))
    writer.add("partition.starts", np.append(starts, len(parts)).astype(np.int64))


def _write_indexes(
    folder: Path, sources: Sequence[Source], layout: Layout, *, spec: CollectionSpec, kernels: Kernels, forms: dict[str, Form]
) -> None:
    rows = len(layout.row)
    for name, vector in spec.vectors.items():
        if vector.metric == "hamming":
            continue  # bits are searched where they lie
        columns = [part.segment.vectors[name] for part in sources]
        matrices, inverses = [column.matrix() for column in columns], [column.inverse() for column in columns]
        index = kernels.scan(vector.dimensions + (1 if vector.metric == "euclidean" else 0))
        for start in range(0, rows, BLOCK):
            end = min(start + BLOCK, rows)
            block, inverse = _gather(layout, matrices, start, end), _gather(layout, inverses, start, end)
            index.add(index_form(block, inverse, vector.metric, forms[name]))
        index.save(folder / scan_file(name))


def fill_scan(index: GrowingIndex, matrix: Matrix, inverse: NDArray[np.float32], metric: Metric, form: Form) -> GrowingIndex:
    """Return `index` with all rows of `matrix` added."""
    for start in range(0, len(matrix), BLOCK):
        end = start + BLOCK
        index.add(np.ascontiguousarray(index_form(matrix[start:end], inverse[start:end], metric, form)))
    return index


def fill_text(index: TextIndex, payloads: Iterable[bytes], fields: tuple[str, ...]) -> TextIndex:
    """Return `index` with the text fields of all payloads added, row by row."""
    index.add(0, [texts_of(payload, fields) for payload in payloads])
    index.commit()
    return index
