"""Files over HTTP: read, stored, listed and removed, whatever comes between."""

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from sse_starlette.sse import AppStatus
from yarl import URL

from ..support.office import docx, paragraph, xlsx
from ..support.ollama_standin import NotPulled, OllamaStandIn
from ..support.server import ADMIN_TOKEN, Running, configuration, events, lexical, running
from ..support.timing import until

pytestmark = [pytest.mark.anyio, pytest.mark.process]

ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
STREAM = {"Accept": "text/event-stream"}
FILES = {
    "fees.docx": docx(paragraph("The fishing licence costs twelve euros a year.")),
    "boats.xlsx": xlsx({"Boats": [["boat", "office"], ["sailing boat", "harbour office"]]}),
    "deep/glass.md": b"# Glass\n\nThe glass container is emptied on Mondays.\n",
    "animals.json": json.dumps(
        [{"question": "May I keep chickens?", "answer": "Up to five chickens."}]
    ).encode(),
}


class Client:
    """Requests with the admin token about one collection of one server."""

    def __init__(self, server: Running, http: aiohttp.ClientSession, temporary: Path) -> None:
        self.server, self.http, self.temporary = server, http, temporary

    def form(self, files: Mapping[str, bytes], **fields: Any) -> aiohttp.MultipartWriter:
        """Return a form of these files by name; a field may have several values."""
        form = aiohttp.MultipartWriter("form-data")
        for name, value in fields.items():
            for each in [value] if isinstance(value, str) else value:
                form.append(each).set_content_disposition("form-data", name=name)
        for name, content in files.items():
            form.append(content).headers["Content-Disposition"] = (
                f'form-data; name="files"; filename="{name}"'
            )
        return form

    def sending(
        self, collection: str, form: aiohttp.MultipartWriter, **headers: str
    ) -> "aiohttp.client._RequestContextManager":
        """Send a form; the response is entered as soon as its head is there."""
        return self.http.post(
            f"/admin/collections/{collection}/files",
            data=form,
            headers={"Content-Type": form.content_type, **ADMIN, **headers},
        )

    async def upload(
        self, collection: str, files: Mapping[str, bytes], status: int = 200, **fields: Any
    ) -> dict[str, Any]:
        """Upload files and return the whole reply."""
        async with self.sending(collection, self.form(files, **fields)) as response:
            reply: dict[str, Any] = await response.json()
            assert response.status == status, reply
        return reply

    async def streamed(
        self, collection: str, files: Mapping[str, bytes], **fields: Any
    ) -> list[dict[str, Any]]:
        """Upload files and return the events."""
        async with self.sending(collection, self.form(files, **fields), **STREAM) as response:
            body = await response.read()
            assert response.content_type == "text/event-stream", body
            return list(events(body))

    async def call(self, method: str, path: str, **query: str) -> tuple[int, Any]:
        """Return status and body of another request about collections."""
        async with self.http.request(
            method, f"/admin/collections/{path}", params=query, headers=ADMIN
        ) as response:
            return response.status, await response.json()

    async def listed(self, collection: str) -> dict[str, dict[str, Any]]:
        """Return what is listed of each source."""
        status, reply = await self.call("GET", f"{collection}/files")
        assert (status, reply.get("next", "")) == (200, None), reply
        return {each["source"]: each for each in reply["files"]}

    async def texts(self, collection: str, source: str) -> set[str]:
        """Return what is stored of a source, which the words know too."""
        services = self.server.services
        records = await services.chroma.get(collection, where={"source": source})
        stored = await services.chroma.collection(collection, fresh=True)
        assert (await services.lexical.state(stored.id)).passages == await services.chroma.count(
            collection
        )
        return {str(record.document) for record in records}

    async def settled(self) -> None:
        """Return once no file, no reading process and no load is left; else AssertionError."""
        async with asyncio.timeout(20):
            while left := [*self.temporary.iterdir(), *reading_processes()]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert left == []


def below(folder: Path, pattern: str) -> list[Path]:
    return list(folder.rglob(pattern))


