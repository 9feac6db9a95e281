"""Rules about imports and files that import-linter (``pyproject.toml``) cannot say."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "orbit_server"

# Who may import a foreign package: modules, or packages with all that is in them.
OWNERS: dict[str, set[str]] = {
    "Stemmer": {"retrieval.hashed_embedder", "retrieval.words.analyzer"},
    "aiohttp": {
        "llm.ollama",
        "documents.remote_store",
        "cli.doctor.network",
        "documents.site.fetch",
    },
    "charset_normalizer": {"documents.readers.encoding"},
    "cachetools": {"auth", "observability.collections_check", "retrieval", "safety"},
    "chromadb_rust_bindings": {"retrieval.chroma.bindings", "server.chroma_main"},
    "cryptography": {"server.pem"},
    "defusedxml": {"documents.readers.office.archive", "documents.site.sitemap"},
    "docutils": {"documents.readers.markup"},
    "dotenv": {"config.variables"},
    "elastic_transport": {"observability.elasticsearch"},
    "elasticsearch": {"observability.elasticsearch"},
    "httptools": {"retrieval.http"},
    "limits": {"auth.counters", "auth.limiter"},
    "mammoth": {"documents.readers.office.word"},
    "markdown_it": {"documents.readers"},
    "numpy": {"observability.questions.grouping"},
    "prometheus_client": {"observability.metrics"},
    "protego": {"documents.site.robots"},
    "pypdfium2": {"documents.readers.pdf"},
    "python_multipart": {"api.multipart"},
    "python_calamine": {"documents.readers.office.sheets"},
    "pythonjsonlogger": {"observability.logging", "observability.chatlog"},
    "redis": {"auth.redis.link"},
    "regex": {"safety.blocklist"},
    "rich": {"cli"},
    "sqlalchemy": {"auth"},
    "sse_starlette": {"api.event_stream"},
    "starlette": {"", "api", "app", "web", "server.reloading", "server.uvicorn_server"},
    "striprtf": {"documents.readers.markup"},
    "tantivy": {"retrieval.words"},
    "trafilatura": {"documents.site.content"},
    "typer": {"cli"},
    "uvicorn": {"server"},
    "webencodings": {"documents.readers.encoding"},
    "yaml": {"config.tree"},
    "yarl": {"documents.site.fetch"},
}
EVERYWHERE = {"anyio", "orjson", "pydantic", "pydantic_core"}

# fmt: off
HEAVY = {
    "chromadb", "chromadb_rust_bindings", "cryptography", "docutils", "elasticsearch", "limits",
    "mammoth", "markdown_it", "numpy", "pypdfium2", "python_calamine", "redis", "tantivy",
}
# fmt: on


@cache
def imports() -> list[tuple[str, str]]:
    """Return every pair of a module of ours and a foreign package that it imports."""
    graph = grimp.build_graph(PACKAGE, "middleware", include_external_packages=True)
    ours = {module for module in graph.modules if not graph.is_module_squashed(module)}
    return sorted(
        (module, package)
        for module in ours
        for package in graph.find_modules_directly_imported_by(module) - ours
        if package not in sys.stdlib_module_names
    )


def test_middleware_knows_only_starlette() -> None:
    """It imports the standard library and starlette, so that it fits any application."""
    assert {to for module, to in imports() if module.startswith("middleware")} <= {"starlette"}


@pytest.mark.parametrize("package", sorted({to for _, to in imports()} - EVERYWHERE))
def test_foreign_packages_have_owners(package: str) -> None:
    """A package from outside is imported by the modules that own it; a new one is written down."""
    owners = {f"{PACKAGE}.{name}".rstrip(".") for name in OWNERS.get(package, ())}
    strangers = {
        module
        for module, to in imports()
        if to == package
        and not module.startswith("middleware")
        and not owners & {module, *parents(module)}
    }
    assert strangers == set()


def parents(module: str) -> set[str]:
    """Return the packages below the top one that ``module`` is in."""
    parts = module.split(".")
    return {".".join(parts[:length]) for length in range(2, len(parts))}


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


@pytest.mark.parametrize(
    "statement", ["import orbit_server.server.worker", "from orbit_server import app"]
)
def test_starting_does_not_load_what_is_used_later(statement: str) -> None:
    """The server answers before anything that not every request needs is loaded."""
    assert loaded(statement) & HEAVY == set()
