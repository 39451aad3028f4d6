"""What every Log must do. Subclass `LogConformance` in a test module and give it the fixture `log`: a new, empty Log."""

from __future__ import annotations

import numpy as np
import pytest

from paradox.errors import LogConflict, LogCorrupt, StoreClosed
from paradox.ports.log import Log


def entries(log: Log, after: int = 0) -> list[tuple[int, bytes]]:
    return [(position, bytes(body)) for position, body in log.read(after)]


class LogConformance:
    def test_a_new_log_is_empty(self, log: Log) -> None:
        assert (log.incarnation, log.first, log.last) == (1, 1, 0)
        assert entries(log) == []

    def test_append_returns_the_position_of_the_last_body(self, log: Log) -> None:
        assert log.append([[b"one"]]) == 1
        assert log.append([[b"two"], [b"three"], [b"four"]]) == 4
        assert (log.first, log.last) == (1, 4)

    def test_read_gives_every_entry_in_order_with_its_exact_bytes(self, log: Log) -> None:
        log.append([[b"one"], [b"", b"t", b"w", b"o"]])
        log.append([[]])
        log.append([[b"four"]])
        assert entries(log) == [(1, b"one"), (2, b"two"), (3, b""), (4, b"four")]

    @pytest.mark.parametrize("after", range(7))
    def test_read_begins_after_the_position_named(self, log: Log, after: int) -> None:
        bodies = [(position, bytes([position]) * position) for position in range(1, 7)]
        log.append([[body] for _, body in bodies])
        assert entries(log, after) == bodies[after:]

    def test_read_after_the_last_position_gives_nothing(self, log: Log) -> None:
        log.append([[b"one"]])
        assert entries(log, 1) == entries(log, 100) == []

    def test_what_is_appended_during_a_read_belongs_to_the_next(self, log: Log) -> None:
        log.append([[b"one"], [b"two"]])
        reading = log.read(0)
        assert next(reading)[0] == 1
        log.append([[b"three"]])
        assert [position for position, _ in reading] == [2]
        assert entries(log, 2) == [(3, b"three")]

    def test_an_append_of_nothing_adds_nothing(self, log: Log) -> None:
        log.append([[b"one"]])
        assert log.append([]) == 1
        assert entries(log) == [(1, b"one")]

    def test_who_does_not_know_the_end_may_not_append(self, log: Log) -> None:
        assert log.append([[b"one"]], after=0) == 1
        with pytest.raises(LogConflict, match="the log stands at 1; the caller knows it up to 0"):
            log.append([[b"two"]], after=0)
        assert log.append([[b"two"]], after=1) == 2
        assert entries(log) == [(1, b"one"), (2, b"two")]

    def test_pieces_may_be_any_buffer(self, log: Log) -> None:
        matrix = np.arange(12, dtype=np.float32).reshape(3, 4)
        empty = np.zeros((0, 4), dtype=np.float32)
        log.append([[b"head", bytearray(b"er"), memoryview(matrix), memoryview(empty), memoryview(b"tail")[1:]]])
        assert entries(log) == [(1, b"header" + matrix.tobytes() + b"ail")]

    def test_bodies_cannot_be_changed_and_stay_after_close(self, log: Log) -> None:
        log.append([[b"keep"]])
        [(_, body)] = log.read(0)
        log.close()
        assert body.readonly
        assert body == b"keep"

    def test_an_array_at_a_multiple_of_eight_is_aligned_in_its_body(self, log: Log) -> None:
        numbers = np.arange(5, dtype=np.int64)
        log.append([[b"x" * length, b"y" * (-length % 8), memoryview(numbers)] for length in range(1, 9)])
        for _, body in log.read(0):
            found = np.frombuffer(body, dtype=np.int64, offset=8)
            assert found.flags.aligned
            assert found.tolist() == numbers.tolist()

    def test_large_bodies_come_back_whole(self, log: Log) -> None:
        body = np.random.default_rng(42).bytes(1_000_003)
        log.append([[memoryview(body)[:600_000], memoryview(body)[600_000:]], [b"after"]])
        assert entries(log) == [(1, body), (2, b"after")]

    def test_one_append_takes_more_pieces_than_a_system_call(self, log: Log) -> None:
        bodies = [[bytes([piece % 251]) for piece in range(count)] for count in (1500, 1, 3000)]
        log.append(bodies)
        assert [body for _, body in entries(log)] == [b"".join(body) for body in bodies]

    def test_trim_keeps_every_entry_after_the_position_named(self, log: Log) -> None:
        for number in range(1, 21):
            log.append([[b"%d" % number]])
        log.trim(12)
        assert 1 <= log.first <= 13
        assert log.last == 20
        assert entries(log, 12) == [(number, b"%d" % number) for number in range(13, 21)]
        assert log.append([[b"21"]]) == 21

    def test_positions_go_on_when_everything_was_trimmed(self, log: Log) -> None:
        log.append([[b"one"], [b"two"]])
        log.trim(100)
        assert log.last == 2
        assert log.append([[b"three"]]) == 3
        assert entries(log, 2) == [(3, b"three")]

    def test_reading_what_was_trimmed_is_an_error_that_names_the_positions(self, log: Log) -> None:
        for number in range(40):
            log.append([[bytes(200) + b"%d" % number]])
        log.trim(39)
        assert log.first > 1, "the fixture must have files small enough to be trimmed"
        with pytest.raises(LogCorrupt, match=r"trimmed.*entry 1 was asked for"):
            list(log.read(0))

    def test_a_closed_log_takes_no_calls(self, log: Log) -> None:
        log.close()
        log.close()
        for call in (lambda: log.append([[b"x"]]), lambda: list(log.read(0)), lambda: log.trim(1)):
            with pytest.raises(StoreClosed, match="was closed"):
                call()
