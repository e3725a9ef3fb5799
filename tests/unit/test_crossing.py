"""Runs of values come out of a pipe as they went in, and either side learns when the other one has gone."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator
from multiprocessing import Pipe

import pytest

from engine.crossing import PIPE_BYTES, Inlet, Outlet, Run, run_of

pytestmark = pytest.mark.timeout(60)
VALUES = [b"", b"one", b"\n\x00\xff", b"", b"x" * (3 * PIPE_BYTES), b"last"]


@pytest.fixture
def pipe() -> Iterator[tuple[Inlet, Outlet]]:
    """Both ends."""
    reader, writer = Pipe(duplex=False)
    inlet, outlet = Inlet(reader), Outlet(writer)
    yield inlet, outlet
    inlet.close()
    outlet.close()


@pytest.mark.parametrize("values", [[], [b""], [b"", b""], VALUES], ids=len)
def test_values_are_the_same_beyond(pipe: tuple[Inlet, Outlet], values: list[bytes]) -> None:
    """More than the pipe holds included; heads go with them, several runs in one message, several messages."""
    inlet, outlet = pipe
    other = [b"beside"]

    def send() -> None:
        outlet.put({"head": 1}, run_of(values), run_of(other))
        outlet.put(None)

    sender = threading.Thread(target=send)
    sender.start()
    head, runs = inlet.get()
    end, nothing = inlet.get()
    sender.join()

    assert head == {"head": 1}
    assert [run.values() for run in runs] == [values, other]
    assert (end, nothing) == (None, [])


def test_ends_are_one_more_than_values() -> None:
    """As Arrow wants its offsets."""
    assert run_of([b"ab", b"", b"c"]) == Run(array("i", [0, 2, 2, 3]), b"abc")


def test_an_end_amid_a_message_is_told(pipe: tuple[Inlet, Outlet]) -> None:
    """Whoever dies while he writes is not taken for one who said all."""
    inlet, outlet = pipe
    outlet._write(b"\x00\x01")
    outlet.close()

    assert inlet.ready()
    with pytest.raises(EOFError):
        inlet.get()


def test_nobody_left_to_read_is_told(pipe: tuple[Inlet, Outlet]) -> None:
    """Instead of waiting for room."""
    inlet, outlet = pipe
    inlet.close()

    with pytest.raises(BrokenPipeError):
        outlet.put("head", run_of(VALUES))