def reading_processes() -> list[int]:
    """Return the processes of ours that read files."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"readers.worker" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found


@asynccontextmanager
async def clients(config: Any, folder: Path) -> AsyncIterator[Client]:
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    async with (
        running(config) as server,
        aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(force_close=True)) as http,
    ):
        yield Client(server, http, temporary)


@pytest.fixture
async def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    async with clients(lexical(tmp_path), tmp_path) as client:
        yield client
        await client.settled()


@pytest.fixture
async def ollama() -> AsyncIterator[OllamaStandIn]:
    async with OllamaStandIn() as ollama:
        yield ollama


@pytest.fixture
async def slow(
    tmp_path: Path, ollama: OllamaStandIn, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Client]:
    """A server whose embedding model can be made to wait, or to fail."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    config = configuration(tmp_path, answer__provider="extractive", ollama__base_url=ollama.url)
    async with clients(config, tmp_path) as client:
        yield client
        await client.settled()


def pairs(n: int, answer: str) -> bytes:
    """Return a file of ``n`` questions and answers."""
    return json.dumps(
        [{"question": f"Question {k}?", "answer": f"{answer} {k}"} for k in range(n)]
    ).encode()


# -- what it is for ---------------------------------------------------------------------------


async def test_files_become_passages_while_their_sender_watches(client: Client) -> None:
    """An event for each file that is read, stored and skipped, and a last one with the counts."""
    files = {**FILES, "logo.svg": b"<svg/>", "broken.json": b"{"}
    told = await client.streamed("town", files)
    assert [event["done"] for event in told] == [False] * (len(told) - 1) + [True]
    assert {e["source"] for e in told if e.get("event") == "read"} == set(FILES)
    stored = {e["source"]: e for e in told if e.get("event") == "stored"}
    assert stored.keys() == FILES.keys()
    assert {(e["passages"], e["new"], e["removed"]) for e in stored.values()} == {(1, 1, 0)}
    skipped = {e["source"]: e["reason"] for e in told if e.get("event") == "skipped"}
    assert skipped.keys() == {"logo.svg", "broken.json"}
    assert ".svg is not understood" in skipped["logo.svg"]
    assert told[-1] == {
        "loaded": 4,
        "skipped": 2,
        "passages": 4,
        "new": 4,
        "removed": 0,
        "left_out": 0,
        "done": True,
    }
    key = await client.server.key("town")
    body = {"message": "What does the fishing licence cost?", "stream": False}
    async with client.http.post("/chat", json=body, headers=key) as response:
        assert (await response.json())["sources"][0]["source"] == "fees.docx"


async def test_without_a_stream_there_is_one_object(client: Client) -> None:
    """It has the counts and the last word of each file; what is the same is not stored again."""
    first = await client.upload("town", {**FILES, "x.exe": b"x"}, prefix="https://town.example/f")
    assert (first["loaded"], first["skipped"], first["new"]) == (4, 1, 4)
    assert {(e["event"], e["source"]) for e in first["files"]} == {
        ("skipped", "https://town.example/f/x.exe"),
        *(("stored", f"https://town.example/f/{name}") for name in FILES),
    }
    again = await client.upload("town", FILES, prefix="https://town.example/f/")
    assert (again["loaded"], again["passages"], again["new"], again["removed"]) == (4, 4, 0, 0)
    assert len(await client.listed("town")) == 4


async def test_a_newer_version_replaces_the_older(client: Client) -> None:
    """What is new comes in, what is gone goes, and the rest is left alone."""
    await client.upload("town", {"a.md": b"# One\n\nFirst.\n\n# Two\n\nSecond.\n"})
    reply = await client.upload("town", {"a.md": b"# One\n\nFirst.\n\n# Two\n\nThird.\n"})
    assert (reply["passages"], reply["new"], reply["removed"]) == (2, 1, 1)
    assert await client.texts("town", "a.md") == {"First.", "Third."}
    broken = await client.upload("town", {"a.md": b""})
    assert (broken["loaded"], broken["files"][0]["reason"]) == (0, "The file is empty.")
    assert await client.texts("town", "a.md") == {"First.", "Third."}


