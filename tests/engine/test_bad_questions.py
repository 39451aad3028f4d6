"""Every question that cannot be answered is refused with one code and one message; filters draw a caret under the place."""

from __future__ import annotations

import numpy as np
import pytest

from engine.refusals import Refusal, World, expect_refused
from paradox import field
from paradox.errors import DeadlineExceeded, ParadoxError

Q = [1.0, 2.0, 3.0]
K_RANGE = "expected a whole number from 1 to 10,000"
RECALL = "expected a number above 0, up to 1"
OPERATORS = "=, !=, <, <=, >, >=, in, not in, between, contains, prefix, matches"

REFUSALS = [
    # queries
    Refusal("nothing", lambda w: w.notes.search(), "query.invalid", "a search was given neither a query nor like="),
    Refusal("two things", lambda w: w.notes.search(Q, like="a"), "query.invalid", "a search was given both a query and like="),
    Refusal("few dimensions", lambda w: w.notes.search([1, 2]), "vector.dimensions",
            "the query has 2 dimensions; collection 'notes' holds 3"),
    Refusal("few dimensions of many", lambda w: w.notes.search_many(np.ones((4, 2))), "vector.dimensions",
            "queries have 2 dimensions; collection 'notes' holds 3"),
    Refusal("NaN", lambda w: w.notes.search([1, 2, float("nan")]), "vector.not_finite",
            "query 0 has nan at component 2; expected finite numbers below 1e+16"),
    Refusal("infinity in one of many", lambda w: w.notes.search_many([Q, [1, float("inf"), 3]]), "vector.not_finite",
            "query 1 has inf at component 1; expected finite numbers below 1e+16"),
    Refusal("a zero query", lambda w: w.notes.search([0, 0, 0]), "vector.zero",
            "query 0 is a zero vector, which has no direction for cosine to compare"),
    Refusal("two rows", lambda w: w.notes.search([Q, Q]), "query.invalid", "the query has 2 rows; expected one vector"),
    Refusal("floats for bits", lambda w: w.bits.search([0.5, 0.5]), "vector.type", "vectors are of type float64; expected uint8"),
    Refusal("a text for many", lambda w: w.notes.search_many("abc"), "query.invalid",
            "queries are of type str; expected a list of texts or of vectors"),
    Refusal("texts and vectors", lambda w: w.texts.search_many(["one", Q]), "query.invalid",
            "query 1 is of type list, but others are texts"),
    Refusal("none among many", lambda w: w.notes.search_many([None, Q]), "query.invalid", "a query is None"),
    Refusal("text without an encoder", lambda w: w.notes.search("hello"), "encoder.mismatch",
            "collection 'notes' has no encoder for texts: it was created with dimensions=3"),
    Refusal("an unknown vector", lambda w: w.films.search(Q, using="sound"), "query.invalid", "collection 'films' has no vector 'sound'"),
    Refusal("like nobody", lambda w: w.notes.search(like="nobody"), "point.missing",
            "there is no point with id 'nobody' to search with"),
    Refusal("like a point without the vector", lambda w: w.films.search(like="f", using="image"), "query.invalid",
            "the point with id 'f' has no vector 'image' to search with"),
    Refusal("like what is no id", lambda w: w.notes.search(like=1.5), "id.invalid", "an id is of type float; expected str, int or UUID"),
    Refusal("like, by words", lambda w: w.texts.search(like="t", mode="hybrid"), "query.invalid",
            "like= asks with a stored vector, and mode='hybrid' needs a text"),
    Refusal("get what is no id", lambda w: w.notes.get(1.5), "id.invalid", "an id is of type float; expected str, int or UUID"),
    # k and recall
    Refusal("k 0", lambda w: w.notes.search(Q, 0), "k.range", f"k=0; {K_RANGE}"),
    Refusal("k below 0", lambda w: w.notes.search(Q, -1), "k.range", f"k=-1; {K_RANGE}"),
    Refusal("k of many", lambda w: w.notes.search_many([Q], 0), "k.range", f"k=0; {K_RANGE}"),
    Refusal("k too large", lambda w: w.notes.search(Q, 10_001), "k.range", f"k=10001; {K_RANGE}"),
    Refusal("k beyond 64 bits", lambda w: w.notes.search(Q, 2**70), "k.range", f"k=1180591620717411303424; {K_RANGE}", here=True),
    Refusal("k True", lambda w: w.notes.search(Q, True), "k.range", "k is of type bool; expected a whole number"),
    Refusal("k 2.5", lambda w: w.notes.search(Q, 2.5), "k.range", "k is of type float; expected a whole number"),
    Refusal("k '5'", lambda w: w.notes.search(Q, "5"), "k.range", "k is of type str; expected a whole number"),
    Refusal("k None", lambda w: w.notes.explain(Q, k=None), "k.range", "k is of type NoneType; expected a whole number"),
    Refusal("recall 0", lambda w: w.notes.search(Q, recall=0), "k.range", f"recall=0.0; {RECALL}"),
    Refusal("recall above 1", lambda w: w.notes.search(Q, recall=1.1), "k.range", f"recall=1.1; {RECALL}"),
    Refusal("recall below 0", lambda w: w.notes.search_many([Q], recall=-0.5), "k.range", f"recall=-0.5; {RECALL}"),
    Refusal("recall NaN", lambda w: w.notes.search(Q, recall=float("nan")), "k.range", f"recall=nan; {RECALL}"),
    Refusal("recall 'high'", lambda w: w.notes.search(Q, recall="high"), "k.range", "recall is of type str; expected a number"),
    Refusal("recall True", lambda w: w.notes.search(Q, recall=True), "k.range", "recall is of type bool; expected a number"),
    Refusal("a batch of none", lambda w: list(w.notes.scroll(batch=0)), "k.range", "batch=0; expected a whole number above 0"),
    Refusal("no time to answer", lambda w: w.notes.search(Q, within_s=0), "k.range",
            "within_s=0 is no time to wait; expected seconds above 0"),
    # words
    Refusal("a mode", lambda w: w.notes.search(Q, mode="magic"), "query.invalid", "mode='magic' is unknown"),
    Refusal("text mode without text", lambda w: w.notes.search("sea", mode="text"), "query.invalid",
            "mode='text' needs full text, but the collection indexes none"),
    Refusal("text mode with a vector", lambda w: w.texts.search(Q, mode="text"), "query.invalid",
            "mode='text' needs a text, and the query is a vector"),
    Refusal("a modality", lambda w: w.notes.search(Q, modality=3), "query.invalid", "modality is of type int; expected a word"),
    Refusal("a consistency", lambda w: w.notes.search(Q, consistency="maybe"), "query.invalid", "consistency='maybe' is unknown"),
    Refusal("after what", lambda w: w.notes.count(after="then"), "query.invalid", "after='then' is no position"),
    Refusal("between 5", lambda w: w.notes.search(Q, between=5), "query.invalid", "between=5 is not a pair of times"),
    Refusal("between noon and morning", lambda w: w.notes.search(Q, between=("2024-01-02", "2024-01-01")), "query.invalid",
            "between starts at 2024-01-02 and ends before, at 2024-01-01"),
    Refusal("between soon and later", lambda w: w.notes.search(Q, between=("soon", None)), "time.invalid",
            "the start of between is 'soon', which is not an ISO 8601 time"),
    # filters: fields and types
    Refusal("a field nearly right", lambda w: w.notes.search(Q, where="topc = 'sea'"), "filter.field",
            "no point has the field 'topc'; expected one that some point has"),
    Refusal("a field beneath", lambda w: w.notes.count("topic.deep = 1"), "filter.field",
            "no point has the field 'topic.deep'; expected one that some point has"),
    Refusal("text for a number", lambda w: w.notes.count("year = 'old'"), "filter.type",
            "field 'year' holds numbers; the filter compares it with text 'old'"),
    Refusal("a number for text", lambda w: w.notes.count(field("topic") > 3), "filter.type",
            "field 'topic' holds text; the filter compares it with number 3"),
    Refusal("contains of text", lambda w: w.notes.count("contains(topic, 's')"), "filter.type",
            "field 'topic' holds text; contains needs an array"),
    Refusal("prefix of a number", lambda w: w.notes.count("prefix(year, '19')"), "filter.type",
            "field 'year' holds numbers; prefix needs text"),
    Refusal("an order of bools", lambda w: w.notes.count("open > true"), "filter.type", "the filter orders 'open' by true and false"),
    Refusal("null", lambda w: w.notes.count(field("topic") == None), "filter.type",  # noqa: E711
            "the filter compares 'topic' with null, which counts as absent"),
    Refusal("no time", lambda w: w.notes.count("at > 'soon'"), "filter.type",
            "the filter compares 'at' with the text 'soon'; expected a time"),
    Refusal("a filter that is none", lambda w: w.notes.count(where=3), "filter.syntax",
            "a filter is of type int; expected a string, an expression made with paradox.field(…), or None"),
    Refusal("a value that is none", lambda w: w.notes.count(field("topic") == {1}), "filter.syntax",
            "field 'topic' is compared with a value of type set; expected text, a number, a bool or None"),
]  # fmt: skip


