"""What every ObjectStore must do. Subclass `ObjectStoreConformance` and give it the fixture `store`: a new, empty ObjectStore."""

from __future__ import annotations

import pytest

from paradox.errors import NameInvalid, ObjectConflict
from paradox.ports.objects import ObjectStore

BAD_NAMES = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "a/..",
    "../a",
    "a/./b",
    "a\nb",
    "a\0b",
    "a\\b",
    ".hidden",
    "a/.b",
    "x" * 256,
    "\ud800",
]


class ObjectStoreConformance:
    def test_an_object_comes_back_as_it_was_put(self, store: ObjectStore) -> None:
        store.put("segments/s1/vectors", [b"one", bytearray(b" two"), memoryview(b" three")])
        assert store.get("segments/s1/vectors") == b"one two three"

    def test_an_object_may_be_empty(self, store: ObjectStore) -> None:
        store.put("empty", [])
        assert store.get("empty") == b""
        assert store.list() == ["empty"]

    @pytest.mark.parametrize("content", [b"first", b"second"])
    def test_a_name_is_given_once(self, store: ObjectStore, content: bytes) -> None:
        store.put("a", [b"first"])
        with pytest.raises(ObjectConflict, match="'a' exists already"):
            store.put("a", [content])
        assert store.get("a") == b"first"
        assert store.list() == ["a"]

    def test_a_deleted_name_is_free_again(self, store: ObjectStore) -> None:
        store.put("a", [b"first"])
        store.delete("a")
        assert store.list() == []
        store.put("a", [b"second"])
        assert store.get("a") == b"second"

    def test_getting_what_is_not_there_is_a_key_error(self, store: ObjectStore) -> None:
        store.put("folder/a", [b"x"])
        for name in ("a", "folder", "folder/b", "folder/a/b"):
            with pytest.raises(KeyError, match=name):
                store.get(name)

    def test_deleting_what_is_not_there_is_no_error(self, store: ObjectStore) -> None:
        store.put("folder/a", [b"x"])
        for name in ("a", "folder", "folder/b", "folder/a/b"):
            store.delete(name)
        assert store.list() == ["folder/a"]

    def test_names_are_listed_sorted_by_prefix(self, store: ObjectStore) -> None:
        names = ["b", "a/2", "a/10", "a/b/c", "ab", "a-z", "Z", "é/ü"]
        for name in names:
            store.put(name, [name.encode()])
        for prefix in ("", "a", "a/", "a/1", "a/b/", "b", "é", "nothing", "a/b/c", "a/b/cd", "a//", "/", "..", "../", "/a", "./"):
            assert store.list(prefix) == sorted(name for name in names if name.startswith(prefix))

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_a_name_that_is_not_the_same_everywhere_is_refused(self, store: ObjectStore, name: str) -> None:
        for call in (lambda: store.put(name, [b"x"]), lambda: store.get(name), lambda: store.delete(name)):
            with pytest.raises(NameInvalid, match="cannot be an object's name"):
                call()
        assert store.list() == []