async def test_the_fields_are_what_ingest_is_told(client: Client) -> None:
    """Columns, languages; a wrong one is named, before anything is loaded."""
    table = b"Anliegen;Auskunft\nDarf ich angeln?;Ja.\n"
    reply = await client.upload(
        "town",
        {"t.csv": table},
        question_column="Anliegen",
        answer_column="Auskunft",
        language=["de", "en"],
    )
    assert reply["loaded"] == 1
    _, shown = await client.call("GET", "town")
    assert shown["languages"] == ["de", "en"]
    found = await client.server.services.chroma.get("town")
    assert found[0].metadata["question"] == "Darf ich angeln?"
    for fields, named in (
        ({"language": "xx"}, "language"),
        ({"languages": "de"}, "languages"),
        ({"ocr": "perhaps"}, "ocr"),
        ({"prefix": ["a", "b"]}, "prefix"),
        ({"prefix": "x" * 301}, "prefix"),
    ):
        refused = await client.upload("fresh", {"a.md": b"# A\n\nB.\n"}, status=422, **fields)
        assert named in refused["detail"]
    assert (await client.call("GET", "fresh"))[0] == 404


async def test_sources_are_listed_with_what_is_known_of_them(client: Client) -> None:
    """Passages, time, language, and what was said when it was loaded; also after a change."""
    rows = b"question,answer\nWhen is it open?,On Mondays and on Fridays.\nNo answer?,\n"
    await client.upload("town", {"a.csv": rows, "b.txt": b"Der Hafen ist am Montag offen."})
    listed = await client.listed("town")
    assert listed.keys() == {"a.csv", "b.txt"}
    a, b = listed.values()
    assert (a["passages"], a["pages"], b["passages"], b["languages"]) == (1, None, 1, ["de"])
    assert len(a["loaded"]) == len("2026-11-26T20:00:00Z")
    assert a["loaded"].endswith("Z")
    assert len(a["warnings"]) == 1
    assert "line 3" in a["warnings"][0]
    assert b["warnings"] == []
    await client.upload("town", {"a.csv": rows.replace(b"No answer?,\n", b"Why?,So.\n")})
    listed = await client.listed("town")
    assert (listed["a.csv"]["passages"], listed["a.csv"]["warnings"]) == (2, [])
    await client.upload("town", {"a.csv": rows})
    listed = await client.listed("town")
    assert listed["a.csv"]["passages"] == 1
    assert "line 3" in listed["a.csv"]["warnings"][0]


async def test_the_list_has_pages(client: Client) -> None:
    """They are by name, whatever order the database has, and none is named twice or left out."""
    files = {f"{n * 7 % 30:02}.md": f"# {n}\n\nText {n}.\n".encode() for n in range(30)}
    await client.upload("town", files)
    names: list[str] = []
    after: str | None = ""
    while after is not None:
        _, reply = await client.call("GET", "town/files", limit="4", after=after)
        assert len(reply["files"]) <= 4
        names += [each["source"] for each in reply["files"]]
        after = reply["next"]
    assert names == sorted(files)
    assert (await client.call("GET", "town/files", limit="0"))[0] == 422
    assert (await client.call("GET", "nothing/files"))[0] == 404


@pytest.mark.parametrize(
    "source", ["a.md", "a b/c%2Fd.md", "https://town.example/x?y=1&z.md", "ü/100%.md", "?#.md"]
)
async def test_a_source_is_removed_by_its_name(client: Client, source: str) -> None:
    """Slashes and signs in it are no obstacle; the others stay; a second time there is none."""
    prefix, _, name = source.rpartition("/")
    await client.upload("town", {name: b"# A\n\nB.\n", "other.md": b"# C\n\nD.\n"}, prefix=prefix)
    assert source in await client.listed("town")
    answered = []
    for encoded in (quote(source, safe=""), quote(source)):
        url = f"{client.server.url}/admin/collections/town/files/{encoded}"
        async with client.http.delete(URL(url, encoded=True), headers=ADMIN) as response:
            answered.append((response.status, (await response.json()).get("removed")))
    assert answered == [(200, 1), (404, None)]
    assert len(await client.listed("town")) == 1
    assert await client.texts("town", source) == set()


async def test_nothing_happens_without_the_token(client: Client) -> None:
    """None of the three routes is open to a key."""
    key = await client.server.key("town")
    form = client.form({"a.md": b"# A\n\nB.\n"})
    for method, path in (("POST", "files"), ("GET", "files"), ("DELETE", "files/a.md")):
        async with client.http.request(
            method, f"/admin/collections/town/{path}", headers=key, data=form
        ) as response:
            assert response.status == 401


# -- hostile ----------------------------------------------------------------------------------


