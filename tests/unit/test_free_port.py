"""Free ports: nobody listens there, nobody was given it before, and no outgoing connection can take it meanwhile."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from engine import broker
from engine.broker import BrokerUnavailable, free_port

OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_no_port_is_given_twice() -> None:
    given = [free_port() for _ in range(200)]
    assert len(set(given)) == len(given)
    assert set(given) <= set(broker.PORTS)


def test_a_port_that_is_in_use_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a single port, and somebody listens there
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        monkeypatch.setattr(broker, "PORTS", range(port, port + 1))
        # Then it is given to nobody, and whoever asks is told
        with pytest.raises(BrokerUnavailable, match=f"from {port} to {port} is free"):
            free_port()


@pytest.mark.skipif(
    not OUTGOING.exists(), reason="this system does not say which ports it gives to outgoing connections"
)
def test_no_outgoing_connection_takes_a_port_that_was_given() -> None:
    """Else a client that knocks at the door of a killed broker could sit on its port, or even reach itself there."""
    lowest = int(OUTGOING.read_text().split()[0])
    if lowest < 32_768:
        pytest.skip(f"this system was told to give ports from {lowest} to outgoing connections")
    assert broker.PORTS.stop <= lowest
