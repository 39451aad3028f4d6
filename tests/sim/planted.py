"""Known bugs, planted in the program or under it, that the checkers must catch. Each is a mistake that one could make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from paradox.log.jetstream import JetStreamLog
from paradox.model.entries import Remove
from paradox.model.queries import Coverage
from paradox.node import parts
from paradox.node.done import Done
from paradox.node.held import HeldCollection
from paradox.node.member import Member
from paradox.node.snapshots import KEPT, Snapshots
from paradox.router.layout import Layout
from paradox.router.scatter import Scatter
from paradox.router.visiting import Visits
from paradox.sim.world import World

Plant = Callable[[pytest.MonkeyPatch, World], None]


def the_log_acknowledges_before_it_syncs(_: pytest.MonkeyPatch, world: World) -> None:
    world.servers.syncs = False


def the_log_ignores_conditions(_: pytest.MonkeyPatch, world: World) -> None:
    world.servers.checks = False


def disks_do_not_sync(_: pytest.MonkeyPatch, world: World) -> None:
    world.disk_syncs = False


def two_nodes_write_at_once(patch: pytest.MonkeyPatch, _: World) -> None:
    """Who appends takes the log's end for what it has applied."""
    append = JetStreamLog.append

    def blind(log: JetStreamLog, bodies: Any, *, after: int | None = None) -> int:
        log.refresh()
        return append(log, bodies, after=None)

    patch.setattr(JetStreamLog, "append", blind)


def a_write_asked_of_two_nodes_is_done_twice(patch: pytest.MonkeyPatch, _: World) -> None:
    patch.setattr(Done, "find", lambda *_: None)


def copies_outlive_a_delete(patch: pytest.MonkeyPatch, _: World) -> None:
    """Only the rows that answer for a point are deleted."""
    apply = Scatter.apply

    def half(scatter: Scatter, position: int, entry: Any) -> None:
        if isinstance(entry, Remove) and position % 5 == 0:
            scatter.kill([one for one in scatter.find_live(entry.keys) if one.segment.owned()[one.rows].all()], position)
            scatter.applied = position
        else:
            apply(scatter, position, entry)

    patch.setattr(Scatter, "apply", half)


def a_node_skips_an_entry(patch: pytest.MonkeyPatch, _: World) -> None:
    """One node in the cluster does not apply one entry of forty, but says that it has."""
    apply = HeldCollection._apply_to

    def deaf(held: HeldCollection, engine: Scatter, position: int, entry: Any) -> None:
        if held.node == "n1" and position % 40 == 39:
            engine.applied = position
        else:
            apply(held, engine, position, entry)

    patch.setattr(HeldCollection, "_apply_to", deaf)


def reads_do_not_wait_for_what_was_written(patch: pytest.MonkeyPatch, _: World) -> None:
    """Shows where nodes are not told that the log grows and read it now and then, which alone does no harm."""
    patch.setattr(parts, "prepare", lambda *_: None)
    patch.setattr(Member, "_appended", lambda *_: None)


def answers_leave_out_who_is_down(patch: pytest.MonkeyPatch, _: World) -> None:
    patch.setattr(Layout, "may_hide", lambda *_, **__: False)


def nodes_are_read_wherever_they_stand(patch: pytest.MonkeyPatch, _: World) -> None:
    patch.setattr("paradox.router.asking._agree", lambda *_: True)


def coverage_is_always_whole(patch: pytest.MonkeyPatch, _: World) -> None:
    patch.setattr(Visits, "coverage", lambda _: Coverage(share=1.0, holders={}))
    patch.setattr("paradox.router.cluster.ClusterTransport._may_hide", lambda *_: False)


def manifests_that_others_need_are_deleted(patch: pytest.MonkeyPatch, world: World) -> None:
    """Shows when a shard has come back to a node that had it before, which takes a long life."""
    world.lives_s = (24.0,) * 4
    patch.setattr(Snapshots, "_superseded", lambda self: self.names()[:-KEPT])


def the_log_is_trimmed_too_early(patch: pytest.MonkeyPatch, _: World) -> None:
    patch.setattr(Snapshots, "floor", lambda self, shards: max((one.position for one in self.of_all()), default=0))


PLANTED: dict[str, Plant] = {
    plant.__name__: plant
    for plant in (
        the_log_acknowledges_before_it_syncs,
        the_log_ignores_conditions,
        disks_do_not_sync,
        two_nodes_write_at_once,
        a_write_asked_of_two_nodes_is_done_twice,
        copies_outlive_a_delete,
        a_node_skips_an_entry,
        reads_do_not_wait_for_what_was_written,
        answers_leave_out_who_is_down,
        nodes_are_read_wherever_they_stand,
        coverage_is_always_whole,
        manifests_that_others_need_are_deleted,
        the_log_is_trimmed_too_early,
    )
}
