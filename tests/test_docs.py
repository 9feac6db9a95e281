"""The documents say what is there, and all of it: routes, errors, modules, fields, keys, links."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from starlette.routing import Route

from orbit_server import create_app, errors
from orbit_server.api.events import done_event, event
from orbit_server.config.loader import Config
from orbit_server.config.section import Section
from orbit_server.errors import ConfigError, OrbitError, UnreadableDocument

from .support.server import ADMIN_TOKEN, lexical, running

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
HTTP_API = ROOT / "docs" / "http-api.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PAGES = sorted([README, *(ROOT / "docs").glob("*.md")])

# Answered beside the tree: refusals of their own, and a wrong name in an admin route's path.
BESIDE_THE_TREE = {
    (401, "invalid_api_key"),
    (401, "invalid_admin_token"),
    (404, "collection_not_found"),
    (405, "method_not_allowed"),
}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def fenced(page: Path, language: str) -> list[str]:
    """Return the text of the fenced blocks of one language, in order."""
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, page.read_text(), flags=re.MULTILINE | re.DOTALL)


def rows(page: Path, *, below: str) -> list[list[str]]:
    """Return the cells of all table rows in the section ``below`` a heading."""
    section = re.split(rf"^#+ {re.escape(below)}$", page.read_text(), flags=re.MULTILINE)[1]
    section = re.split(r"^#+ ", section, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def anchors(page: Path) -> set[str]:
    """Return what a link into the page may name: its headings in lower case, with hyphens."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_routes(tmp_path: Path) -> None:
    """Every route of the application has its heading, and every heading its route."""
    routes = {
        f"{method} {route.path.replace(':path', '')}"
        for route in create_app(lexical(tmp_path, general__acme_dir=str(tmp_path))).routes
        if isinstance(route, Route) and "{path:path}" not in route.path
        for method in (route.methods or set()) - {"HEAD"}
    }
    headings = re.findall(r"^#+ `([A-Z]+ /\S*)`$", HTTP_API.read_text(), flags=re.MULTILINE)
    assert sorted(headings) == sorted(routes)


def test_error_codes() -> None:
    """The table of errors is the tree of errors that a request can end with."""
    of_programs = {ConfigError, UnreadableDocument}
    tree = {
        (found.status, found.code)
        for found in vars(errors).values()
        if isinstance(found, type) and issubclass(found, OrbitError) and found not in of_programs
    }
    table = [(int(row[0]), row[1].strip("`")) for row in rows(HTTP_API, below="Errors")[2:]]
    assert sorted(table) == sorted(tree | BESIDE_THE_TREE)


def test_modules() -> None:
    """Every package and module at the top has its row, and every row its package or module."""
    cells = [cell for row in rows(ARCHITECTURE, below="Modules") for cell in row[:2]]
    listed = {name for cell in cells for name in re.findall(r"`(\w+(?:/|\.py))`", cell)}
    there = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in (ROOT / "orbit_server").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    middleware = {path.name for path in (ROOT / "middleware").glob("*.py")}
    assert listed | {"__init__.py"} == there | middleware


def test_dependencies() -> None:
    """The README says what each required package is for, and names no other."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    required = {re.split(r"[\[<>=;]", line)[0].lower() for line in lines if line}
    listed = [row[0] for row in rows(README, below="Dependencies")[2:]]
    assert {name for cell in listed for name in cell.split(", ")} == required


@each_page
def test_links(page: Path) -> None:
    """Links within the project lead to a file, and to a heading in it."""
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" not in link:
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def keys(section: type[Section], prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all settings and sections below ``section``."""
    for name, info in section.model_fields.items():
        yield prefix + name
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            yield from keys(info.annotation, f"{prefix}{name}.")


@pytest.mark.parametrize("page", [README, HTTP_API, ARCHITECTURE], ids=lambda page: page.name)
def test_settings(page: Path) -> None:
    """Settings are called by the names that the configuration knows."""
    known = set(keys(Config))
    sections = "|".join(Config.model_fields)
    named = set(re.findall(rf"`((?:{sections})\.(?!py\b)[a-z_.]+)`", page.read_text()))
    assert named and named <= known


@pytest.mark.parametrize("page", [README, HTTP_API], ids=lambda page: page.name)
def test_examples_of_events(page: Path) -> None:
    """Events in examples are what the server writes, byte by byte."""
    streams = [block for block in fenced(page, "text") if block.startswith("data: ")]
    assert streams
    for block in streams:
        for written in block.strip("\n").split("\n\n"):
            fields: dict[str, Any] = json.loads(written.removeprefix("data: "))
            text, done = fields.pop("text"), fields.pop("done")
            assert not (done and text)
            encoded = done_event(**fields) if done else event(text, **fields)
            assert encoded.decode() == f"{written}\n\n"


@pytest.mark.anyio
async def test_examples_of_bodies(tmp_path: Path) -> None:
    """Replies in examples have the fields that the server sends, and no others."""
    examples = [json.loads(block) for block in fenced(HTTP_API, "json")]

    def documented(field: str) -> Any:
        found = (each[0] if isinstance(each, list) else each for each in examples)
        return next(example for example in found if field in example)

    async with running(lexical(tmp_path)) as server, aiohttp.ClientSession(server.url) as http:
        await server.pairs("town", {"When is the library open?": "On Tuesdays."})
        key = await server.key("town")
        admin = {"Authorization": f"Bearer {ADMIN_TOKEN}"}

        async def get(path: str, **more: Any) -> Any:
            async with http.get(path, **more) as response:
                return await response.json()

        question = {"message": "When is the library open?", "stream": False}
        async with http.post("/chat", json=question, headers=key) as response:
            answer = await response.json()
        assert answer.keys() == documented("finish_reason").keys()
        assert answer["usage"].keys() == documented("finish_reason")["usage"].keys()
        assert answer["sources"][0].keys() == documented("finish_reason")["sources"][0].keys()
        async with http.post("/chat", json=documented("history"), headers=key) as response:
            assert response.status == 200
        async with http.post("/chat", json=question) as response:
            assert await response.json() == documented("detail")
        assert (await get("/health"))["components"].keys() == documented("status")[
            "components"
        ].keys()
        listed = await get("/admin/api-keys", headers=admin)
        assert listed[0].keys() == documented("prefix").keys()
        collections = await get("/admin/collections", headers=admin)
        assert collections[0].keys() == documented("chunks").keys()
        stored = await http.post(
            "/admin/collections/fresh/documents", json=documented("documents"), headers=admin
        )
        assert await stored.text() == '{"stored":1,"removed":0}'
