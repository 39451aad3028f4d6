"""The command, run in this process, and folders for it to work on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from paradox.cli import main


class Ran(NamedTuple):
    """What one run of the command gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on standard output; fails when there is anything else."""
        return json.loads(self.out)


Command = Callable[..., Ran]


@pytest.fixture
def paradox(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run `paradox WORDS… --data a folder of this test`, or of `data`."""

    def run(*words: str, data: Path | None = None) -> Ran:
        capsys.readouterr()
        code = main([*words, "--data", str(data or tmp_path / "memory")])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a collection of four texts, which tests only read."""
    folder = tmp_path_factory.mktemp("notes") / "memory"
    data = ["--data", str(folder)]
    assert main(["create", "notes", "--encoder", "text", "--text", "text", "--time-bucket", "decade", *data]) == 0
    texts = {
        "tide": ("The tide turns at noon.", '{"topic": "sea", "year": 1991}', "1991-05-17"),
        "rust": ("Rust never sleeps.", '{"topic": "metal", "year": 1979}', "1979"),
        "gull": ("A gull follows the fishing boats.", '{"topic": "sea", "year": 2003}', "2003-01"),
        "17": ("Seventeen candles burned.", '{"topic": "light", "year": 2017}', "2017"),
    }
    for id, (text, payload, at) in texts.items():
        assert main(["add", "notes", text, "--id", id, "--payload", payload, "--at", at, *data]) == 0
    return folder


@pytest.fixture
def squares(paradox: Command) -> Command:
    """The command over a folder with three vectors of two dimensions in the collection `squares`."""
    assert paradox("create", "squares", "--dimensions", "2", "--metric", "euclidean").code == 0
    added = paradox(
        "add", "squares", "--vector", "[0, 1]", "--vector", "[1, 0]", "--vector", "[1, 1]", "--id", "up", "--id", "right", "--id", "both"
    )
    assert added.code == 0
    return paradox
