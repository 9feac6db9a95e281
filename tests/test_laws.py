"""The laws of the house, read from its imports: who may know whom, and who owns which package.

``docs/architecture.md`` says why. An import inside a function counts like any other; one under
``TYPE_CHECKING`` has no effect when the program runs, but shows the same dependency.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("orbit_server", "middleware")

CLIENTS = {
    "chatlog",
    "chroma_server",
    "chroma_embedded",
    "embedding",
    "keys",
    "lexical",
    "ollama",
} | {"backlog", "elastic"}
COMMANDS = {"cli", "cli_collections", "cli_doctor", "cli_keys", "cli_logs", "cli_quality"} | {
    "terminal"
}
LAYERS: list[set[str]] = [
    {
        "errors",
        "config",
        "settings",
        "allowed",
        "redact",
        "types",
        "chunks",
        "chroma",
        "chroma_lock",
        "exits",
        "files",
        "_middleware",
    }
    | {"citations", "fence", "ecs", "version", "words"},
    CLIENTS,
    {"retrieval", "prompt", "extract", "markup", "store", "ingest", "remote", "evaluate"}
    | {"shipper", "guard", "blocklist", "verdict", "rerank", "condense", "calibrate", "metrics"}
    | {"tls", "pem"},
    {"answer", "parts", "health", "services"},
    {"doctor"},
    {"sse", "endpoints", "protocol", "redirect"},
    {"app"},
    {"chroma_local", "chroma_process", "notify", "reload", "server", "serving", "workers"}
    | {"run", "main", "demo", "logs", "__init__", "__main__"}
    | COMMANDS,
]

OWNERS: dict[str, set[str]] = {
    "aiohttp": {"ollama", "chroma_server", "remote", "doctor"},
    "chromadb": {"chroma_embedded"},
    "chromadb_rust_bindings": {"chroma_process"},
    "cryptography": {"pem"},
    "dotenv": {"config"},
    "elasticsearch": {"elastic"},
    "elastic_transport": {"elastic"},
    "markdown_it": {"extract"},
    "prometheus_client": {"metrics"},
    "pypdf": {"extract"},
    "pythonjsonlogger": {"logs", "chatlog"},
    "rich": COMMANDS,
    "snowballstemmer": {"embedding"},
    "sqlalchemy": {"keys"},
    "sse_starlette": {"sse"},
    "typer": COMMANDS,
    "uvicorn": {"protocol", "main", "server", "serving"},
    "yaml": {"config"},
    "starlette": {
        "__init__",
        "app",
        "endpoints",
        "middleware",
        "main",
        "redirect",
        "server",
        "sse",
    },
}
COMMON = {"anyio", "orjson", "pydantic", "pydantic_core"}

HEAVY = {"chromadb", "chromadb_rust_bindings", "cryptography", "elasticsearch"} | {
    "pypdf",
    "bs4",
    "markdown_it",
}


def sources() -> dict[str, Path]:
    """Return every module of the program by its dotted name."""
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    named = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in files}
    return {**named, "run": ROOT / "run.py"}


def imports(source: str, module: str) -> Iterator[str]:
    """Yield the dotted name of everything that ``source``, the text of ``module``, imports.

    Names imported from a package are yielded as if each was a module of it.
    """
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=base, names=names, level=level):
                above = module.split(".")[:-level] if level else []
                start = ".".join([*above, *([base] if base else [])])
                yield from (f"{start}.{alias.name}" for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name


def room(dotted: str) -> str:
    """Return the room of a dotted name: ``orbit_server.endpoints.chat`` is in ``endpoints``."""
    package, _, rest = dotted.partition(".")
    if package != "orbit_server":
        return package
    name = rest.partition(".")[0]
    known = any(f"{package}.{name}" in (each, each.rpartition(".")[0]) for each in sources())
    return name if known else "__init__"


@cache
def imported(module: str) -> frozenset[str]:
    """Return what ``module`` imports."""
    return frozenset(imports(sources()[module].read_text(), module))


def dependencies(module: str) -> set[str]:
    """Return the rooms of this program that ``module`` imports from, its own left out."""
    ours = {room(name) for name in imported(module) if name.split(".")[0] in (*PACKAGES, "run")}
    return ours - {room(module)}


def layer(name: str) -> int:
    """Return how far up a room is; one without a layer, which a test of its own reports, is low."""
    return next((height for height, rooms in enumerate(LAYERS) if name in rooms), 0)


each_module = pytest.mark.parametrize("module", sorted(sources()))
each_of_ours = pytest.mark.parametrize(
    "module", sorted(name for name in sources() if not name.startswith("middleware"))
)
each_middleware = pytest.mark.parametrize(
    "module", sorted(name for name in sources() if name.startswith("middleware"))
)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import chromadb.config as c", {"chromadb.config"}),
        ("def f():\n    from chromadb import Client", {"chromadb.Client"}),
        ("if TYPE_CHECKING:\n    from .app import create_app", {"orbit_server.app.create_app"}),
        ("from . import embedding, prompt", {"orbit_server.embedding", "orbit_server.prompt"}),
        ("from .endpoints import admin", {"orbit_server.endpoints.admin"}),
        ("import importlib\nimportlib.import_module('pypdf')", {"importlib", "pypdf"}),
        ("__import__('pypdf')", {"pypdf"}),
        ("text = 'import pypdf'", set()),
    ],
)
def test_the_reader_of_imports(source: str, found: set[str]) -> None:
    """Every way to import something is seen, wherever it stands."""
    assert set(imports(source, "orbit_server.services")) == found


def test_the_reader_of_imports_climbs() -> None:
    """Two dots in a folder lead out of it."""
    found = set(imports("from ..keys import Key", "orbit_server.endpoints.chat"))
    assert found == {"orbit_server.keys.Key"}
    assert {room(name) for name in found} == {"keys"}


def test_every_room_has_its_layer() -> None:
    """A new module is given its place among the layers, and a removed one loses it."""
    rooms = {room(name) for name in sources()} - {"middleware"}
    assert rooms == set().union(*LAYERS)


@each_middleware
def test_middleware_knows_nothing_of_ours(module: str) -> None:
    """It imports the standard library and starlette, and itself only relatively."""
    # Seen from elsewhere, a relative import would lead elsewhere.
    names = imports(sources()[module].read_text(), "itself.module")
    packages = {name.split(".")[0] for name in names}
    assert packages - sys.stdlib_module_names <= {"starlette", "itself"}


@each_of_ours
def test_only_app_knows_the_middleware(module: str) -> None:
    """Policies reach the middleware in one place, under the name that no host can own."""
    assert "middleware" not in dependencies(module)
    assert "_middleware" not in dependencies(module) or module == "orbit_server.app"


@each_module
def test_nothing_imports_app(module: str) -> None:
    """``app.py`` is the top: only what starts the program looks at it."""
    assert "app" not in dependencies(module) or room(module) in {"__init__", "main", "serving"}


@each_of_ours
def test_layers(module: str) -> None:
    """Nobody looks up: a room imports from its own layer or from those below."""
    height = layer(room(module))
    assert {name for name in dependencies(module) if layer(name) > height} == set()


@pytest.mark.parametrize("client", sorted(CLIENTS))
def test_clients_do_not_know_each_other(client: str) -> None:
    """What a client needs of another one it is handed as a callable."""
    assert dependencies(f"orbit_server.{client}") & CLIENTS == set()


def test_no_circles() -> None:
    """The rooms can be put in an order in which each imports only from those before."""
    graph: dict[str, set[str]] = {}
    for module in sources():
        graph.setdefault(room(module), set()).update(dependencies(module))
    assert list(TopologicalSorter(graph).static_order())


@each_module
def test_foreign_packages_have_owners(module: str) -> None:
    """A package from outside is imported by the modules that own it; a new one is written down."""
    packages = {name.split(".")[0] for name in imported(module)}
    foreign = packages - sys.stdlib_module_names - COMMON - {*PACKAGES, "run"}
    assert {name for name in foreign if room(module) not in OWNERS.get(name, set())} == set()


@pytest.mark.parametrize("module", ["answer", "prompt"])
def test_the_pipeline_knows_neither_http_nor_clients(module: str) -> None:
    """Three lines of fakes are enough to test it."""
    name = f"orbit_server.{module}"
    assert dependencies(name) <= {"types", "errors", "prompt", "fence", "chunks", "citations"}
    assert {package.split(".")[0] for package in imported(name)} <= {
        *sys.stdlib_module_names,
        "orbit_server",
    }


def loaded(statement: str) -> set[str]:
    """Return the top-level packages that a fresh Python holds after ``statement``."""
    program = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_the_package_has_no_effect() -> None:
    """Neither starlette nor a client is loaded, and uvicorn is not patched, by importing us."""
    foreign = loaded("import orbit_server") - loaded("") - sys.stdlib_module_names
    assert foreign == {"orbit_server"}


@pytest.mark.parametrize("statement", ["import orbit_server.main", "from orbit_server import app"])
def test_starting_does_not_load_what_is_used_later(statement: str) -> None:
    """The server answers before anything that not every request needs is loaded."""
    assert loaded(statement) & HEAVY == set()
