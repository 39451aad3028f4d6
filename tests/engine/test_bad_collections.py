"""Names and specifications that cannot be, and collections that are already something else."""

from __future__ import annotations

from typing import Any

import pytest

from engine.refusals import Refusal, World, expect_refused, lengths_of, need_no_wire, vowels_of
from engine.small import opened
from paradox.errors import EncoderMismatch, ParadoxError, SpecConflict

NAME_HINT = "use 1 to 128 letters, digits, '.', '_' or '-', starting with a letter or digit"
NAMES = {
    "../../x": "'../../x' cannot be a collection's name",
    "a/b": "'a/b' cannot be a collection's name",
    "a\\b": "'a\\\\b' cannot be a collection's name",
    "": "'' cannot be a collection's name",
    ".": "'.' cannot be a collection's name",
    "..": "'..' cannot be a collection's name",
    ".hidden": "'.hidden' cannot be a collection's name",
    "a.": "'a.' cannot be a collection's name",
    "a b": "'a b' cannot be a collection's name",
    "a\nb": "'a\\nb' cannot be a collection's name",
    "a\x00b": "'a\\x00b' cannot be a collection's name",
    "a\x1b[31m": "'a\\x1b[31m' cannot be a collection's name",
    "a\n": "'a\\n' cannot be a collection's name",
    "größe": "'größe' cannot be a collection's name",
    "C:": "'C:' cannot be a collection's name",
    "NUL.txt": "'NUL.txt' cannot be a collection's name: some systems keep it for a device",
    "x" * 200: f"'{'x' * 60}'… (200 characters) cannot be a collection's name",
}


def spec(**given: Any) -> Any:
    return lambda w: w.db.collection("new", **given)


