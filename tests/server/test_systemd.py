"""What the service manager hears: one datagram for each state, and a sign of life."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from orbit_server.server.systemd import SystemdNotifier


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of a service manager that started this process."""
    path = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.setblocking(False)
        yield listener


def heard(manager: socket.socket) -> list[bytes]:
    """Return the datagrams that have arrived."""
    found = []
    try:
        while True:
            found.append(manager.recv(1000))
    except BlockingIOError:
        return found


def test_states_arrive(manager: socket.socket) -> None:
    """The variable is gone: no child speaks for this process."""
    notifier = SystemdNotifier()
    assert "NOTIFY_SOCKET" not in os.environ
    notifier.notify("READY=1")
    notifier.notify("STOPPING=1")
    assert heard(manager) == [b"READY=1", b"STOPPING=1"]


def test_the_watchdog_is_fed_when_all_is_ready(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before, and not more often than half of its time; not for another process."""
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    notifier = SystemdNotifier()
    notifier.alive()
    assert heard(manager) == []
    notifier.notify("READY=1")
    notifier.alive()
    notifier.alive()
    assert heard(manager) == [b"READY=1", b"WATCHDOG=1"]


def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket, or one that is gone, is no error."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    SystemdNotifier().notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")
    SystemdNotifier().notify("READY=1")