def drawn(problem: str, place: int, where: str, expected: str) -> str:
    """Return a message with its caret."""
    caret = " " * (place - 1) + "^"
    return f"{problem}, at character {place}:\n  {where}\n  {caret}\n{expected}"


VALUES = "expected one of: text in quotes, a number, true, false, null"
CARETS = [
    ("an unknown operator", "year ~ 3", 6, "the filter cannot be read", f"expected one of: {OPERATORS}"),
    ("an operator of elsewhere", "year like 3", 6, "the filter cannot be read", f"expected one of: {OPERATORS}"),
    ("an end too early", "year >= ", 9, "the filter ends too early", VALUES),
    ("a bracket left open", "topic = 'sea' and (year = 3", 19, "the '(' opened here is never closed", "expected ')'"),
    ("a quote left open", "topic = 'sea", 9, "the text opened here is never closed", "expected a closing '"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
def test_it_is_refused_to_the_letter_and_nothing_changes(world: World, refusal: Refusal) -> None:
    expect_refused(world, refusal)


@pytest.mark.parametrize(("name", "where", "place", "problem", "expected"), CARETS, ids=[caret[0] for caret in CARETS])
def test_a_filter_that_cannot_be_read_is_drawn_with_a_caret(
    world: World, name: str, where: str, place: int, problem: str, expected: str
) -> None:
    message = drawn(problem, place, where, expected)
    for ask in (
        lambda w: w.notes.search(Q, where=where),
        lambda w: w.notes.search_many([Q], where=where),
        lambda w: w.notes.count(where),
        lambda w: list(w.notes.scroll(where)),
        lambda w: w.notes.delete(where=where),
        lambda w: w.notes.explain(Q, where=where),
    ):
        expect_refused(world, Refusal(name, ask, "filter.syntax", message))


def test_near_names_are_offered(world: World) -> None:
    with pytest.raises(ParadoxError) as caught:
        world.notes.search(Q, where="topc = 'sea'")
    assert caught.value.hint == ("did you mean 'topic'? known fields: open, tags, topic, year; of every point: id, modality, at, origin")
    with pytest.raises(ParadoxError) as caught:
        world.notes.search(Q, mode="vektor")
    assert caught.value.hint == "choose one of vector, text, hybrid"
    with pytest.raises(ParadoxError) as caught:
        world.films.search(Q, using="titel")
    assert caught.value.hint == "its vectors are 'title', 'image'"


def test_a_filter_too_deep_is_refused_and_no_recursion_error(world: World) -> None:
    for where in ("not " * 5_000 + "year = 1", "(" * 5_000 + "year = 1" + ")" * 5_000):
        with pytest.raises(ParadoxError, match="the filter nests deeper than filter_depth_max = 100") as caught:
            world.notes.count(where)
        assert caught.value.code == "filter.syntax"
    tree = field("year") == 1
    for _ in range(5_000):
        tree = ~tree
    with pytest.raises(ParadoxError) as caught:
        world.notes.count(tree)
    assert caught.value.code == "filter.syntax"


def test_a_position_that_is_not_there_yet_is_not_waited_for(world: World) -> None:
    with pytest.raises(DeadlineExceeded, match="position 1000000000 was asked for, but this collection stands at 1") as caught:
        world.notes.search(Q, after=10**9)
    assert caught.value.retryable


def test_an_answer_that_takes_too_long_is_refused(world: World) -> None:
    with pytest.raises(DeadlineExceeded, match=r"the search took .* ms; 0.0 ms were allowed"):
        world.notes.search(Q, within_s=1e-9)


def test_an_empty_collection_answers_every_sound_question_with_nothing(world: World) -> None:
    world.db.collection("empty", dimensions=3)
    empty = world.db["empty"]
    assert empty.search(Q) == []
    assert empty.search(Q, where="whatever = 3 and not exists(that)") == []
    assert empty.search_many([Q, Q], where="whatever = 3") == [[], []]
    assert empty.search(Q, exact=True, modality="text", between=("2000-01-01", None)) == []
    assert empty.count("whatever = 3") == 0
    assert empty.get(["a"]) == []
    assert list(empty.scroll("whatever = 3")) == []
    assert empty.delete(["a"]).ids == []
    assert empty.search(Q).plan is not None
    assert str(empty.explain(Q))
    assert empty.search_many([]) == []
    world.db.drop("empty")


def test_every_hint_says_what_to_do(world: World) -> None:
    """Where the message draws what is valid at the caret, or says what the field holds, there is nothing to add."""
    silent = []
    for refusal in REFUSALS:
        try:
            refusal.ask(world)
        except ParadoxError as error:
            if not error.hint:
                silent.append(refusal.name)
    assert silent == ["text for a number"]
