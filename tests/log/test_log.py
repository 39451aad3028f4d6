from __future__ import annotations

from pathlib import Path

import pytest

from conformance.log import LogConformance
from paradox.log.file import FileLog
from paradox.log.memory import MemoryLog
from paradox.model.schema import Limits
from paradox.objects.disk import RealDisk
from paradox.ports.log import Log
from worlds import TestEnv


class TestMemoryLog(LogConformance):
    @pytest.fixture
    def log(self) -> Log:
        return MemoryLog()


class TestFileLog(LogConformance):
    @pytest.fixture
    def log(self, tmp_path: Path) -> Log:
        return FileLog.open(tmp_path / "log", disk=RealDisk(), env=TestEnv(), limits=Limits(log_file_bytes_max=1000))


class TestFileLogOfOneFile(LogConformance):
    @pytest.fixture
    def log(self, tmp_path: Path) -> Log:
        return FileLog.open(str(tmp_path), disk=RealDisk(), env=TestEnv(), limits=Limits(log_file_bytes_max=4000))
