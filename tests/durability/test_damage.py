"""A file that is not what was written is named; the rest serves; and nothing wrong is called sound."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durability.grown import SHAPE, Grown, opened, work
from durability.harms import HARMED, harm_and_look
from durability.lives import ASIDE, NAME, Deed, Points, World, after, expect_agreement, found, id_of, perform
from paradox.client.sync import Database
from paradox.errors import LogCorrupt, SegmentCorrupt, StoreUnreadable
from paradox.shard.container import Container


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    return Grown(tmp_path_factory.mktemp("grown"))


@pytest.fixture
def folder(grown: Grown, tmp_path: Path) -> Path:
    return grown.copy(tmp_path / "database")


def home(folder: Path) -> Path:
    return folder / "collections" / NAME


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x10
    path.write_bytes(content)


def flip_in(path: Path, part: bytes) -> None:
    """Flip a bit in the middle of the first place where `part` stands."""
    flip(path, path.read_bytes().index(part) + len(part) // 2)


def points_files(folder: Path) -> list[Path]:
    return sorted(home(folder).glob("segments/*/points"))


def left_without(grown: Grown, segment: str) -> Points:
    """Return the points that are left when a segment is set aside. Updates that came later are lost with the points they changed."""
    later = {key for key in grown.segments["growing"] if key in grown.rows[segment] and "changed" in grown.world.points[key].payload}
    return {key: point for key, point in grown.world.points.items() if key not in grown.segments[segment] | later}


# What is in the folder


def test_the_folder_under_test_has_everything(grown: Grown) -> None:
    files = [path.relative_to(grown.home).as_posix() for path in grown.files() if grown.home in path.parents]
    assert sum(name.endswith("/points") for name in files) == 2
    assert sum(name.endswith(".scan") for name in files) == 2
    assert sum(name.endswith(".probe") for name in files) == 2
    assert sum("/text/" in name for name in files) > 2
    assert sum(name.startswith("manifests/") for name in files) == 2
    assert sum(name.startswith("log/") for name in files) >= 2
    assert len(grown.segments) == 3
    database = Database(opened(grown.folder, read_only=True))
    expect_agreement(SHAPE, database, grown.world, random.Random(1))
    assert any(segment.dead for segment in database._transport.opened(NAME).held.engine.segments())  # type: ignore[attr-defined]


# One place at a time


def test_a_damaged_segment_is_set_aside_and_the_other_serves(grown: Grown, folder: Path) -> None:
    damaged = points_files(folder)[0]
    name = damaged.parent.name
    flip(damaged, -30)
    left = left_without(grown, name)
    for _ in range(2):
        database = Database(opened(folder))
        collection = database[NAME]
        assert found(SHAPE, collection) == left
        assert collection.count() == len(left)
        best = collection.search(np.ones(8), k=1000, exact=True)
        assert {hit.id for hit in best} == left.keys()
        assert len(grown.segments[name]) <= len(left) / best.coverage.share - len(left) + 0.01 <= len(grown.rows[name]) + 0.02
        assert best.coverage.holders == {"s0": "answered", f"s0/{name}": "down"}
        assert collection.info()["quarantined"] == {name: f"segment file {name}/points has a damaged footer"}
        status = database.status()
        assert not status["healthy"]
        assert status["sentence"] == "damaged: 1 file set aside, the rest serves"
        assert status["quarantined"] == {f"{NAME}/{name}": f"segment file {name}/points has a damaged footer"}
        report = database.verify()
        assert [(each["file"], each["reason"]) for each in report["damaged"]] == [
            (f"{NAME}/segments/{name}/points", f"segment file {name}/points has a damaged footer")
        ]
        database.close()


def test_a_damaged_segment_stays_set_aside_whatever_is_written_afterwards(grown: Grown, folder: Path) -> None:
    damaged = points_files(folder)[0]
    name = damaged.parent.name
    flip(damaged, -30)
    world = World(left_without(grown, name))
    for tag in (50, 51, 52):
        embedded = opened(folder)
        database = Database(embedded)
        deed = Deed("add", [id_of(number) for number in range(300, 395)], tag)
        perform(database, database[NAME], SHAPE, deed)
        world = after(world, SHAPE, deed)
        work(embedded)
        assert found(SHAPE, database[NAME]) == world.points
        database.close()
    database = Database(opened(folder))
    assert found(SHAPE, database[NAME]) == world.points
    assert list(database.status()["quarantined"]) == [f"{NAME}/{name}"]
    assert database[NAME].search(np.ones(8)).coverage.holders[f"s0/{name}"] == "down"
    assert [each["file"].split("/")[2] for each in database.verify()["damaged"]] == [name]
    assert damaged.exists()
    database.close()


def test_a_changed_vector_is_found_by_verify_and_never_merged(grown: Grown, folder: Path) -> None:
    path = points_files(folder)[0]
    name = path.parent.name
    stored = next(point for key, point in grown.world.points.items() if key in grown.segments[name])
    flip_in(path, np.array(stored.vectors["vector"], dtype=np.float32).tobytes())
    embedded = opened(folder)
    database = Database(embedded)
    assert database.status()["healthy"]  # vectors are not read when a database is opened
    reason = f"segment file {name}/points is damaged in its section 'vector.vector'"
    assert database.verify()["damaged"] == [{"file": f"{NAME}/segments/{name}/points", "reason": reason}]
    assert database.status()["found_damaged"] == {f"{NAME}/segments/{name}/points": reason}
    assert database.status()["sentence"] == "damaged: verify found 1 file that is not what was written"
    gone = sorted(grown.segments[name], key=str)[:-3]
    database[NAME].delete(gone)  # so that the segment is rewritten
    database[NAME].add(ids=list(range(500, 600)), vectors=np.ones((100, 8)))
    work(embedded)
    assert database.status()["quarantined"] == {f"{NAME}/{name}": reason}
    wanted = {key for key in grown.world.points if key not in grown.segments[name]} | set(range(500, 600))
    assert {hit.id for hit in database[NAME].scroll()} == wanted
    database.close()


def test_a_damaged_segment_is_set_aside_before_an_update_copies_out_of_it(grown: Grown, folder: Path) -> None:
    path = points_files(folder)[0]
    name = path.parent.name
    key = sorted(grown.segments[name], key=str)[0]
    flip_in(path, msgspec.msgpack.encode(grown.world.points[key].payload))
    reason = f"segment file {name}/points is damaged in its section 'payload.bytes'"
    database = Database(opened(folder))
    collection = database[NAME]
    assert database.status()["healthy"]  # payloads are not read when a database is opened
    with pytest.raises(SegmentCorrupt) as caught:
        collection.update(ids=[key], payload={"kind": 4})
    assert caught.value.message == f"some of these points were not updated, for {reason}; it is set aside, the rest serves"
    assert found(SHAPE, collection) == left_without(grown, name)
    assert database.status()["quarantined"] == {f"{NAME}/{name}": reason}
    database.close()
    database = Database(opened(folder))  # and when it is replayed
    assert found(SHAPE, database[NAME]) == left_without(grown, name)
    assert database[NAME].search(np.ones(8)).coverage.holders[f"s0/{name}"] == "down"
    database.close()


def test_an_unreadable_payload_is_a_named_error(grown: Grown, folder: Path) -> None:
    path = points_files(folder)[0]
    content = path.read_bytes()
    stored = next(point for key, point in grown.world.points.items() if key in grown.segments[path.parent.name])
    at = content.index(msgspec.msgpack.encode(stored.payload))
    path.write_bytes(content[:at] + b"\xc1" + content[at + 1 :])
    database = Database(opened(folder))
    unreadable = 0
    for hit in database[NAME].scroll():
        try:
            assert hit.payload == grown.world.points[hit.id].payload  # type: ignore[index]
        except SegmentCorrupt as error:
            assert error.message == "a stored payload cannot be read"
            assert error.hint == "run verify: it names the damaged file"
            unreadable += 1
    assert unreadable == 1
    assert not database.verify()["healthy"]
    database.close()


@pytest.mark.parametrize("index", ["vector.scan", "vector.probe", "text"])
@pytest.mark.parametrize("harm", ["changed", "cut", "missing"])
def test_a_damaged_index_is_made_anew_and_named(grown: Grown, folder: Path, index: str, harm: str) -> None:
    path = points_files(folder)[0].parent / index
    if path.is_dir():
        path = max(path.iterdir(), key=lambda each: each.stat().st_size)
    if harm == "changed":
        flip(path, path.stat().st_size // 2)
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    else:
        path.unlink()
    for read_only in (True, False):
        database = Database(opened(folder, read_only=read_only))
        assert database.status()["healthy"]
        agree_but_verify(database, grown.world)
        [damaged] = database.verify()["damaged"]
        assert damaged["file"] == f"{NAME}/{path.relative_to(home(folder)).as_posix()}"
        database.close()


def agree_but_verify(database: Database, world: World) -> None:
    """Ask in all ways, and let verify find what it finds."""
    dice = random.Random(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "verify", lambda: {"healthy": True})
        expect_agreement(SHAPE, database, world, dice)


def test_a_damaged_newest_manifest_costs_nothing(grown: Grown, folder: Path) -> None:
    newest = sorted(home(folder).glob("manifests/*"))[-1]
    flip(newest, 40)
    embedded = opened(folder)
    database = Database(embedded)
    agree(database, grown.world)
    reason = f"manifest manifests/{newest.name} is damaged or was cut off"
    assert database.status()["quarantined"] == {f"{NAME}/manifests/{newest.name}": reason}
    assert database.verify()["damaged"] == [{"file": f"{NAME}/manifests/{newest.name}", "reason": reason}]
    world = grown.world
    for tag in (70, 71, 72):
        deed = Deed("add", [id_of(number) for number in range(300, 400)], tag)
        perform(database, database[NAME], SHAPE, deed)
        world = after(world, SHAPE, deed)
        work(embedded)
    database.close()
    assert not newest.exists()
    database = Database(opened(folder))
    expect_agreement(SHAPE, database, world, random.Random(2))
    database.close()


def agree(database: Database, world: World) -> None:
    assert found(SHAPE, database[NAME]) == world.points


def test_without_any_manifest_that_can_be_read_a_trimmed_log_is_refused(folder: Path) -> None:
    for manifest in home(folder).glob("manifests/*"):
        flip(manifest, 40)
    for read_only in (True, False):
        database = Database(opened(folder, read_only=read_only))
        with pytest.raises(LogCorrupt, match=r"entries before \d+ were trimmed from the log in .*; entry 1 was asked for"):
            database[NAME]
        database.close()


def test_a_collection_whose_log_is_damaged_is_named_and_the_others_serve(grown: Grown, folder: Path) -> None:
    database = Database(opened(folder))
    SHAPE.collection(database, ASIDE).add(ids=[1], vectors=[[1.0] * 8])
    database.close()
    last = sorted(home(folder).glob("log/*"))[-1]
    flip(last, 100)
    before = {path: path.read_bytes() for path in home(folder).rglob("*") if path.is_file()}
    database = Database(opened(folder))
    with pytest.raises(LogCorrupt, match=rf"{last} is damaged at byte 64: entry \d+ fails its checksum, and sound entries follow it"):
        database[NAME]
    assert database[ASIDE].count() == 1
    assert database.collections() == [ASIDE, NAME]
    [(name, reason)] = database.status()["quarantined"].items()
    assert name == NAME
    assert str(last) in reason
    assert database.verify()["damaged"] == [{"file": NAME, "reason": reason}]
    database.close()
    assert {path: path.read_bytes() for path in home(folder).rglob("*") if path.is_file()} == before


def test_a_reader_serves_what_comes_before_the_damage_in_a_log(grown: Grown, folder: Path) -> None:
    last = sorted(home(folder).glob("log/*"))[-1]
    flip(last, 100)
    database = Database(opened(folder, read_only=True))
    first = int(last.name.partition(".")[0])
    assert found(SHAPE, database[NAME]) == grown.worlds[max(position for position in grown.worlds if position < first)].points
    [(name, reason)] = database.status()["quarantined"].items()
    assert name == f"{NAME}/log"
    assert str(last) in reason
    assert any(each["file"] == f"{NAME}/log" for each in database.verify()["damaged"])
    database.close()


def test_a_log_that_ends_before_its_snapshot_is_refused(grown: Grown, folder: Path) -> None:
    logs = sorted(home(folder).glob("log/*"))
    for path in logs[1:]:
        path.unlink()
    content = logs[0].read_bytes()
    logs[0].write_bytes(content[:64])
    database = Database(opened(folder))
    with pytest.raises(LogCorrupt, match=r"the log ends at entry \d+, but a snapshot of entry \d+ was made"):
        database[NAME]
    database.close()
    reader = Database(opened(folder, read_only=True))
    assert reader[NAME].count() > 0
    assert list(reader.status()["quarantined"]) == [f"{NAME}/log"]
    reader.close()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff" * 40, b"[1, 2]", b'{"format": 1}', b'{"format":1,"xxh3":"\xb5","spec":{}}'])
def test_a_damaged_spec_is_named_and_the_other_collections_serve(folder: Path, content: bytes) -> None:
    database = Database(opened(folder))
    SHAPE.collection(database, ASIDE).add(ids=[1], vectors=[[1.0] * 8])
    database.close()
    (home(folder) / "spec.json").write_bytes(content)
    database = Database(opened(folder))
    with pytest.raises(StoreUnreadable, match=f"spec.json of collection '{NAME}' is damaged"):
        database[NAME]
    with pytest.raises(StoreUnreadable, match=f"spec.json of collection '{NAME}' is damaged"):
        SHAPE.collection(database)
    assert database[ASIDE].count() == 1
    assert database.status()["quarantined"] == {NAME: f"spec.json of collection '{NAME}' is damaged"}
    assert database.verify()["damaged"] == [{"file": NAME, "reason": f"spec.json of collection '{NAME}' is damaged"}]
    database.close()


def test_a_changed_digit_in_a_spec_is_found(folder: Path) -> None:
    path = home(folder) / "spec.json"
    path.write_bytes(path.read_bytes().replace(b'"dimensions":8', b'"dimensions":9'))
    database = Database(opened(folder))
    with pytest.raises(StoreUnreadable, match="is damaged"):
        database[NAME]
    database.close()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff" * 40, b'{"format": "one"}', b'{"format":1,"database":"\xb5"}'])
@pytest.mark.parametrize("read_only", [True, False])
def test_a_damaged_identity_is_named(folder: Path, content: bytes, read_only: bool) -> None:
    (folder / "paradox.json").write_bytes(content)
    with pytest.raises(StoreUnreadable, match=r"paradox\.json is damaged"):
        opened(folder, read_only=read_only)


# Any place


@settings(max_examples=200, deadline=None)
@given(harmed=st.fixed_dictionaries(HARMED))
def test_whatever_happens_to_a_file_nothing_wrong_is_called_sound(
    grown: Grown, tmp_path_factory: pytest.TempPathFactory, harmed: dict[str, Any]
) -> None:
    harm_and_look(grown, tmp_path_factory.getbasetemp(), **harmed)


# What was lost comes back


def damage_section(path: Path, section: str) -> None:
    """Flip a bit in one array of a segment's points."""
    place = Container(path).footer.sections[section]
    flip(path, place.offset + place.length // 2)


def test_what_was_lost_is_whole_again_once_it_is_written_anew_or_deleted(grown: Grown, folder: Path) -> None:
    damaged = points_files(folder)[0]
    name = damaged.parent.name
    damage_section(damaged, "at_us")
    lost = sorted(grown.world.points.keys() - left_without(grown, name).keys(), key=str)
    embedded = opened(folder)
    database = Database(embedded)
    collection, world = database[NAME], World(left_without(grown, name))
    share = collection.search(np.ones(8)).coverage.share
    assert share < 1
    for number, deed in enumerate((Deed("add", lost[3:-4], 71), Deed("delete", lost[:3], 0))):  # the deleted ones are there no more
        perform(database, collection, SHAPE, deed)
        world = after(world, SHAPE, deed) if not number else world
        before, share = share, collection.search(np.ones(8)).coverage.share
        assert before < share < 1 if not number else share == before  # what is not there is not deleted
    work(embedded)
    assert list(database.status()["quarantined"]) == [f"{NAME}/{name}"]
    database.close()
    embedded = opened(folder)
    database = Database(embedded)
    deed = Deed("add", [*lost[:3], *lost[-4:]], 72)
    perform(database, database[NAME], SHAPE, deed)
    world = after(world, SHAPE, deed)
    for _ in range(2):
        assert found(SHAPE, database[NAME]) == world.points
        assert database[NAME].search(np.ones(8)).coverage.share == 1
        assert database.status()["healthy"]
        assert database.verify()["healthy"]
        perform(database, database[NAME], SHAPE, Deed("add", [id_of(number) for number in range(200)], 73))
        world = after(world, SHAPE, Deed("add", [id_of(number) for number in range(200)], 73))
        work(embedded)
        database.close()
        embedded = opened(folder)
        database = Database(embedded)
    assert not damaged.exists()
    database.close()


def test_what_was_lost_without_its_ids_stays_lost(grown: Grown, folder: Path) -> None:
    damaged = points_files(folder)[0]
    damage_section(damaged, "key.hashes")
    database = Database(opened(folder))
    perform(database, database[NAME], SHAPE, Deed("add", list(grown.world.points), 71))
    assert database[NAME].search(np.ones(8)).coverage.share < 1
    assert not database.status()["healthy"]
    database.close()
