"""Files that the configuration names: read at once or refused with a sentence, never waited for."""

import os
from pathlib import Path

import pytest

from orbit_server.config import load, make_private_folder
from orbit_server.config.files import NotAFile, TooLarge, obstacle, read_file, read_text
from orbit_server.config.schema import Config
from orbit_server.config.section import keys_of
from orbit_server.config.values import NamesPath
from orbit_server.errors import ConfigError

from ..support.program import command, configure

# Keys whose value names a file or a folder, and those of them that the loader itself follows.
MARKED = {
    key: mark
    for key, info in keys_of(Config)
    for mark in info.metadata
    if isinstance(mark, NamesPath)
}
FILES = {key for key, mark in MARKED.items() if not mark.folder}
FOLLOWED = {"general.no_results_message_file", "general.safety_prompt_file"}
# What words in a description or a name give a path away, and the keys that have them without one.
PATH_WORDS = ("file", "folder", "path", "dir", "certs", "list", "url", "checkpoint")
NO_PATHS = {
    "logging.file.enabled",
    "logging.file.max_size_mb",
    "logging.file.retention_days",
    "logging.file.max_wait_ms",
    "elasticsearch.verify_certs",
    "general.https.redirect_http",
    "ollama.base_url",
    "general.root_path",
}


def sections(key: str, value: str) -> dict[str, dict[str, object]]:
    """Return the sections of a file that sets ``key``, with its section switched on."""
    section, *between, name = key.split(".")
    inner: dict[str, object] = {name: value}
    for part in reversed(between):
        inner = {part: inner | ({"enabled": True} if part == "https" else {})}
    if section == "safety":
        inner["mode"] = "strict"
    if section == "elasticsearch":
        inner["enabled"] = True
    return {section: inner}


def named(key: str, path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}" if key == "database.url" else str(path)


def test_every_key_that_names_a_path_is_marked() -> None:
    """A new key that names a file is checked too, or is known to name none."""
    found = {key for key, _ in keys_of(Config) if any(word in key for word in PATH_WORDS)}
    assert found - NO_PATHS == MARKED.keys() | FOLLOWED


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("key", "kind"),
    [(key, "pipe") for key in sorted(MARKED.keys() | FOLLOWED)]
    + [(key, "folder") for key in sorted(FILES | FOLLOWED)],
)
async def test_named_pipe_or_folder_is_a_sentence(key: str, kind: str, tmp_path: Path) -> None:
    """Whichever key names it: exit code 2, and one line with file, key and what is wrong."""
    path = tmp_path / "named"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    configure(tmp_path, **sections(key, named(key, path)))
    result = await command(tmp_path, "keys", "list")
    assert result.code == 2, result
    shown = "safety.prompt_file" if key == "general.safety_prompt_file" else key
    [line] = [line for line in result.err.splitlines() if shown in line]
    assert line.strip().startswith("config.yaml:") and f": {shown}: {path}: cannot be " in line


def test_paths_of_what_is_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A default is looked at where it is used; what is written down is always looked at."""
    monkeypatch.chdir(tmp_path)
    Path("cert.pem").mkdir()
    assert load(environ={}) == Config()
    with pytest.raises(ConfigError, match=r"cert_file: \./cert\.pem: .* it is a folder"):
        load({"general": {"https": {"enabled": True}}}, environ={})
    with pytest.raises(ConfigError, match="cert_file"):
        load({"general": {"https": {"cert_file": "cert.pem"}}}, environ={})


def test_database_in_memory_or_elsewhere_names_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only SQLite keeps its tables in a file, and not always."""
    monkeypatch.chdir(tmp_path)
    Path(":memory:").mkdir()
    urls = ("sqlite+aiosqlite:///:memory:", "postgresql+asyncpg://h/named", "sqlite+aiosqlite://")
    for url in urls:
        assert load({"database": {"url": url}}, environ={}).database.url == url


def test_reading_a_file(tmp_path: Path) -> None:
    """Content as bytes or as text; each refusal has its class or its sentence."""
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbfgr\xc3\xbcn")
    assert read_file(path, limit=8) == path.read_bytes()
    assert read_text(path) == "grün"
    with pytest.raises(TooLarge):
        read_file(path, limit=7)
    with pytest.raises(ConfigError, match=r"cannot be read: larger than 0 MiB$"):
        read_text(path, limit=7)
    path.write_bytes(b"a\nb\xff")
    with pytest.raises(ConfigError, match=r"file:2: cannot be read: not UTF-8 text$"):
        read_text(path)
    assert read_text(tmp_path / "absent", absent=(FileNotFoundError,)) is None
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotAFile):
        read_file(tmp_path / "pipe", limit=8)


def test_obstacles(tmp_path: Path) -> None:
    """What is absent is none; a file where a folder belongs hangs nobody; links are followed."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    assert obstacle(tmp_path / "file", folder=False) is None
    assert obstacle(tmp_path / "link", folder=True) is None
    assert obstacle(tmp_path / "absent", folder=False) is None
    assert obstacle(Path("a\0b"), folder=True) is None
    assert obstacle(tmp_path / "file", folder=True) is None
    assert obstacle(tmp_path / "link", folder=False) == "it is a folder, not a file"
    assert obstacle(Path(os.devnull), folder=False) == "it is not a file"
    assert obstacle(Path(os.devnull), folder=True) == "it is not a folder"


def test_a_private_folder(tmp_path: Path) -> None:
    """What is created is for its user alone, the folders above it too; what is there stays."""
    tmp_path.chmod(0o755)
    before = os.umask(0o022)
    try:
        for _ in range(2):
            make_private_folder(tmp_path / "data" / "chroma")
    finally:
        os.umask(before)
    modes = [folder.stat().st_mode & 0o777 for folder in (tmp_path, *tmp_path.rglob("*"))]
    assert modes == [0o755, 0o700, 0o700]
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        make_private_folder(tmp_path / "file" / "data")
