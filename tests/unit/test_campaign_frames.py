"""Messages over a pipe: cut anywhere, followed by anything, exact to the last bit."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapuq.campaign import frames
from snapuq.campaign.frames import LARGEST, Frames

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | st.integers() | FLOATS | st.text(max_size=10)
PLAIN = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
MESSAGES = st.dictionaries(st.text(max_size=5), PLAIN, max_size=4)


class Pipe:
    """A pipe whose both ends are here: what is written comes back."""

    def __init__(self) -> None:
        self.out, self.into = os.pipe()
        self.frames = Frames(self.out, self.into)

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *_: object) -> None:
        self.frames.close()

    def raw(self, data: bytes) -> None:
        os.write(self.into, data)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    with Pipe() as opened:
        yield opened


def framed(body: bytes) -> bytes:
    return struct.pack("<Q", len(body)) + body


@given(st.lists(MESSAGES, min_size=1, max_size=4), st.data())
def test_messages_survive_any_split(messages, data):
    with Pipe() as pipe:
        for message in messages:
            pipe.frames.write(message)
        pipe.frames.stop_writing()
        sent = b""
        while chunk := os.read(pipe.out, 1 << 16):
            sent += chunk
    cuts = data.draw(st.lists(st.integers(0, len(sent)), max_size=6).map(sorted))
    found = []
    with Pipe() as pipe:
        for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
            if begin == end:
                continue
            pipe.raw(sent[begin:end])
            assert pipe.frames.fill()
            while (message := pipe.frames.take()) is not None:
                found.append(message)
        assert found == messages
        pipe.frames.stop_writing()
        assert pipe.frames.next() is None


@given(st.lists(FLOATS))
def test_floats_keep_every_bit(numbers):
    with Pipe() as pipe:
        pipe.frames.write({"x": numbers})
        found = pipe.frames.next()
    assert found is not None
    assert [struct.pack("<d", x) for x in found["x"]] == [struct.pack("<d", x) for x in numbers]


@given(st.binary(max_size=64))
def test_bytes_of_anything_are_a_message_or_refused_or_awaited(junk):
    with Pipe() as pipe:
        pipe.raw(framed(b"{}") + junk)
        assert pipe.frames.next() == {}
        with suppress(ValueError):
            assert isinstance(pipe.frames.take(), dict | None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"{",
        b"[]",
        b"1",
        b"null",
        b'"text"',
        b"{} {}",
        b"\xff\xfe",
        b'{"a": 1}\x00',
        b"LAMMPS (22 Jul 2025)",
    ],
)
def test_what_is_no_message_is_refused(pipe, body):
    pipe.raw(framed(body))
    with pytest.raises(ValueError):
        pipe.frames.next()


@pytest.mark.parametrize("length", [LARGEST + 1, 2**63, 2**64 - 1])
def test_a_garbage_length_is_refused_before_its_bytes_are_awaited(pipe, length):
    pipe.raw(struct.pack("<Q", length))
    assert pipe.frames.fill()
    with pytest.raises(ValueError, match=str(length)):
        pipe.frames.take()


def test_text_in_place_of_a_length_is_refused(pipe):
    pipe.raw(b"ERROR: lost atoms")
    assert pipe.frames.fill()
    with pytest.raises(ValueError, match="bytes"):
        pipe.frames.take()


@pytest.mark.parametrize("cut", [0, 3, 8, 12])
def test_the_end_within_a_message_is_the_end(pipe, cut):
    pipe.raw(framed(b'{"a": 1}')[:cut])
    pipe.frames.stop_writing()
    assert pipe.frames.next() is None


@pytest.mark.timeout(60)
def test_a_message_larger_than_the_pipe_arrives(pipe):
    message = {"text": "x" * (1 << 20), "numbers": [0.1 + 0.2] * 1000}
    writer = threading.Thread(target=pipe.frames.write, args=(message,))
    writer.start()
    assert pipe.frames.next() == message
    writer.join()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_does_not_know_are_not_sent(pipe, number):
    with pytest.raises(ValueError):
        pipe.frames.write({"x": number})


def test_a_short_write_is_gone_on_with(pipe, monkeypatch):
    write = os.write
    monkeypatch.setattr(frames.os, "write", lambda handle, data: write(handle, data[:3]))
    pipe.frames.write({"a": "long enough for several"})
    monkeypatch.undo()
    assert pipe.frames.fill()
    assert pipe.frames.take() == {"a": "long enough for several"}


def test_a_writer_whose_reader_has_gone_is_told():
    out, into = os.pipe()
    os.close(out)
    spare, unused = os.pipe()
    os.close(unused)
    writer = Frames(spare, into)
    with pytest.raises(BrokenPipeError):
        writer.write({})
    writer.close()
    with pytest.raises(BrokenPipeError):
        writer.write({})
