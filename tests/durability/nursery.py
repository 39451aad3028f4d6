"""A program that raises writers and reports how they ended: a writer is forked for each order, so that it need not import anything.

It reads orders (JSON lines) on its standard input. On its standard output a writer says `born PID`, `open`, `begin THREAD DEED`,
`done THREAD` and `closed`; the nursery says `dead STATUS`.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import traceback
from pathlib import Path

import msgspec

from durability.lives import DEEDS_MAX, Shape, next_deed, number_of, perform
from paradox.client.sync import Collection, Database


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how a writer shall live. alone: it may delete by filter, and make and drop another collection."""

    folder: str
    shape: Shape
    seed: str
    origin: str
    alone: bool = True


def say(*words: str) -> None:
    os.write(1, (" ".join(words) + "\n").encode())


def live(order: Order) -> None:
    """Write until killed, or until DEEDS_MAX deeds are done."""
    shape = order.shape
    if shape.probes:
        import paradox.node.upkeep
        import paradox.shard.probing

        paradox.shard.probing.PROBE_POINTS_MIN = paradox.node.upkeep.MEASURED_POINTS_MIN = 150
    say(f"born {os.getpid()}")
    database = shape.open(Path(order.folder), origin=order.origin)
    collection = shape.collection(database)
    say("open")
    there = [hit.id for hit in collection.scroll()]
    turn = threading.Lock()
    threads = []
    for share in range(shape.threads):
        mine = {name for name in there if number_of(name) % shape.threads == share}  # type: ignore[arg-type]
        arguments = (order, database, collection, share, mine, turn)
        threads.append(threading.Thread(target=write, args=arguments, daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.close()
    say("closed")


def write(order: Order, database: Database, collection: Collection, share: int, mine: set[int | str], turn: threading.Lock) -> None:
    shape = order.shape
    dice = random.Random(f"{order.seed} {share}")
    try:
        for _ in range(DEEDS_MAX // shape.threads):
            deed = next_deed(dice, sorted(mine, key=str), shape, share=share, alone=order.alone and shape.threads == 1, origin=order.origin)
            with turn:
                say(f"begin {share}", msgspec.json.encode(deed).decode())
            named = perform(database, collection, shape, deed)
            with turn:
                say(f"done {share}")
            mine = mine | set(named) if deed.verb == "add" else mine - set(named) if deed.verb.startswith("delete") else mine
    except BaseException:
        give_up()


def give_up() -> None:
    """Say what went wrong, if anybody listens, and end at once."""
    try:
        say("error", msgspec.json.encode(traceback.format_exc()).decode())
    finally:
        os._exit(1)


def main() -> None:
    for line in sys.stdin.buffer:
        child = os.fork()
        if not child:
            try:
                live(msgspec.json.decode(line, type=Order))
            except BaseException:
                give_up()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        say(f"\ndead {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
