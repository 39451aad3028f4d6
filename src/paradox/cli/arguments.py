"""Arguments: the verbs, their options and an example of each; words that are near to a verb are named."""

from __future__ import annotations

import difflib
from argparse import SUPPRESS, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import NoReturn

import msgspec

from paradox.errors import InvalidRequest
from paradox.model.schema import METRICS, TIME_BUCKETS

DEFAULT_FOLDER, DEMO_FOLDER, CLUSTER_FOLDER = "./memory", "~/.cache/paradox/demo", "./cluster"
FOLDERS = MappingProxyType({"demo": DEMO_FOLDER, "up": CLUSTER_FOLDER})
"""Of verbs with a default folder of their own."""
OF_THIS_MACHINE = frozenset(("bench", "demo", "doctor", "serve", "sim", "up"))
"""Commands that look at this machine and take no --url."""
OF_K = frozenset(("--k", "--limit", "--n", "--num", "--size", "--top", "--top-k", "--topk", "--top_k"))
"""What others call -k."""
CHAPTERS = ("ingest", "search", "filter", "time", "hybrid", "words", "explain", "crash", "cluster", "map")


class UsageInvalid(InvalidRequest):
    """A command line that cannot be read."""

    code = "usage.invalid"


class Verb(msgspec.Struct, frozen=True):
    """One thing the command does. arrange: adds its own arguments to its parser."""

    name: str
    summary: str
    example: str
    arrange: Callable[[ArgumentParser], None]
    group: str


class Parser(ArgumentParser):
    """A parser whose complaints are UsageInvalid, so that `--json` and exit codes hold for them too."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageInvalid with the complaint and the way to the help."""
        raise UsageInvalid(message, hint=f"`{self.prog} --help` shows an example")


