"""Every verb, on real folders."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import paradox as library

Command = Callable[..., Any]


def test_create_makes_a_collection_and_says_where(paradox: Command, tmp_path: Path) -> None:
    ran = paradox("create", "notes", "--dimensions", "8", "--metric", "dot", "--shards", "2", "--copies", "2", "--text", "title, body")
    assert (ran.code, ran.out) == (0, f"created notes in {tmp_path / 'memory'}\n")
    with library.connect(tmp_path / "memory", read_only=True) as database:
        spec = database["notes"].spec
    assert (spec.shards, spec.copies, spec.text) == (2, 2, ("title", "body"))
    assert (spec.vectors["vector"].dimensions, spec.vectors["vector"].metric) == (8, "dot")


def test_create_again_with_the_same_words_changes_nothing(paradox: Command) -> None:
    assert paradox("create", "notes", "--dimensions", "8").code == 0
    again = paradox("create", "notes", "--dimensions", "8", "--json")
    assert again.code == 0
    assert again.json["created"] is False
    assert again.json["spec"]["vectors"]["vector"]["dimensions"] == 8


def test_create_with_other_words_is_a_conflict_that_shows_both(paradox: Command) -> None:
    paradox("create", "notes", "--dimensions", "8")
    ran = paradox("create", "notes", "--dimensions", "9")
    assert ran.code == 5
    assert "8" in ran.err
    assert "9" in ran.err


def test_create_takes_named_vectors(paradox: Command) -> None:
    ran = paradox("create", "films", "--vector", "title=4", "--vector", "image=6", "--json")
    assert {name: vector["dimensions"] for name, vector in ran.json["spec"]["vectors"].items()} == {"title": 4, "image": 6}


def test_collections_are_listed_with_their_sizes(squares: Command) -> None:
    assert squares("create", "empty", "--dimensions", "2").code == 0
    assert squares("collections", "--json").json == {"collections": [{"name": "empty", "points": 0}, {"name": "squares", "points": 3}]}
    assert squares("collections").out.split() == ["name", "points", "empty", "0", "squares", "3"]


def test_drop_needs_a_yes_where_nobody_can_be_asked(squares: Command) -> None:
    refused = squares("drop", "squares")
    assert refused.code == 2
    assert "add --yes" in refused.err
    assert squares("count", "squares").out == "3\n"
    assert squares("drop", "squares", "--yes").out == "dropped squares with 3 points\n"
    assert squares("collections", "--json").json == {"collections": []}


def test_add_prints_the_ids_and_a_payload_for_all(squares: Command) -> None:
    ran = squares("add", "squares", "--vector", "[5, 5]", "--vector", "[6, 6]", "--payload", '{"far": true}', "--json")
    assert ran.code == 0
    assert len(ran.json["ids"]) == 2
    assert ran.json["position"] > 0
    assert squares("count", "squares", "--where", "far = true").out == "2\n"


def test_add_reads_texts_from_a_file_and_from_standard_input(paradox: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paradox("create", "notes", "--encoder", "text")
    (tmp_path / "texts.txt").write_text("The tide turns.\n\n  Rust never sleeps.  \n", encoding="utf-8")
    assert len(paradox("add", "notes", "--file", str(tmp_path / "texts.txt"), "--json").json["ids"]) == 2
    monkeypatch.setattr("sys.stdin", io.StringIO("A gull.\nA boat.\n"))
    assert len(paradox("add", "notes", "--file", "-", "--json").json["ids"]) == 2
    assert paradox("count", "notes").out == "4\n"


def test_add_replaces_a_point_with_the_same_id(squares: Command) -> None:
    assert squares("add", "squares", "--vector", "[9, 9]", "--id", "up").code == 0
    assert squares("count", "squares").out == "3\n"
    assert squares("get", "squares", "up", "--vectors", "--json").json["points"][0]["vector"] == [9.0, 9.0]


def test_get_prints_points_in_the_order_asked(paradox: Command, notes: Path) -> None:
    points = paradox("get", "notes", "rust", "tide", "--json", data=notes).json["points"]
    assert [point["id"] for point in points] == ["rust", "tide"]
    assert points[0]["payload"] == {"topic": "metal", "year": 1979, "text": "Rust never sleeps."}
    assert points[1]["at"].startswith("1991-05-17T00:00:00")
    assert "score" not in points[0]


def test_get_tells_what_is_missing_and_how_much(paradox: Command, notes: Path) -> None:
    some = paradox("get", "notes", "tide", "nobody", data=notes)
    assert some.code == 6
    assert "The tide turns at noon." in some.out
    assert some.err == "missing: nobody\n"
    assert paradox("get", "notes", "nobody", data=notes).code == 4
    assert paradox("get", "notes", "nobody", "--json", data=notes).json == {"points": [], "missing": ["nobody"]}


def test_digits_name_a_text_id_first_and_a_number_else(paradox: Command, notes: Path, tmp_path: Path) -> None:
    assert paradox("get", "notes", "17", "--json", data=notes).json["points"][0]["id"] == "17"
    with library.connect(tmp_path / "memory") as database:
        database.collection("numbers", dimensions=2).add(ids=[17, -3], vectors=[[1, 0], [0, 1]])
    assert [point["id"] for point in paradox("get", "numbers", "17", "--json").json["points"]] == [17]
    assert paradox("delete", "numbers", "-3", "99", "--json").json == {"deleted": [-3], "missing": ["99"]}


def test_search_finds_by_meaning(paradox: Command, notes: Path) -> None:
    ran = paradox("search", "notes", "when does the sea change?", "-k", "2", data=notes)
    assert ran.code == 0
    first = ran.out.splitlines()[0]
    assert first.split()[1] == "tide"
    assert first.endswith("The tide turns at noon.")
    assert ran.err.startswith("2 points in ")


def test_search_takes_filters_times_and_modes(paradox: Command, notes: Path) -> None:
    def found(*words: str) -> list[str]:
        return sorted(hit["id"] for hit in paradox("search", "notes", *words, "--json", data=notes).json["hits"])

    assert found("boats", "--where", "topic = 'sea'") == ["gull", "tide"]
    assert found("boats", "--between", "1990", "1991") == ["tide"]
    assert found("boats", "--between", "1991-05-17", "1991-05-17") == ["tide"]
    assert found("boats", "--between", "2000", "-") == ["17", "gull"]
    assert found("sleeps", "--mode", "text") == ["rust"]
    assert "rust" in found("sleeps", "--mode", "hybrid")
    assert found("boats", "--modality", "image") == []
    assert found("--like", "tide", "-k", "1", "--exact") == ["tide"]


def test_search_explains_itself_when_asked(paradox: Command, notes: Path) -> None:
    ran = paradox("search", "notes", "boats", "--explain", "--recall", "0.99", data=notes)
    assert "expected recall" in ran.out
    plan = paradox("search", "notes", "boats", "--explain", "--json", data=notes).json["plan"]
    assert plan["shards_total"] == 1
    assert 0 <= plan["expected_recall"] <= 1


def test_search_says_its_coverage_in_json(paradox: Command, notes: Path) -> None:
    assert paradox("search", "notes", "boats", "--json", data=notes).json["coverage"]["share"] == 1.0


def test_search_with_a_vector(squares: Command) -> None:
    hits = squares("search", "squares", "--vector", "[0.1, 0.9]", "-k", "1", "--json").json["hits"]
    assert [hit["id"] for hit in hits] == ["up"]
    assert hits[0]["distance"] == pytest.approx(0.141421, abs=1e-4)


def test_no_match_is_an_answer_not_an_error(paradox: Command, notes: Path) -> None:
    ran = paradox("search", "notes", "boats", "--where", "year > 3000", data=notes)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.startswith("no point matches")


def test_explain_draws_the_plan_with_estimated_and_true_recall(paradox: Command, notes: Path) -> None:
    ran = paradox("explain", "notes", "boats", "-k", "2", data=notes)
    assert ran.code == 0
    assert "true recall of this question 1.000" in ran.out
    assert paradox("explain", "notes", "boats", "-k", "2", "--json", data=notes).json["sampled_recall"] == 1.0


def test_delete_by_id_tells_what_was_not_there(squares: Command) -> None:
    ran = squares("delete", "squares", "up", "nobody", "--json")
    assert ran.code == 6
    assert ran.json == {"deleted": ["up"], "missing": ["nobody"]}
    assert squares("delete", "squares", "up").code == 4
    assert squares("count", "squares").out == "2\n"


def test_delete_by_filter(squares: Command) -> None:
    squares("add", "squares", "--vector", "[5, 5]", "--payload", '{"far": true}')
    assert squares("delete", "squares", "--where", "far = true").out == "deleted 1 point\n"
    assert squares("count", "squares", "--json").json == {"count": 3}


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "arrow"])
def test_what_is_exported_can_be_imported(squares: Command, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"points.{ending}"
    assert squares("export", "squares", str(file), "--json").json["exported"] == 3
    squares("create", "again", "--dimensions", "2", "--metric", "euclidean")
    ran = squares("import", "again", str(file))
    assert ran.code == 0
    assert ran.out.startswith("imported 3 points in ")
    assert squares("get", "again", "both", "--vectors", "--json").json["points"][0]["vector"] == [1.0, 1.0]


def test_a_collection_is_described(paradox: Command, notes: Path) -> None:
    described = paradox("info", "notes", "--json", data=notes).json
    assert described["points"] == 4
    assert "topic" in described["fields"]
    ran = paradox("info", "notes", data=notes)
    assert ran.code == 0
    assert "topic" in ran.out


def test_status_begins_with_one_sentence(paradox: Command, notes: Path) -> None:
    ran = paradox("status", data=notes)
    assert ran.code == 0
    assert ran.out.splitlines()[0] == "●  healthy: 4 points in 1 collection"
    assert paradox("status", "--json", data=notes).json["healthy"] is True


def test_verify_reads_every_checksum(paradox: Command, notes: Path) -> None:
    ran = paradox("verify", data=notes)
    assert ran.code == 0
    assert ran.out.startswith("every checksum holds: ")
    assert paradox("verify", "--json", data=notes).json["damaged"] == []


def test_verify_names_a_damaged_file_and_exits_6(paradox: Command, tmp_path: Path) -> None:
    with library.connect(tmp_path / "memory") as database:
        collection = database.collection("notes", dimensions=2)
        for number in range(3):
            collection.add(ids=[number], vectors=[[1, number]])
    log = next(file for file in sorted((tmp_path / "memory").rglob("log/*")) if file.stat().st_size > 100)
    content = bytearray(log.read_bytes())
    content[len(content) // 3] ^= 0xFF
    log.write_bytes(content)
    ran = paradox("verify", "--json")
    assert ran.code == 6
    assert ran.json["healthy"] is False
    assert log.name in ran.json["damaged"][0]["reason"]
    assert paradox("verify").out.startswith("damaged: 1 of ")
    assert paradox("status").code == 6
    for ran in (paradox("count", "notes"), paradox("search", "notes", "--vector", "[1, 1]")):
        assert ran.code == 6  # what stands before the damage still serves, and is said to be a part
        assert "partial: " in ran.err


def test_doctor_checks_everything_and_advises(paradox: Command, notes: Path) -> None:
    ran = paradox("doctor", "--json", data=notes)
    checks = {check["check"]: check for check in ran.json["checks"]}
    assert ran.code == 0
    assert list(checks) == ["machine", "folder", "space", "writer", "sync", "kernels", "encoder", "database"]
    assert checks["encoder"]["verdict"] == "ok"
    assert "turbovec" in checks["kernels"]["found"]
    assert checks["database"]["found"] == "healthy: 4 points in 1 collection"


def test_doctor_names_who_writes(paradox: Command, tmp_path: Path) -> None:
    with library.connect(tmp_path / "memory"):
        checks = {check["check"]: check for check in paradox("doctor", "--json").json["checks"]}
    assert checks["writer"]["verdict"] == "warn"
    assert checks["writer"]["found"].startswith("process ")


def test_doctor_makes_no_folder(paradox: Command, tmp_path: Path) -> None:
    ran = paradox("doctor", data=tmp_path / "not" / "yet")
    assert ran.code == 0
    assert "does not exist yet" in ran.out
    assert not (tmp_path / "not").exists()


def test_readers_work_beside_a_writer(paradox: Command, tmp_path: Path) -> None:
    with library.connect(tmp_path / "memory") as database:
        database.collection("notes", dimensions=2).add(ids=["a"], vectors=[[1, 0]])
        assert paradox("count", "notes").out == "1\n"


def test_options_may_stand_before_the_verb(paradox: Command, notes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from paradox.cli import main

    assert main(["--data", str(notes), "--json", "count", "notes"]) == 0
    assert json.loads(capsys.readouterr().out) == {"count": 4}


def test_options_and_words_may_be_mixed(paradox: Command, notes: Path) -> None:
    ran = paradox("search", "notes", "-k", "1", "boats", "--where", "topic = 'sea'", "--json", data=notes)
    assert [hit["id"] for hit in ran.json["hits"]] == ["gull"]
