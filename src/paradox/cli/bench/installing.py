"""Installing: what `import paradox` costs, in fresh processes, and how many packages an installation brings."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path

import msgspec

from paradox.errors import Unavailable

DISTRIBUTION = "paradox-memory"
TRIES = 5
TIMEOUT_S = 60.0
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
IMPORT = """
import sys
sys.path[:0] = {path!r}
import resource, time
start = time.perf_counter()
import paradox
elapsed_s = time.perf_counter() - start
if sys.platform == "linux":  # there ru_maxrss is never below what the parent had when it started us
    size = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
else:
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(elapsed_s, size)
"""


class ImportCost(msgspec.Struct, frozen=True, kw_only=True):
    """Medians of TRIES fresh processes. resident_bytes: the whole process at its largest, Python included."""

    elapsed_s: float
    resident_bytes: int


def import_cost() -> ImportCost:
    """Measure `import paradox`. Raises Unavailable when it fails."""
    code = IMPORT.format(path=[str(Path(__file__).parents[3])])
    times, sizes = [], []
    for _ in range(TRIES):
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        if ended.returncode:
            raise Unavailable(f"import paradox failed: {ended.stderr.strip().splitlines()[-1]}")
        elapsed_s, size = ended.stdout.split()
        times.append(float(elapsed_s))
        sizes.append(int(size))
    return ImportCost(elapsed_s=statistics.median(times), resident_bytes=int(statistics.median(sizes)))


def installed_packages(name: str = DISTRIBUTION) -> list[str] | None:
    """Return the packages that installing `name` without extras brings, itself left out, sorted; None when it is not installed.

    Walks the installed metadata. A requirement for another platform or Python counts only if it is installed here.
    """
    try:
        waiting = _needs(name)
    except PackageNotFoundError:
        return None
    found: set[str] = set()
    while waiting:
        needed = waiting.pop()
        if needed in found or needed == _normal(name):
            continue
        try:
            waiting += _needs(needed)
        except PackageNotFoundError:
            continue
        found.add(needed)
    return sorted(found)


def _needs(name: str) -> list[str]:
    distribution(name)
    wanted = [line for line in requires(name) or [] if "extra ==" not in line.partition(";")[2]]
    return [_normal(match.group()) for line in wanted if (match := NAME.match(line))]


def _normal(name: str) -> str:
    """Return a distribution's name in the one spelling that PEP 503 gives it."""
    return re.sub(r"[-_.]+", "-", name).lower()