def read_arguments(words: Sequence[str]) -> Namespace:
    """Return what the command line says; `verb` is None when none was named.

    Options of a verb may stand before, between and after its words. Raises UsageInvalid; a verb's `--help` prints and raises SystemExit(0).
    """
    place = _place_of_verb(words)
    leading = Parser(prog="paradox", add_help=False, allow_abbrev=False)
    leading.add_argument("--help", "-h", action="store_true", dest="help_wanted")
    leading.add_argument("--version", action="store_true", dest="version_wanted")
    _common(leading)
    arguments = _read(leading, words[:place], Namespace(verb=None))
    if place == len(words):
        return arguments
    verb = _verb_named(words[place])
    parser = Parser(
        prog=f"paradox {verb.name}",
        description=verb.summary[0].upper() + verb.summary[1:] + ".",
        epilog="example:\n" + "\n".join(f"  {line}" for line in verb.example.splitlines()),
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verb.arrange(parser)
    _common(parser, url=verb.name not in OF_THIS_MACHINE, folder=FOLDERS.get(verb.name, DEFAULT_FOLDER))
    return _read(parser, words[place + 1 :], Namespace(**{**vars(arguments), "verb": verb.name}))


def _read(parser: Parser, words: Sequence[str], into: Namespace) -> Namespace:
    arguments, unknown = parser.parse_known_intermixed_args(list(words), into)
    if unknown:
        raise UsageInvalid(f"unknown argument {unknown[0]!r}", hint=_near_option(unknown[0], parser))
    return arguments


def _place_of_verb(words: Sequence[str]) -> int:
    """Return where the first word stands that is neither an option nor the value of one; the end when there is none."""
    takes_value = False
    for place, word in enumerate(words):
        if not takes_value and not word.startswith("-"):
            return place
        takes_value = word in ("--data", "--url") and not takes_value
    return len(words)


def _verb_named(word: str) -> Verb:
    for verb in VERBS:
        if verb.name == word:
            return verb
    near = difflib.get_close_matches(word, VERB_NAMES, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(VERB_NAMES)}"
    raise UsageInvalid(f"{word!r} is not a command of paradox", hint=hint)


def overview() -> str:
    """Return the help of the command as a whole."""
    lines = ["usage: paradox VERB …", "", "A latent memory in a folder: texts and vectors, searched by meaning at a promised recall.", ""]
    for group in dict.fromkeys(verb.group for verb in VERBS):
        lines.append(group)
        lines += [f"  {verb.name:<12}{verb.summary}" for verb in VERBS if verb.group == group]
    return "\n".join([*lines, "", OVERVIEW_END])


OVERVIEW_END = """\
Every command takes --data DIR (the folder, default ./memory) or --url URL (a server, http://…, its key in
PARADOX_KEY; or a cluster's log servers, nats://…), --json (for programs),
--help (with an example).
Exit codes: 0 ok, 1 failed, 2 usage, 3 auth, 4 missing, 5 conflict, 6 partial.

example:
  paradox create notes --encoder text
  paradox add notes "The tide turns at noon." "Rust never sleeps."
  paradox search notes "when does the sea change?"
"""


def _common(parser: ArgumentParser, *, url: bool = True, folder: str = DEFAULT_FOLDER) -> None:
    """Add what every command takes. What was given before the verb is the default after it."""
    parser.add_argument("--data", metavar="DIR", help=f"the folder of the database (default {folder})")
    told = "a server instead, such as http://localhost:6500 (its key in PARADOX_KEY), or a cluster, nats://localhost:4222"
    parser.add_argument("--url", metavar="URL", help=told if url else SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    parser.add_argument("--debug", action="store_true", help="show where an unexpected error came from")


def folder_of(arguments: Namespace) -> str:
    """Return the folder as typed, or the default."""
    return arguments.data or FOLDERS.get(arguments.verb, DEFAULT_FOLDER)


def _near_option(word: str, parser: ArgumentParser) -> str:
    if word.split("=")[0] in OF_K and any("-k" in action.option_strings for action in parser._actions):  # noqa: SLF001
        return "give -k 5 for five points"
    known = sorted(option for action in parser._actions for option in action.option_strings if option.startswith("--"))  # noqa: SLF001
    near = difflib.get_close_matches(word.split("=")[0], known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return f"`{parser.prog} --help` shows what it takes" + ("" if word.startswith("-") else '; quote a text that has spaces: "like this"')


def _collection(parser: ArgumentParser) -> None:
    parser.add_argument("collection", metavar="COLLECTION", help="its name")


def _where(parser: ArgumentParser) -> None:
    parser.add_argument("--where", metavar="FILTER", help="only points that match, such as \"year >= 1990 and topic in ('sea', 'sky')\"")


def _question(parser: ArgumentParser) -> None:
    from paradox.model.queries import MODES  # brings NumPy, which `paradox --help` need not wait for

    _collection(parser)
    parser.add_argument("query", metavar="QUERY", nargs="?", help="a text, in your own words")
    parser.add_argument("-k", type=int, default=10, metavar="K", help="how many points (default 10)")
    parser.add_argument("--like", metavar="ID", help="ask with a stored point instead of a text")
    parser.add_argument("--vector", metavar="JSON", help="ask with a vector, such as '[0.1, 0.9]'")
    parser.add_argument("--using", metavar="NAME", help="which of several named vectors")
    _where(parser)
    parser.add_argument("--between", nargs=2, metavar=("FROM", "TO"), help="event times, both included: 1990, 1990-05 or 1990-05-17T10:00")
    parser.add_argument("--modality", metavar="NAME", help="only points of this modality, such as text or image")
    parser.add_argument("--mode", choices=MODES, default="vector", help="by meaning, by words, or both (default vector)")
    parser.add_argument("--recall", type=float, default=0.95, metavar="SHARE", help="the share of true neighbours to find (default 0.95)")
    parser.add_argument("--exact", action="store_true", help="compare with every point: recall 1.0")


def _demo(parser: ArgumentParser) -> None:
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help=f"some of: {', '.join(CHAPTERS)} (default: all)")


def _serve(parser: ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", metavar="HOST", help="where to listen (default 127.0.0.1); others need PARADOX_KEY")
    parser.add_argument("--port", type=int, default=6500, metavar="PORT", help="the port (default 6500); 0 takes any that is free")

    parser.add_argument("--config", metavar="FILE", help="one process of a cluster, as this file says (paradox.toml)")


def _up(parser: ArgumentParser) -> None:
    parser.add_argument("--nodes", type=int, default=3, metavar="N", help="how many nodes (default 3)")
    parser.add_argument("--host", default="127.0.0.1", metavar="HOST", help="where to listen (default 127.0.0.1); others need PARADOX_KEY")
    parser.add_argument("--port", type=int, default=6500, metavar="PORT", help="of the gateway (default 6500); 0 takes any that is free")


def _create(parser: ArgumentParser) -> None:
    _collection(parser)
    parser.add_argument("--encoder", metavar="NAME", help="turn texts into vectors here; 'text' needs no network")
    parser.add_argument("--dimensions", type=int, metavar="N", help="the length of vectors that you bring yourself")
    parser.add_argument("--vector", action="append", metavar="NAME=N", help="a named vector of N dimensions; may be repeated")
    parser.add_argument("--metric", choices=METRICS, help="how nearness is measured (default cosine)")
    parser.add_argument("--shards", type=int, metavar="N", help="in how many parts (default 1)")
    parser.add_argument("--copies", type=int, metavar="N", help="in how many regions a point is held (default 1)")
    parser.add_argument("--text", metavar="FIELD,…", help="payload fields under full-text search")
    parser.add_argument("--time-bucket", choices=TIME_BUCKETS, help="keep event times apart, so that questions about some skip the others")


def _add(parser: ArgumentParser) -> None:
    _collection(parser)
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="one point each")
    parser.add_argument("--file", metavar="FILE", help="one text a line; - reads standard input")
    parser.add_argument("--id", action="append", dest="ids", metavar="ID", help="an id, one for each text; made when left out")
    parser.add_argument("--payload", action="append", metavar="JSON", help="an object for every text, or one for each")
    parser.add_argument("--vector", action="append", metavar="JSON", help="a vector instead of a text; may be repeated")
    parser.add_argument("--modality", metavar="NAME", help="text, image, video, audio or a word of yours")
    parser.add_argument("--at", metavar="TIME", help="event time (default: now)")


def _get(parser: ArgumentParser) -> None:
    _collection(parser)
    parser.add_argument("ids", nargs="+", metavar="ID", help="taken as text; when no point has it, digits as a number, a UUID as a UUID")
    parser.add_argument("--vectors", action="store_true", help="with the vectors (shown with --json)")


def _search(parser: ArgumentParser) -> None:
    _question(parser)
    parser.add_argument("--explain", action="store_true", help="draw the plan below the answer")
    parser.add_argument("--full", action="store_true", help="print texts whole")


def _delete(parser: ArgumentParser) -> None:
    _collection(parser)
    parser.add_argument("ids", nargs="*", metavar="ID", help="taken as text; when no point has it, digits as a number, a UUID as a UUID")
    _where(parser)


def _count(parser: ArgumentParser) -> None:
    _collection(parser)
    _where(parser)


def _import(parser: ArgumentParser) -> None:
    _collection(parser)
    parser.add_argument("file", metavar="FILE", help="Parquet, Arrow, JSON Lines or NumPy, by its ending")


def _export(parser: ArgumentParser) -> None:
    _collection(parser)
    parser.add_argument("file", metavar="FILE", help="Parquet, Arrow, JSON Lines or NumPy, by its ending")


def _drop(parser: ArgumentParser) -> None:
    _collection(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask first")


def _split(parser: ArgumentParser) -> None:
    _collection(parser)
    parser.add_argument("region", metavar="REGION", help="such as r3; `paradox search … --explain --json` names those a question visits")


def _move(parser: ArgumentParser) -> None:
    _collection(parser)
    parser.add_argument("shard", metavar="SHARD", help="such as s3; `paradox info COLLECTION` lists them")
    parser.add_argument("node", metavar="NODE", help="such as n2; `paradox status` lists them")


def _top(parser: ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="one frame, and no more")
    parser.add_argument("--every", type=float, default=2.0, metavar="S", help="seconds between frames (default 2)")


def _bench(parser: ArgumentParser) -> None:
    from paradox.cli import bench

    bench.add_arguments(parser)


def _sim(parser: ArgumentParser) -> None:
    from paradox.cli import simulating

    simulating.add_arguments(parser)


def _nothing(parser: ArgumentParser) -> None:
    """Take nothing beyond what every command takes."""


START, POINTS, INSIDE, OPERATE = "start here", "points", "look inside", "operate"
VERBS = (
    Verb(
        "demo",
        "the guided tour: 236 years of real speeches, in about a minute",
        "paradox demo\nparadox demo search time",
        _demo,
        START,
    ),
    Verb(
        "create",
        "create a collection",
        "paradox create notes --encoder text --text text --time-bucket year\nparadox create faces --dimensions 384 --metric cosine",
        _create,
        START,
    ),
    Verb("collections", "list the collections", "paradox collections --data ./memory", _nothing, START),
    Verb("drop", "delete a collection with all its points", "paradox drop notes --yes", _drop, START),
    Verb(
        "add",
        "add points, or replace those with the same ids",
        'paradox add notes "The tide turns at noon." --id tide --payload \'{"topic": "sea"}\'\nparadox add notes --file texts.txt',
        _add,
        POINTS,
    ),
    Verb("get", "print points by id", "paradox get notes tide", _get, POINTS),
    Verb(
        "search",
        "find the points nearest to a question",
        'paradox search notes "when does the sea change?" -k 5 --where "topic = \'sea\'" --between 1990 2000 --explain',
        _search,
        POINTS,
    ),
    Verb(
        "delete",
        "delete points by id or by filter",
        'paradox delete notes tide\nparadox delete notes --where "year < 1800"',
        _delete,
        POINTS,
    ),
    Verb("count", "count points", 'paradox count notes --where "year >= 1990"', _count, POINTS),
    Verb(
        "import",
        "add the points of a file; an interrupted import goes on where it was",
        "paradox import notes rows.parquet",
        _import,
        POINTS,
    ),
    Verb("export", "write every point to a file", "paradox export notes rows.jsonl", _export, POINTS),
    Verb(
        "explain",
        "draw how a search is done, with its estimated and its true recall",
        'paradox explain notes "high water"',
        _question,
        INSIDE,
    ),
    Verb(
        "serve",
        "serve a folder over HTTP",
        "paradox serve --data ./memory --port 6500\nPARADOX_KEY=secret paradox serve --host 0.0.0.0",
        _serve,
        INSIDE,
    ),
    Verb(
        "up",
        "a whole cluster on this machine: log servers, nodes and a gateway",
        "paradox up --nodes 3 --data ./cluster\nparadox status --url http://localhost:6500",
        _up,
        INSIDE,
    ),
    Verb("info", "describe a collection", "paradox info notes", _collection, INSIDE),
    Verb("status", "say how the database is", "paradox status --data ./memory", _nothing, INSIDE),
    Verb(
        "top",
        "watch nodes, shards, points, reads and writes",
        "paradox top --url http://localhost:6500\nparadox top --once --json --url nats://localhost:4222",
        _top,
        INSIDE,
    ),
    Verb("split", "cut a region in two now, rather than when it is crowded", "paradox split notes r3", _split, OPERATE),
    Verb(
        "move",
        "place a shard on another node of a cluster",
        "paradox move notes s3 n2 --url http://localhost:6500",
        _move,
        OPERATE,
    ),
    Verb("doctor", "check the machine, the folder and the parts we stand on", "paradox doctor", _nothing, INSIDE),
    Verb("verify", "read every stored byte against its checksum", "paradox verify --json", _nothing, INSIDE),
    Verb("bench", "measure speed, memory and recall on this machine", "paradox bench --json", _bench, INSIDE),
    Verb(
        "sim",
        "whole clusters in virtual time, with faults: are the promises kept?",
        "paradox sim --seed 7\nparadox sim --seconds 60",
        _sim,
        INSIDE,
    ),
)
VERB_NAMES = tuple(verb.name for verb in VERBS)