REFUSALS = [
    Refusal("a number for a name", lambda w: w.db.collection(5, dimensions=3), "name.invalid",
            "the name of a collection is of type int; expected str"),
    Refusal("nothing said", spec(), "spec.invalid", "a new collection needs to know its vectors"),
    Refusal("two things said", spec(dimensions=3, vectors={"a": 3}), "spec.invalid", "both dimensions= and vectors= were given"),
    Refusal("no dimensions", spec(dimensions=0), "spec.invalid", "vector 'vector' has 0 dimensions; expected 1 to 16,384"),
    Refusal("negative dimensions", spec(dimensions=-3), "spec.invalid", "vector 'vector' has -3 dimensions; expected 1 to 16,384"),
    Refusal("too many dimensions", spec(dimensions=100_000), "spec.invalid",
            "vector 'vector' has 100,000 dimensions; expected 1 to 16,384"),
    Refusal("dimensions in words", spec(dimensions="384"), "spec.invalid", "dimensions is of type str; expected a whole number"),
    Refusal("dimensions in parts", spec(dimensions=3.5), "spec.invalid", "dimensions is of type float; expected a whole number"),
    Refusal("dimensions True", spec(dimensions=True), "spec.invalid", "dimensions is of type bool; expected a whole number"),
    Refusal("a metric", spec(dimensions=3, metric="manhattan"), "spec.invalid", "metric 'manhattan' is unknown"),
    Refusal("a metric that is no word", spec(dimensions=3, metric=3), "spec.invalid", "metric 3 is unknown"),
    Refusal("bits that fill no bytes", spec(dimensions=12, metric="hamming"), "spec.invalid",
            "vector 'vector' has 12 bits, which do not fill whole bytes"),
    Refusal("a time bucket", spec(dimensions=3, time_bucket="week"), "spec.invalid", "time_bucket='week' is unknown"),
    Refusal("a time bucket that is no word", spec(dimensions=3, time_bucket=7), "spec.invalid",
            "time_bucket is of type int; expected a word"),
    Refusal("no shards", spec(dimensions=3, shards=0), "spec.invalid", "shards=0; expected 1 to 4,096"),
    Refusal("many shards", spec(dimensions=3, shards=5_000), "spec.invalid", "shards=5000; expected 1 to 4,096"),
    Refusal("shards in words", spec(dimensions=3, shards="4"), "spec.invalid", "shards is of type str; expected a whole number"),
    Refusal("no copies", spec(dimensions=3, copies=0), "spec.invalid", "copies=0; expected 1 to 3"),
    Refusal("many copies", spec(dimensions=3, copies=4, shards=8), "spec.invalid", "copies=4; expected 1 to 3"),
    Refusal("more copies than shards", spec(dimensions=3, copies=3, shards=2), "spec.invalid",
            "copies=3 with shards=2: copies of a point live on different shards"),
    Refusal("no replicas", spec(dimensions=3, replicas=0), "spec.invalid", "replicas=0; expected 1 to 8"),
    Refusal("too many replicas", spec(dimensions=3, replicas=9), "spec.invalid", "replicas=9; expected 1 to 8"),
    Refusal("replicas", spec(dimensions=3, replicas=2), "spec.invalid", "replicas=2 needs a cluster: one folder holds each shard once"),
    Refusal("a rule for conflicts", spec(dimensions=3, conflicts="agree"), "feature.missing",
            "conflicts='agree' is not available in this version"),
    Refusal("a list of vectors", spec(vectors=[3]), "spec.invalid", "vectors= takes a dict of names and dimensions"),
    Refusal("no vectors", spec(vectors={}), "spec.invalid", "a collection needs at least one vector"),
    Refusal("a vector's name", spec(vectors={"a/b": 3}), "name.invalid", "'a/b' cannot be a vector's name"),
    Refusal("a vector's dimensions", spec(vectors={"a": "x"}), "spec.invalid",
            "vector 'a' is of type str; expected its number of dimensions"),
    Refusal("text fields", spec(dimensions=3, text=3), "spec.invalid", "text is of type int; expected names of payload fields"),
    Refusal("a text field", spec(dimensions=3, text=["a", 3]), "spec.invalid", "text holds a int; expected names of payload fields"),
    Refusal("an encoder", spec(encoder="magic"), "spec.invalid", "encoder 'magic' is unknown"),
    Refusal("an encoder that is none", spec(encoder=3), "spec.invalid",
            "encoder= is of type int; expected a name, a function or an encoder"),
    Refusal("an encoder of other dimensions", spec(encoder=lengths_of, dimensions=7), "spec.invalid",
            "encoder 'engine.refusals.lengths_of' makes 3 dimensions, not 7", here=True),
    Refusal("a collection that is not there", lambda w: w.db["nots"], "collection.missing", "there is no collection 'nots'"),
    Refusal("to drop what is not there", lambda w: w.db.drop("nothing"), "collection.missing", "there is no collection 'nothing'"),
    Refusal("to drop what is above", lambda w: w.db.drop("../notes"), "name.invalid", "'../notes' cannot be a collection's name"),
]  # fmt: skip

NOTES = "collection 'notes' exists with dimensions=3, metric='cosine', shards=1, copies=1, replicas=1, text=[], conflicts='latest'"
CONFLICTS = [
    ({"dimensions": 4}, f"{NOTES}; it was asked for with dimensions=4", "dimensions="),
    ({"metric": "dot"}, f"{NOTES}; it was asked for with metric='dot'", "metric="),
    ({"shards": 4, "dimensions": 3}, f"{NOTES}; it was asked for with dimensions=3, shards=4", "shards="),
    ({"dimensions": 4, "copies": 2}, f"{NOTES}; it was asked for with dimensions=4, copies=2", "dimensions= and copies="),
    ({"text": ["title"]}, f"{NOTES}; it was asked for with text=['title']", "text="),
    ({"time_bucket": "day"}, f"{NOTES}; it was asked for with time_bucket='day'", "time_bucket="),
    ({"vectors": {"a": 3}}, f"{NOTES.replace('dimensions=3', chr(39).join(('vectors={', 'vector', ': 3}')))}; "
                            "it was asked for with vectors={'a': 3}", "vectors="),
]  # fmt: skip


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
def test_it_is_refused_to_the_letter_and_nothing_changes(world: World, refusal: Refusal) -> None:
    expect_refused(world, refusal)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_that_is_no_folder_everywhere_is_refused(world: World, name: str) -> None:
    for ask in (lambda w: w.db.collection(name, dimensions=3), lambda w: w.db[name], lambda w: w.db.drop(name)):
        expect_refused(world, Refusal(name, ask, "name.invalid", NAMES[name]))
    assert sorted(path.name for path in world.folder.parent.iterdir() if path.name == "x") == []


