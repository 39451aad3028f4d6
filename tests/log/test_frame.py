from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from paradox.log.frame import (
    FRAME_HEADER_BYTES,
    FileHeader,
    decode_file_header,
    decode_frame,
    encode_closed,
    encode_entries,
    encode_file_header,
    first_of_name,
    name_of_file,
)

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)


@given(U64, U64, U32, U32)
def test_a_file_header_says_what_it_was_given(incarnation: int, first: int, chain: int, salt: int) -> None:
    header = FileHeader(incarnation=incarnation, first=first, chain=chain, salt=salt)
    assert decode_file_header(encode_file_header(header) + b"frames", "a.log") == header


@given(st.lists(st.lists(st.binary(max_size=30), max_size=4), min_size=1, max_size=6), st.integers(1, 2**60), U32, U32)
def test_frames_say_where_they_stand(bodies: list[list[bytes]], position: int, chain: int, salt: int) -> None:
    pieces, total, last_chain = encode_entries(bodies, position=position, chain=chain, salt=salt)
    written = b"".join(pieces)
    assert len(written) == total
    assert total % 8 == 0
    at = 0
    for number, body in enumerate(bodies):
        frame = decode_frame(written, at, salt)
        assert frame is not None
        assert (frame.position, frame.chain) == (position + number, chain)
        assert (frame.before, frame.after) == (number, len(bodies) - 1 - number)
        assert written[at + FRAME_HEADER_BYTES :][: frame.length] == b"".join(body)
        assert decode_frame(written, at, salt ^ 1) is None
        at += FRAME_HEADER_BYTES + frame.padded_length
        chain = frame.checksum
    assert (at, chain) == (total, last_chain)


def test_bodies_are_passed_on_not_copied() -> None:
    body = [b"a" * 100, memoryview(bytearray(50))]
    pieces, _, _ = encode_entries([body], position=1, chain=0, salt=0)
    assert pieces[1] is body[0]
    assert pieces[2] is body[1]


def test_a_closed_frame_repeats_the_last_position() -> None:
    written, chain = encode_closed(position=9, chain=5, salt=1)
    frame = decode_frame(written, 0, 1)
    assert frame is not None
    assert (frame.position, frame.length, frame.chain, frame.checksum) == (9, 0, 5, chain)


def test_file_names_sort_by_position() -> None:
    assert name_of_file(17) == "00000000000000000017.log"
    assert first_of_name("00000000000000000017.log") == 17
    for other in ("17.log", "00000000000000000017.log.bak", "0000000000000000001x.log", "٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠١٧.log", "LOCK"):
        assert first_of_name(other) is None