async def test_hostile_names_stay_names(client: Client, tmp_path: Path) -> None:
    """No file is written anywhere but in the folder of the upload, under a number."""
    text = b"# A\n\nText of it.\n"
    names = ["../../up.md", "/abs.md", "nul\x00.md", "x" * 600 + ".md", "", "dup.md", "./dup.md"]
    # By hand: no client library lets a zero byte through.
    parts = b"".join(
        f'--b\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'.encode()
        + text
        + b"\r\n"
        for name in names
    )
    async with client.http.post(
        "/admin/collections/town/files",
        data=parts + b"--b--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=b", **ADMIN},
    ) as response:
        reply = await response.json()
    assert response.status == 200, reply
    stored = {e["source"] for e in reply["files"] if e["event"] == "stored"}
    assert stored == {"up.md", "abs.md", "nul.md", "dup.md"}
    assert (reply["loaded"], reply["skipped"]) == (4, 3)
    assert below(tmp_path, "*.md") == []


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{}", "application/json", 415),
        (b"x", "multipart/form-data", 415),
        (b"x", "multipart/form-data; boundary=b", 400),
        (b"--b--\r\n", "multipart/form-data; boundary=b", 422),
        (b'--b\r\nContent-Disposition: form-data; name="files"; filename=""\r\n\r\n\r\n--b--\r\n',
         "multipart/form-data; boundary=b", 422),
    ],
)  # fmt: skip
async def test_what_is_no_upload_is_refused(
    client: Client, body: bytes, content_type: str, status: int
) -> None:
    """With the error body of every other route."""
    async with client.http.post(
        "/admin/collections/town/files", data=body, headers={"Content-Type": content_type, **ADMIN}
    ) as response:
        assert response.status == status
        assert {"detail", "code"} <= (await response.json()).keys()


async def test_a_file_given_without_its_at_sign_is_told_how(client: Client) -> None:
    """``-F files=fees.pdf`` sends a name and no file."""
    form = aiohttp.FormData({"files": "fees.pdf"}, default_to_multipart=True)
    async with client.http.post(
        "/admin/collections/town/files", data=form, headers=ADMIN
    ) as response:
        assert response.status == 422
        assert "-F files=@NAME" in (await response.json())["detail"]


async def test_too_much_is_refused_before_it_comes(client: Client) -> None:
    """The head alone is enough: 413, and no body is waited for."""
    host, port = client.server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        "POST /admin/collections/town/files HTTP/1.1\r\n"
        f"Host: {host}\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 2000000000\r\n\r\n"
    )
    writer.write(head.encode())
    async with asyncio.timeout(30):
        assert b" 413 " in await reader.readline()
    writer.close()


async def test_a_name_that_no_collection_can_have_is_refused(client: Client) -> None:
    """Before anything is read."""
    reply = await client.upload("no%20name", {"a.md": b"# A\n\nB.\n"}, status=422)
    assert "cannot be a collection" in reply["detail"]


# -- ends before the end ----------------------------------------------------------------------


async def test_a_client_that_leaves_while_it_sends_leaves_nothing(client: Client) -> None:
    """Neither its files, nor a passage."""

    async def endless() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.md"\r\n\r\n'
        for _ in range(3):
            yield b"# A\n\n" + b"word " * 20_000
        await asyncio.Event().wait()

    upload = asyncio.create_task(
        client.http.post(
            "/admin/collections/town/files",
            data=endless(),
            headers={"Content-Type": "multipart/form-data; boundary=b", **ADMIN},
        )
    )
    await until(lambda: [*client.temporary.rglob("1.md")])
    upload.cancel()
    await asyncio.gather(upload, return_exceptions=True)
    await client.settled()
    assert (await client.call("GET", "town"))[0] == 404


@pytest.mark.parametrize("accept", [STREAM, {}], ids=["stream", "whole"])
async def test_a_client_that_leaves_ends_the_load(
    slow: Client, ollama: OllamaStandIn, accept: dict[str, str]
) -> None:
    """The file that was being stored is there as it was before; those that were done stay."""
    await slow.upload("town", {"big.json": pairs(40, "Old")})
    ollama.embed_fault = [None, None, None]
    before = len(ollama.bodies("/api/embed"))
    ollama.embed_delay = 0.3
    form = slow.form({"a.json": pairs(1, "Done"), "big.json": pairs(300, "New")})
    upload = asyncio.create_task(slow.sending("town", form, **accept).__aenter__())
    await until(lambda: len(ollama.bodies("/api/embed")) > before + 3)
    upload.cancel()
    [response] = await asyncio.gather(upload, return_exceptions=True)
    if isinstance(response, aiohttp.ClientResponse):
        response.close()
    ollama.embed_delay = 0.0
    await slow.settled()
    async with slow.server.services.store.loading("town")():  # after whatever it had to take back
        assert len(await slow.texts("town", "big.json")) == 40
        assert all("Old" in text for text in await slow.texts("town", "big.json"))