@pytest.mark.parametrize(("given", "message", "differing"), CONFLICTS, ids=[str(conflict[0]) for conflict in CONFLICTS])
def test_a_collection_that_is_something_else_shows_both(world: World, given: dict[str, Any], message: str, differing: str) -> None:
    expect_refused(world, Refusal("", lambda w: w.db.collection("notes", **given), "spec.conflict", message))
    with pytest.raises(SpecConflict) as caught:
        world.db.collection("notes", **given)
    assert caught.value.hint == f"leave {differing} out to open it as it is, or choose another name"


def test_what_agrees_or_is_left_out_opens_it(world: World) -> None:
    for given in ({}, {"dimensions": 3}, {"metric": "cosine", "shards": 1}, {"text": []}, {"vectors": {"vector": 3}}):
        assert world.db.collection("notes", **given).count() == 3
    assert world.db.collection("films", vectors={"title": 3, "image": 2}).count() == 1
    need_no_wire(world)
    assert world.db.collection("texts", encoder=lengths_of, text="text").count() == 1


def test_another_encoder_would_mix_two_spaces(world: World) -> None:
    need_no_wire(world)
    before = world.state()
    with pytest.raises(EncoderMismatch) as caught:
        world.db.collection("texts", encoder=vowels_of)
    assert caught.value.code == "encoder.mismatch"
    told = caught.value.message
    assert told.startswith("collection 'texts' was made with encoder 'engine.refusals.lengths_of' (function/engine.refusals.lengths_of/3/")
    assert "), not with 'engine.refusals.vowels_of' (function/engine.refusals.vowels_of/3/" in told
    assert caught.value.hint == "open it with the same encoder, or add the texts to a new collection"
    with pytest.raises(EncoderMismatch, match="collection 'notes' was made with encoder 'none'"):
        world.db.collection("notes", encoder=lengths_of)
    assert world.state() == before


def test_a_function_that_only_its_program_has_must_be_given_again(tmp_path: Any) -> None:
    db, _ = opened(tmp_path)
    db.collection("texts", encoder=lengths_of).add(["one"], ids=["a"])
    db.close()
    db, _ = opened(tmp_path)
    texts = db["texts"]
    with pytest.raises(ParadoxError, match="is a function that only its program has"):
        texts.add(["two"])
    assert texts.count() == 1
    assert texts.search([3, 1, 2])[0].id == "a"
    db.collection("texts", encoder=lengths_of).add(["two"])
    assert texts.count() == 2
    db.close()


def test_near_names_of_collections_are_offered(world: World) -> None:
    with pytest.raises(ParadoxError) as caught:
        world.db["nots"]
    assert caught.value.hint == "did you mean 'notes'?"
    with pytest.raises(ParadoxError) as caught:
        world.db["zzz"]
    assert caught.value.hint == "there are: bits, films, notes, texts"
    with pytest.raises(ParadoxError) as caught:
        world.db.collection("new", dimensions=3, metric="cosin")
    assert caught.value.hint == "choose one of cosine, dot, euclidean, hamming"
    with pytest.raises(ParadoxError) as caught:
        world.db.collection("new", dimensions=3, time_bucket="weak")
    assert caught.value.hint == "choose one of day, month, year, decade, or None"


def test_every_hint_says_what_to_do(world: World) -> None:
    silent = []
    for refusal in REFUSALS:
        try:
            refusal.ask(world)
        except ParadoxError as error:
            if not error.hint:
                silent.append(refusal.name)
    assert silent == []
    with pytest.raises(ParadoxError) as caught:
        world.db.collection("a/b", dimensions=3)
    assert caught.value.hint == NAME_HINT
