"""The README's JavaScript, against servers and proxies that do not answer as planned."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

README = Path(__file__).parents[2] / "README.md"

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")


@contextmanager
def answering(status: int, kind: str, body: bytes, *, after: Event | None = None) -> Iterator[str]:
    """Answer every POST so, once ``after`` is set; yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if after is not None:
                after.wait(30)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        if after is not None:
            after.set()
        server.shutdown()
        thread.join()
        server.server_close()


def run(folder: Path, url: str, call: str) -> str:
    """Return what the README's ``ask``, called so, ends with: the message of its error."""
    (program,) = re.findall(r"^```js\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    function = program.partition("\n\n")[0].replace("http://localhost:3000", url)
    script = f"{function}\ntry {{ await {call}; console.log('answered') }}"
    (folder / "ask.mjs").write_text(f"{script} catch (e) {{ console.log(e.name, e.message) }}\n")
    done = subprocess.run(
        ["node", "ask.mjs"], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


CALL = "ask('When?', 'api_x', () => {})"


@pytest.mark.parametrize(
    ("status", "kind", "body", "message"),
    [
        (401, "application/json", b'{"detail": "Invalid or missing API key"}', "Invalid or miss"),
        (413, "text/html", b"<html>413 Request Entity Too Large</html>", "413"),
        (502, "text/html", b"<html>Bad Gateway</html>", "502"),
        (400, "application/json", b"null", "400"),
        (400, "application/json", b'{"error": "?"}', "400"),
        (404, "text/plain", b"", "404"),
        (200, "text/html", b"<html>Log in</html>", "cut off"),
    ],
)
def test_an_error_page_is_an_error_with_a_sentence(
    tmp_path: Path, status: int, kind: str, body: bytes, message: str
) -> None:
    """A proxy's page is not our JSON; the reader must not see a parser's complaint."""
    with answering(status, kind, body) as url:
        printed = run(tmp_path, url, CALL)
    assert printed.startswith("Error ")
    assert message in printed
    assert "JSON" not in printed and "undefined" not in printed


def test_a_question_can_be_given_up(tmp_path: Path) -> None:
    """The page that asked has gone, or the reader has pressed Stop."""
    never = Event()
    with answering(200, "text/event-stream", b"", after=never) as url:
        call = CALL.replace("() => {}", "() => {}, AbortSignal.timeout(200)")
        assert run(tmp_path, url, call).startswith("TimeoutError")