async def test_a_failure_in_the_middle_is_the_last_event(
    slow: Client, ollama: OllamaStandIn
) -> None:
    """It does not look complete, says why, and leaves no half of a file."""
    await slow.upload("town", {"big.json": pairs(20, "Old")})
    ollama.embed_fault = [None, None, NotPulled(), NotPulled(), NotPulled()]
    told = await slow.streamed("town", {"big.json": pairs(300, "New")})
    ollama.embed_fault = None
    last = told[-1]
    assert (last["done"], last["error"]) == (True, "model_not_found")
    assert "bge-m3" in last["cause"]
    assert not [event for event in told if event.get("event") == "stored"]
    assert {text.split()[0] for text in await slow.texts("town", "big.json")} == {"Old"}
    ollama.embed_fault = [NotPulled()] * 9
    refused = await slow.upload("town", {"b.json": pairs(3, "New")}, status=502)
    assert refused["code"] == "model_not_found"


async def test_a_server_that_stops_says_so(
    slow: Client, ollama: OllamaStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream ends with an error, and the file is not there by half."""
    await slow.upload("town", {"big.json": pairs(1, "Old")})
    before = len(ollama.bodies("/api/embed"))
    ollama.embed_delay = 0.2
    assert slow.server.shutdown
    slow.server.shutdown.expire()
    form = slow.form({"big.json": pairs(300, "New")})
    async with slow.sending("town", form, **STREAM) as response:
        await until(lambda: len(ollama.bodies("/api/embed")) > before + 2)
        monkeypatch.setattr(AppStatus, "should_exit", True)
        told = list(events(await response.read()))
    assert told[-1]["error"] == "shutting_down"
    monkeypatch.setattr(AppStatus, "should_exit", False)
    assert await slow.texts("town", "big.json") == {"Old 0"}


# -- at once ----------------------------------------------------------------------------------


async def test_two_versions_at_once_leave_one(client: Client) -> None:
    """Whichever is last is there whole, and nothing of the other."""
    versions = ["Alpha", "Beta", "Gamma"]
    for _ in range(3):
        replies = await asyncio.gather(
            *(client.upload("town", {"a.json": pairs(60, each)}) for each in versions)
        )
        assert [reply["loaded"] for reply in replies] == [1, 1, 1]
        texts = await client.texts("town", "a.json")
        assert len(texts) == 60
        assert len({text.split()[0] for text in texts}) == 1


async def test_an_upload_and_a_removal_at_once(client: Client) -> None:
    """The source is there whole or not at all."""
    await client.upload("town", {"a.json": pairs(60, "Old"), "b.json": pairs(1, "Other")})
    for n in range(3):
        await asyncio.gather(
            client.upload("town", {"a.json": pairs(60, f"New{n}")}),
            client.call("DELETE", "town/files/a.json"),
        )
        texts = await client.texts("town", "a.json")
        assert len(texts) in (0, 60)
        assert len({text.split()[0] for text in texts}) <= 1


async def test_a_collection_that_is_deleted_meanwhile(slow: Client, ollama: OllamaStandIn) -> None:
    """The rest of the upload does not bring it back, and its sender is told."""
    await slow.upload("town", {"a.json": pairs(1, "Old")})
    ollama.embed_delay = 0.05
    files = {f"{n:02}.json": pairs(16, f"New{n}") for n in range(12)}
    async with slow.sending("town", slow.form(files), **STREAM) as response:
        await response.content.readuntil(b'"stored"')
        status, reply = await slow.call("DELETE", "town")
        assert status == 200, reply
        told = (b'{"x": "' + await response.read()).decode()
    assert '"error":"conflict"' in told
    assert "was deleted while it was being loaded" in told
    assert (await slow.call("GET", "town"))[0] == 404
