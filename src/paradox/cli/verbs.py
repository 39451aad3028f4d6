"""Verbs: one function each; it asks the public API and shows what came back. Each returns the exit code."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from paradox.cli import operating, serving
from paradox.cli.arguments import OF_THIS_MACHINE, UsageInvalid, folder_of
from paradox.cli.opening import open_to_read, open_to_write, pick
from paradox.cli.screen import Screen, counted, seconds, size
from paradox.cli.show import plain_answer, plain_hit, plain_plan, show_details, show_hits, show_plan, show_rows
from paradox.cli.words import find_ids, read_payload, read_sizes, read_time, read_vector
from paradox.errors import Missing

if TYPE_CHECKING:
    from paradox import Collection

OK, FAILED, MISSING, PARTIAL = 0, 1, 4, 6
BATCH_POINTS = 512
SPEC_OPTIONS = ("encoder", "dimensions", "metric", "shards", "copies", "time_bucket")


def run(arguments: Namespace, screen: Screen) -> int:
    """Run the verb that was typed and return its exit code. Raises ParadoxError."""
    if arguments.url is not None and arguments.verb in OF_THIS_MACHINE:
        raise UsageInvalid(f"{arguments.verb} takes no --url", hint="it looks at this machine: give --data DIR, or nothing")
    verb: Callable[[Namespace, Screen], int] = VERB_FUNCTIONS[arguments.verb]
    return verb(arguments, screen)


def run_demo(arguments: Namespace, screen: Screen) -> int:
    """Take the guided tour."""
    from paradox.cli.demo import run_tour

    return run_tour(arguments.chapters, arguments.data, screen)


def run_bench(arguments: Namespace, screen: Screen) -> int:
    """Measure. The measuring prints for itself."""
    from paradox.cli import bench

    return bench.run(arguments)


def create(arguments: Namespace, screen: Screen) -> int:
    """Create a collection, or find it as asked for."""
    spec = {name: value for name in SPEC_OPTIONS if (value := getattr(arguments, name)) is not None}
    if arguments.vector:
        spec["vectors"] = read_sizes(arguments.vector)
    if not {"encoder", "dimensions", "vectors"} & spec.keys():
        raise UsageInvalid(
            "create needs to know the vectors of the collection",
            hint="--encoder text for texts, --dimensions 384 for vectors that you bring, --vector title=384 for named ones",
        )
    if arguments.text:
        spec["text"] = [field.strip() for field in arguments.text.split(",") if field.strip()]
    with open_to_write(arguments, new=True) as database:
        existed = arguments.collection in database.collections()
        made = database.collection(arguments.collection, **spec).spec
    screen.document({"collection": arguments.collection, "created": not existed, "spec": made})
    if existed:
        screen.line(f"{arguments.collection} is there already, just as asked for")
    else:
        screen.line(("created ", "green"), arguments.collection, f" in {arguments.url or folder_of(arguments)}")
    return OK


def collections(arguments: Namespace, screen: Screen) -> int:
    """List the collections with their sizes."""
    with open_to_read(arguments) as database:
        rows = [{"name": name, "points": database[name].count()} for name in database.collections()]
    screen.document({"collections": rows})
    if rows:
        show_rows(screen, rows)
    else:
        screen.note("no collections yet: `paradox create notes --encoder text` makes one")
    return OK


def drop(arguments: Namespace, screen: Screen) -> int:
    """Delete a collection, after a question on a terminal."""
    with open_to_write(arguments) as database:
        points = pick(database, arguments.collection).count()
        if not arguments.yes and not _agreed(f"delete {arguments.collection} with its {counted(points, 'point')} for ever?", screen):
            return FAILED
        database.drop(arguments.collection)
    screen.document({"dropped": arguments.collection, "points": points})
    screen.line(("dropped ", "green"), f"{arguments.collection} with {counted(points, 'point')}")
    return OK


def _agreed(question: str, screen: Screen) -> bool:
    if screen.json or not sys.stdin.isatty():
        raise UsageInvalid(f"{question[:-1]} needs a yes", hint="add --yes")
    print(f"{question} [y/N] ", end="", file=screen.err, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def add(arguments: Namespace, screen: Screen) -> int:
    """Add texts or vectors from the command line, a file or standard input."""
    started = time.monotonic()
    vectors = [read_vector(word) for word in arguments.vector or ()]
    payloads = [read_payload(word) for word in arguments.payload or ()]
    texts = [*arguments.texts, *(_lines(arguments.file) if arguments.file else ())]
    count = len(texts) or len(vectors)
    if texts and vectors and len(texts) != len(vectors):
        raise UsageInvalid(
            f"{counted(len(texts), 'text')} came with {counted(len(vectors), 'vector')}", hint="give as many of both, or only one kind"
        )
    if not count:
        raise UsageInvalid("there is nothing to add", hint='give texts ("like this"), --file FILE, or --vector JSON')
    if arguments.ids and len(arguments.ids) != count:
        raise UsageInvalid(
            f"{counted(count, 'point')} came with {counted(len(arguments.ids), 'id')}",
            hint="give one --id for each, in their order, or none",
        )
    if payloads and len(payloads) not in (1, count):
        raise UsageInvalid(
            f"{counted(count, 'point')} came with {counted(len(payloads), 'payload')}",
            hint="give one --payload for all, or one for each, in their order",
        )
    columns: dict[str, Sequence[Any] | None] = {
        "texts_or_points": texts or None,
        "vectors": vectors or None,
        "ids": arguments.ids,
        "payload": payloads * count if len(payloads) == 1 else payloads or None,
    }
    shared = {"modality": arguments.modality, "at": read_time(arguments.at) if arguments.at else None}
    with open_to_write(arguments) as database:
        collection = pick(database, arguments.collection)
        ids, position = [], 0
        with screen.progress("adding", count if count > BATCH_POINTS else 0) as advance:
            for start in range(0, count, BATCH_POINTS):
                batch = {name: column[start : start + BATCH_POINTS] if column else None for name, column in columns.items()}
                receipt = collection.add(batch.pop("texts_or_points"), **batch, **shared)
                ids += receipt.ids
                position = receipt.position
                advance(len(receipt.ids))
    screen.document({"ids": ids, "position": position})
    shown = ", ".join(str(id) for id in ids[:5]) + (", …" if count > 5 else "")
    screen.line(("added ", "green"), f"{counted(count, 'point')}: ", (shown, "cyan"))
    screen.note((f"on disk at position {position:,} after {seconds(time.monotonic() - started)}", "dim"))
    return OK


def _lines(file: str) -> Iterator[str]:
    """Yield the lines of a file, or of standard input for "-", without those that are empty."""
    if file == "-":
        yield from (line.strip() for line in sys.stdin if line.strip())
        return
    path = Path(file)
    if not path.is_file():
        raise Missing(f"there is no file {file}", hint="give the path of a text file with one text a line, or - for standard input")
    try:
        with path.open(encoding="utf-8") as lines:
            yield from (line.strip() for line in lines if line.strip())
    except UnicodeDecodeError:
        raise UsageInvalid(
            f"{file} is not UTF-8 text", hint="convert it, for example with iconv; for tables use `paradox import`"
        ) from None
    except OSError as error:
        raise UsageInvalid(f"{file} cannot be read: {error.strerror}") from None


def get(arguments: Namespace, screen: Screen) -> int:
    """Print points by id."""
    with open_to_read(arguments) as database:
        collection = pick(database, arguments.collection)
        ids, missing = find_ids(collection, arguments.ids)
        hits = list(collection.get(ids, with_vectors=arguments.vectors)) if ids else []
    screen.document({"points": [plain_hit(hit, scored=False) for hit in hits], "missing": missing})
    show_hits(screen, hits, scored=False, full=True)
    return _tell_missing(missing, bool(hits), screen)


def _tell_missing(missing: Sequence[str], found_any: bool, screen: Screen) -> int:
    if not missing:
        return OK
    screen.note(("missing: ", "bold red"), ", ".join(missing))
    return PARTIAL if found_any else MISSING


def _question_of(arguments: Namespace, collection: Collection) -> dict[str, Any]:
    """Return what to ask, as `search` and `explain` take it. Raises UsageInvalid."""
    ways = [arguments.query is not None, arguments.like is not None, arguments.vector is not None]
    if sum(ways) != 1:
        raise UsageInvalid(
            "there is nothing to search for" if not any(ways) else "a search asks for one thing",
            hint='give a text ("like this"), --like ID or --vector JSON, one of them',
        )
    asked: dict[str, Any] = {"k": arguments.k, "where": arguments.where, "modality": arguments.modality, "using": arguments.using}
    asked |= {"mode": arguments.mode, "recall": arguments.recall, "exact": arguments.exact}
    if arguments.between:
        start, end = arguments.between
        asked["between"] = (read_time(start), read_time(end, end=True))
    if arguments.like is not None:
        ids, missing = find_ids(collection, [arguments.like])
        asked["like"] = ids[0] if ids else missing[0]
    else:
        asked["query"] = arguments.query if arguments.query is not None else read_vector(arguments.vector)
    return asked


def search(arguments: Namespace, screen: Screen) -> int:
    """Find the nearest points."""
    with open_to_read(arguments) as database:
        collection = pick(database, arguments.collection)
        asked = _question_of(arguments, collection)
        started = time.monotonic()
        hits = collection.search(**asked, explain=arguments.explain)
        elapsed_s = time.monotonic() - started
        plan = hits.plan if arguments.explain else None
        answer = plain_answer(hits) | {"elapsed_s": round(elapsed_s, 6)}
    if plan is not None:
        answer["plan"] = plain_plan(plan)
    screen.document(answer)
    show_hits(screen, hits, full=arguments.full)
    if plan is not None:
        screen.line()
        show_plan(screen, plan)
    count = counted(len(hits), "point") if hits else "no point matches"
    screen.note((f"{count} in {seconds(elapsed_s)}", "dim"))
    silent = ", ".join(f"{name} ({state})" for name, state in hits.coverage.holders.items() if state != "answered")
    if silent or hits.coverage.share < 1:
        screen.note(("partial: ", "bold yellow"), f"this answer stands for {hits.coverage.share:.1%} of the collection; {silent}")
        return PARTIAL
    return OK


def explain(arguments: Namespace, screen: Screen) -> int:
    """Draw the plan of a search, run both as planned and exactly."""
    with open_to_read(arguments) as database:
        collection = pick(database, arguments.collection)
        plan = collection.explain(**_question_of(arguments, collection))
    screen.document(plain_plan(plan))
    show_plan(screen, plan)
    return OK


def delete(arguments: Namespace, screen: Screen) -> int:
    """Delete points by id or by filter."""
    if bool(arguments.ids) == bool(arguments.where):
        raise UsageInvalid(
            "delete needs ids or a filter" + (", not both" if arguments.ids else ""),
            hint='`delete notes ID …` or `delete notes --where "year < 1800"`',
        )
    missing: list[str] = []
    gone: list[Any] = []
    with open_to_write(arguments) as database:
        collection = pick(database, arguments.collection)
        if arguments.where:
            gone = collection.delete(where=arguments.where).ids
        else:
            ids, missing = find_ids(collection, arguments.ids)
            gone = collection.delete(ids).ids if ids else []
    screen.document({"deleted": gone, "missing": missing})
    screen.line(("deleted ", "green"), counted(len(gone), "point"))
    return _tell_missing(missing, bool(gone), screen)


def count(arguments: Namespace, screen: Screen) -> int:
    """Count points."""
    with open_to_read(arguments) as database:
        collection = pick(database, arguments.collection)
        number = collection.count(where=arguments.where)
        damaged = collection.info()["quarantined"]
    screen.document({"count": number})
    screen.line(str(number))
    if damaged:
        screen.note(("partial: ", "bold yellow"), "points of damaged files are not counted; paradox verify names them")
    return PARTIAL if damaged else OK


def import_(arguments: Namespace, screen: Screen) -> int:
    """Add the points of a file."""
    if not Path(arguments.file).exists():
        raise Missing(f"there is no file {arguments.file}", hint="give the path of a Parquet, Arrow, JSON Lines or NumPy file")
    with open_to_write(arguments) as database:
        return _transfer(pick(database, arguments.collection).import_, "imported", arguments, screen)


def export(arguments: Namespace, screen: Screen) -> int:
    """Write every point to a file."""
    with open_to_read(arguments) as database:
        code = _transfer(pick(database, arguments.collection).export, "exported", arguments, screen)
    if Path(arguments.file).suffix == ".npy":
        screen.note(("vectors alone: ", "bold yellow"), ".npy holds no ids and no payloads; .npz, .jsonl and .parquet do")
    return code


def _transfer(move: Callable[..., int], done: str, arguments: Namespace, screen: Screen) -> int:
    started = time.monotonic()
    with screen.gauge(done.removesuffix("ed") + "ing") as moved:
        points = move(arguments.file, progress=moved)
    elapsed_s = time.monotonic() - started
    screen.document({done: points, "file": arguments.file, "elapsed_s": round(elapsed_s, 6)})
    screen.line((f"{done} ", "green"), f"{counted(points, 'point')} ", (f"in {seconds(elapsed_s)}", "dim"))
    return OK


def info(arguments: Namespace, screen: Screen) -> int:
    """Describe a collection."""
    with open_to_read(arguments) as database:
        described = pick(database, arguments.collection).info()
    screen.document(described)
    show_details(screen, described, indent=0)
    return OK


def status(arguments: Namespace, screen: Screen) -> int:
    """Say how the database is, in one sentence first."""
    with open_to_read(arguments) as database:
        described = database.status()
    screen.document(described)
    healthy = bool(described["healthy"])
    screen.line(("●  ", "green" if healthy else "red"), (described["sentence"], "bold"))
    show_details(screen, {name: value for name, value in described.items() if name not in ("healthy", "sentence")}, indent=3)
    return OK if healthy else PARTIAL


def verify(arguments: Namespace, screen: Screen) -> int:
    """Read every stored byte against its checksum."""
    started = time.monotonic()
    with open_to_read(arguments) as database:
        found = database.verify()
    elapsed_s = time.monotonic() - started
    screen.document(found)
    files, read = found["checked"], size(found["bytes"])
    if found["healthy"]:
        screen.line(("every checksum holds: ", "green"), f"{counted(files, 'file')}, {read} in {seconds(elapsed_s)}")
        return OK
    damaged = found["damaged"]
    screen.line(("damaged: ", "bold red"), f"{len(damaged)} of {counted(files, 'file')} ({read} read in {seconds(elapsed_s)})")
    show_rows(screen, damaged, indent=2)
    return PARTIAL


def run_sim(arguments: Namespace, screen: Screen) -> int:
    """Live through simulated clusters."""
    from paradox.cli.simulating import simulate

    return simulate(arguments, screen)


def run_doctor(arguments: Namespace, screen: Screen) -> int:
    """Check the machine, the folder and the parts we stand on."""
    from paradox.cli.doctor import examine

    return examine(folder_of(arguments), screen)


VERB_FUNCTIONS: Mapping[str, Callable[[Namespace, Screen], int]] = MappingProxyType(
    {
        "demo": run_demo,
        "create": create,
        "collections": collections,
        "drop": drop,
        "add": add,
        "get": get,
        "search": search,
        "delete": delete,
        "count": count,
        "import": import_,
        "export": export,
        "explain": explain,
        "serve": serving.serve,
        "up": serving.up,
        "info": info,
        "status": status,
        "top": operating.top,
        "split": operating.split,
        "move": operating.move,
        "doctor": run_doctor,
        "verify": verify,
        "bench": run_bench,
        "sim": run_sim,
    }
)
