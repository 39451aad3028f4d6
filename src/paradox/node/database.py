"""A database whose collections are held in this very process, whatever catalogue names them: the Transport that serves every operation."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol

import xxhash

from paradox.encode.catalogue import resolve
from paradox.errors import (
    CollectionMissing,
    Damaged,
    EncoderMismatch,
    InvalidRequest,
    LogUnavailable,
    ParadoxError,
    StoreClosed,
    StoreReadOnly,
    StoreUnreadable,
)
from paradox.model import operations as ops
from paradox.model.schema import CollectionSpec, Limits, VectorSpec, check_name
from paradox.node import reads, writes
from paradox.node.by_hand import split_region
from paradox.node.catalogue import Kept
from paradox.node.encoding import ToldEncoder, resolve_told
from paradox.node.held import HeldCollection
from paradox.node.kernels import NativeKernels
from paradox.node.spec_words import check_same, wanted_spec
from paradox.node.status import describe_collection, describe_database, verify_database
from paradox.node.tally import Tally
from paradox.node.worker import Worker
from paradox.objects.local import LocalStore
from paradox.ports.disk import Disk
from paradox.ports.encode import Encoder
from paradox.ports.env import Env
from paradox.ports.log import Log


class Catalogue(Protocol):
    """Which collections there are."""

    def names(self) -> list[str]:
        """Return the names of all collections, sorted."""
        ...

    def find(self, name: str) -> Kept:
        """Return a collection. Raises CollectionMissing, FormatTooNew, StoreUnreadable."""
        ...

    def is_current(self, name: str, mark: object) -> bool:
        """Tell whether a collection is still there and the one that was opened."""
        ...

    def defaults(self) -> dict[str, Any]:
        """Return the words of a spec that nobody need say here."""
        ...

    def create(self, name: str, spec: CollectionSpec) -> None:
        """Make a collection. Nothing happens when another program made it first."""
        ...

    def open_log(self, name: str, kept: Kept) -> Log:
        """Return the log of a collection."""
        ...

    def drop(self, name: str) -> None:
        """Take a collection out, with all it has."""
        ...


class OpenedCollection:
    """A held collection with the encoders its callers named. mark: tells it from a later one of its name."""

    def __init__(self, held: HeldCollection, mark: object) -> None:
        self.held = held
        self.mark = mark
        self.encoders: dict[str, Encoder] = {}

    def view(self) -> ops.CollectionView:
        """Return it as clients see it."""
        id = f"{xxhash.xxh3_64_intdigest(repr(self.mark).encode()):016x}"
        return ops.CollectionView(name=self.held.name, spec=self.held.spec, id=id)

    def learn(self, encoders: dict[str, Encoder]) -> None:
        """Keep the encoders that a caller has named, if they are in this program."""
        self.encoders.update({vector: encoder for vector, encoder in encoders.items() if not isinstance(encoder, ToldEncoder)})

    def encoder(self, vector: str) -> Encoder:
        """Return the encoder of a vector. Raises EncoderMismatch when the collection has none, or one this program does not know."""
        known = self.encoders.get(vector)
        if known is not None:
            return known
        found = encoder_of(self.held.name, self.held.spec.vectors[vector])
        self.encoders[vector] = found
        return found


def encoder_of(collection: str, spec: VectorSpec) -> Encoder:
    """Return the encoder that a collection names for a vector. Raises EncoderMismatch when it names none, or one not known here."""
    if not spec.encoder:
        raise EncoderMismatch(
            f"collection {collection!r} has no encoder for texts: it was created with dimensions={spec.dimensions}",
            hint="give vectors, or create a collection with encoder='text'",
        )
    found = resolve(spec.encoder)
    if found.fingerprint != spec.fingerprint:
        raise EncoderMismatch(
            f"encoder {spec.encoder!r} here is {found.fingerprint}, collection {collection!r} was made with {spec.fingerprint}",
            hint="install the version it was made with, or add the texts to a new collection",
        )
    return found


class HeldDatabase:
    """Collections, opened when they are first used. Thread-safe: writers share syncs, readers never wait for them."""

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        path: str,
        disk: Disk,
        env: Env,
        limits: Limits,
        worker: Worker | None,
        read_only: bool = False,
        origin: str = "",
    ) -> None:
        """path: what names this database to its user. worker: None when another process writes.

        `held_anew` is called when a collection was opened.
        """
        self.catalogue = catalogue
        self.path = path
        self.disk = disk
        self.env = env
        self.limits = limits
        self.worker = worker
        self.read_only = read_only
        self.origin = origin
        self.tally = Tally(env)
        self._kernels = NativeKernels()
        self.held_anew: Callable[[OpenedCollection], None] = lambda _: None
        self._opened: dict[str, OpenedCollection] = {}
        self._guard = env.rlock()
        self._closed = False

    # -- the Transport

    def send(self, operation: ops.Operation) -> Any:
        """Return the reply that the operation's docstring names, or raise a ParadoxError."""
        self._refuse_if_closed()
        self.tally.note(operation)
        match operation:
            case ops.Ask(collection=name):
                return reads.ask(self.opened(name), operation, self.limits)
            case ops.AddPoints(collection=name):
                return writes.add(self.opened(name), operation, self.origin, self.limits)
            case ops.GetPoints(collection=name):
                return reads.get(self.opened(name), operation)
            case ops.UpdatePoints(collection=name):
                return writes.update(self.opened(name), operation, self.limits)
            case ops.DeletePoints(collection=name):
                return writes.delete(self.opened(name), operation, self.limits)
            case ops.CountPoints(collection=name):
                return reads.count(self.opened(name), operation, self.limits)
            case ops.ScrollPoints(collection=name):
                return reads.scroll(self.opened(name), operation, self.limits)
            case ops.ExplainPlan(collection=name):
                return reads.explain(self.opened(name), operation, self.limits)
            case ops.OpenCollection(name=name, wanted=wanted, create=create):
                return self._open_collection(name, wanted, create=create)
            case ops.ListCollections():
                return self.catalogue.names()
            case ops.DropCollection(name=name):
                return self._drop(name)
            case ops.DescribeCollection(collection=name):
                return describe_collection(self.opened(name).held)
            case ops.DescribeDatabase():
                return describe_database(self, *self._all_held())
            case ops.VerifyDatabase():
                return verify_database(*self._all_held(), self._refuse_if_closed)
            case ops.SplitRegion(collection=name, region=region):
                return split_region(self.opened(name).held, region)
            case ops.MoveShard(collection=name):
                raise InvalidRequest(f"all shards of {name!r} are in this one process", hint="between the nodes of a cluster they move")

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise StoreClosed("the database was closed", hint="connect again")

    def joins(self, collection: str) -> bool:
        """Tell whether one look can serve many questions: not before a first one has opened the collection."""
        opened = self._opened.get(collection)
        return opened is not None and len(opened.held.engine.shards) == 1

    def close(self) -> None:
        """Finish the running piece of background work and let go of the collections. Safe to call twice."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
        if self.worker is not None:
            self.worker.close()
        for opened in self._opened.values():
            opened.held.close()
        self._release()

    def _release(self) -> None:
        """Let go of what is not a collection."""

    def writer(self) -> dict[str, int] | None:
        """Return the process that writes, as far as it is known."""
        return None

    # -- collections

    def opened(self, name: str) -> OpenedCollection:
        """Return a collection, opening it when this is its first use. Raises CollectionMissing."""
        opened = self._opened.get(name)
        if opened is None or not self.catalogue.is_current(name, opened.mark):
            with self._guard:
                opened = self._opened.get(name)
                if opened is None or not self.catalogue.is_current(name, opened.mark):
                    self._let_go(name)
                    opened = self._opened[name] = self._hold(name)
        return opened

    def follow(self, marks: Collection[str]) -> None:
        """Apply what other programs appended to the logs of open collections with these marks. Raises what the last that failed raises."""
        failure: ParadoxError | None = None
        for name, opened in list(self._opened.items()):
            if str(opened.mark) not in marks:
                continue
            if not self.catalogue.is_current(name, opened.mark):
                with self._guard:
                    if self._opened.get(name) is opened:
                        self._let_go(name)
                continue
            try:
                opened.held.refresh()
            except ParadoxError as error:
                failure = error
                if opened.held.engine.applied + 1 < opened.held.log.first:  # trimmed: it needs a newer snapshot
                    with self._guard:
                        self._let_go(name)
        if failure is not None:
            raise failure

    def _hold(self, name: str) -> OpenedCollection:
        kept = self.catalogue.find(name)
        log = self.catalogue.open_log(name, kept)
        store = LocalStore(kept.folder, self.disk, read_only=self.read_only)
        held = HeldCollection(
            name,
            kept.spec,
            kept.folder,
            log=log,
            store=store,
            kernels=self._kernels,
            env=self.env,
            limits=self.limits,
            read_only=self.read_only,
            node=kept.node,
            shards=kept.shards,
        )
        opened = OpenedCollection(held, kept.mark)
        self.held_anew(opened)
        if self.worker is not None:
            self.worker.watch(held, store)
        return opened

    def all_opened(self) -> list[OpenedCollection]:
        """Return the collections that are open."""
        return list(self._opened.values())

    def _let_go(self, name: str) -> None:
        """Close a collection, if it is open."""
        opened = self._opened.pop(name, None)
        if opened is not None:
            if self.worker is not None:
                self.worker.forget(opened.held)
            opened.held.close()

    def _all_held(self) -> tuple[list[HeldCollection], dict[str, str]]:
        """Return the collections, and what is wrong with those that cannot be opened."""
        held, refused = [], {}
        for name in self.catalogue.names():
            try:
                held.append(self.opened(name).held)
            except CollectionMissing:
                continue  # dropped since
            except (Damaged, StoreUnreadable, LogUnavailable) as error:
                refused[name] = error.message
        return held, refused

    def _open_collection(self, name: str, wanted: dict[str, Any], *, create: bool) -> ops.CollectionView:
        check_name(name)
        if not create and not wanted:
            return self.opened(name).view()
        with self._guard:
            if create and name not in self._opened and name not in self.catalogue.names():
                if self.read_only:
                    raise StoreReadOnly(
                        f"collection {name!r} does not exist, and the database was opened with read_only=True",
                        hint="open it without read_only to create it",
                    )
                spec, encoders = wanted_spec(self.catalogue.defaults() | wanted, resolve_told)
                self.catalogue.create(name, spec)
                opened = self.opened(name)
                opened.learn(encoders)
            else:
                opened = self.opened(name)
                opened.learn(check_same(name, opened.held.spec, wanted, resolve_told))
            return opened.view()

    def _drop(self, name: str) -> None:
        if self.read_only:
            raise StoreReadOnly("this database was opened with read_only=True", hint="open it without read_only to write")
        self.catalogue.find(name)
        with self._guard:
            self._let_go(name)
            self.catalogue.drop(name)
