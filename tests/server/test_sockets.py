"""Where a server listens, and at which addresses it can be reached."""

import socket
from pathlib import Path

import pytest

from orbit_server.server.sockets import address, addresses, listen, listening

from ..support.ports import free_port
from ..support.server import configuration


@pytest.mark.parametrize(
    ("host", "reached"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("192.0.2.1", "192.0.2.1")],
)
def test_an_address_can_be_used_on_this_machine(tmp_path: Path, host: str, reached: str) -> None:
    """Without HTTPS there is one port."""
    config = configuration(tmp_path, general__host=host, general__port=4000)
    assert addresses(config) == {"general.port": f"http://{reached}:4000"}
    assert address(config) == f"http://{reached}:4000"


def test_https_comes_first(tmp_path: Path) -> None:
    """The other port redirects to it where that is switched on."""
    https = {"enabled": True, "port": 4443, "cert_file": "cert.pem", "key_file": "key.pem"}
    settings = {f"general__https__{name}": value for name, value in https.items()}
    settings["general__https__redirect_http"] = True
    config = configuration(tmp_path, general__host="::1", general__port=4000, **settings)
    secure, plain = "https://[::1]:4443", "http://[::1]:4000"
    assert list(addresses(config).items()) == [
        ("general.https.port", secure),
        ("general.port", plain),
    ]
    assert address(config) == secure
    settings["general__https__redirect_http"] = False
    config = configuration(tmp_path, general__host="::1", general__port=4000, **settings)
    assert addresses(config) == {"general.https.port": secure}


def test_listening(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sockets accept connections; a port that is taken ends the program with a sentence."""
    port = free_port()
    config = configuration(tmp_path, general__host="127.0.0.1", general__port=port)
    with listening(config) as [listener]:
        assert listener.getsockname() == ("127.0.0.1", port)
        socket.create_connection(("127.0.0.1", port)).close()
        with pytest.raises(OSError, match="in use"):
            listen("127.0.0.1", port)
        with pytest.raises(SystemExit) as end, listening(config):
            pass
    assert end.value.code == 1
    said = capsys.readouterr().err
    place = f"orbit: cannot listen on 127.0.0.1:{port}"
    assert said == f"{place}: Address already in use; choose another with --port\n"
