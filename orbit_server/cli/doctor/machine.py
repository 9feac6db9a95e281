"""Checks of this machine: packages, folders, who may read them, disks, limits.

Nothing is created or changed by checking.
"""

import os
import platform
import pwd
import re
import resource
import shlex
import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ... import __version__
from ...auth.database import database_file
from ...config.loader import Config
from ...errors import ConfigError
from .finding import Finding, fail, ok, warn

_PROJECT = Path(__file__).parents[3]
_GIB, _MIB = 1 << 30, 1 << 20
_SAMPLE = 1000  # files of a folder
_FEW_FILES, _FEWER_FILES = 10_000, 1_000
_FEW_DESCRIPTORS = 4096
_READ_WRITE = os.R_OK | os.W_OK


class Place(NamedTuple):
    """A folder that the server writes to, the key that names it, and which files in it are ours."""

    key: str
    folder: Path
    pattern: str


def places(config: Config) -> list[Place]:
    """Return where the server keeps what it writes."""
    found = [
        Place("logging.file.directory", Path(config.logging.file.directory), "*.log*"),
    ]
    if config.retrieval.words == "local":
        found.insert(0, Place("retrieval.path", Path(config.retrieval.path), "*.sqlite3*"))
    if config.chroma.host is None:
        found.insert(0, Place("chroma.path", Path(config.chroma.path), "*"))
    if database := database_file(config.database.url):
        found.append(Place("database.url", database.parent, f"{database.name}*"))
    if config.elasticsearch.enabled:
        checkpoint = Path(config.elasticsearch.checkpoint)
        found.append(Place("elasticsearch.checkpoint", checkpoint.parent, f"{checkpoint.name}*"))
    return found


def packages() -> Iterator[Finding]:
    """Check whether every required package is installed, in any version."""
    named = (re.match(r"[A-Za-z0-9._-]+", line) for line in _required())
    missing = [name[0] for name in named if name and not _installed(name[0])]
    if missing:
        names = ", ".join(missing)
        yield fail("packages", f"not installed: {names}.", f"pip install {shlex.join(missing)}")
    else:
        python = platform.python_version()
        yield ok("packages", f"ORBIT server {__version__}, Python {python}, nothing is missing.")


def _required() -> list[str]:
    """Return the required packages: those of the checkout, else of what is installed."""
    if (_PROJECT / "pyproject.toml").is_file():
        return (_PROJECT / "requirements.txt").read_text().splitlines()
    try:
        required = metadata.requires("orbit-server") or []
    except metadata.PackageNotFoundError:
        return []
    return [line for line in required if "extra ==" not in line]


def open_files() -> Iterator[Finding]:
    """Check how many files and sockets the server may have open: every client takes one or two."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY or most >= _FEW_DESCRIPTORS:
        yield ok("open files", "enough files and sockets may be open at once.")
    else:
        yield warn(
            "open files",
            f"only {most} files and sockets may be open at once.",
            "LimitNOFILE=65536 in the systemd unit, or `nofile` in /etc/security/limits.conf.",
        )


def folders(config: Config) -> Iterator[Finding]:
    """Check whether this user may write where the server has to, or make what is not there yet."""
    problems = [problem for place in places(config) for problem in _unwritable(place)]
    yield from problems
    if not problems:
        named = dict.fromkeys(str(place.folder) for place in places(config))
        yield ok("folders", f"{_user()} can write in {', '.join(named)}.")
    webroot = config.general.acme_dir
    if webroot and not (_is_folder(Path(webroot)) and os.access(webroot, os.X_OK)):
        message = f"general.acme_dir: {webroot} is not a folder that {_user()} can enter."
        yield warn("folders", message, f"sudo install -d -m 0755 {shlex.quote(webroot)}")
    owners = {_target(place.folder).stat().st_uid for place in places(config)} - {0}
    if os.geteuid() == 0 and owners:
        owner = _user(min(owners))
        yield warn(
            "folders",
            f"this runs as root, who may write everywhere; the folders belong to {owner}.",
            f"Check as the server's user: sudo -u {owner} orbit doctor",
        )


def foreign_root(folder: Path) -> bool:
    """Tell whether root checks another user's folder: opening it would leave files of root."""
    return os.geteuid() == 0 and folder.stat().st_uid != 0


def secrets(config: Config | None, file: Path) -> Iterator[Finding]:
    """Check whether other users can read keys, questions, tokens and passwords.

    ``config`` is ``None`` when ``file``, the configuration, cannot be used.
    """
    private = list(dict.fromkeys((file.parent / ".env", Path(".env"))))
    if config is not None:
        if _holds_secrets(file, config):
            private.append(file)
        if database := database_file(config.database.url):
            private += [Path(f"{database}{end}") for end in ("", "-wal", "-shm")]
        if config.general.https.enabled:
            private.append(Path(config.general.https.key_file))
    exposed = [path for path in private if _open_to_all(path)]
    if exposed:
        names = shlex.join(map(str, exposed))
        yield warn("secrets", f"every user can read {names}.", f"chmod o-rwx {names}")
    folders = _exposed_folders(config) if config is not None else {}
    for what, open_to_all in folders.items():
        message = f"every user can read {what}, in {', '.join(open_to_all)}."
        yield warn("secrets", message, f"chmod -R o-rwx {shlex.join(open_to_all)}")
    if not exposed and not folders:
        what = ".env" if config is None else "tokens, keys, questions or documents"
        yield ok("secrets", f"other users cannot read {what}.")


def _exposed_folders(config: Config) -> dict[str, list[str]]:
    """Return the folders in which other users can read something, by what that is."""
    logs = Path(config.logging.file.directory)
    documents = [Path(config.retrieval.path)] if config.retrieval.words == "local" else []
    if config.chroma.host is None:
        documents.append(Path(config.chroma.path))
    private = {
        "what people asked": [(logs, "*.log*")],
        "your documents": [(folder, "**/*") for folder in documents],
    }
    return {
        what: names
        for what, places in private.items()
        if (names := [str(folder) for folder, files in places if _any_open_to_all(folder, files)])
    }


def _any_open_to_all(folder: Path, files: str) -> bool:
    if not os.access(folder, os.R_OK | os.X_OK) or not folder.stat().st_mode & stat.S_IXOTH:
        return False
    found = (path for path in folder.glob(files) if not path.is_dir())
    return any(map(_open_to_all, islice(found, _SAMPLE)))


def disks(config: Config) -> Iterator[Finding]:
    """Check how much room is left where the server writes, once for every file system."""
    by_device: dict[int, tuple[Path, list[str]]] = {}
    for place in places(config):
        there = _target(place.folder)
        names = by_device.setdefault(there.stat().st_dev, (there, []))[1]
        if str(place.folder) not in names:
            names.append(str(place.folder))
    for there, names in by_device.values():
        system = os.statvfs(there)
        free = system.f_bavail * system.f_frsize
        files = system.f_favail if system.f_files else _FEW_FILES  # some count no files
        room = f"{free / _GIB:.1f} GiB" if free >= _GIB else f"{free // _MIB} MiB"
        message = f"{room} free for {', '.join(names)}."
        remedy = f"Free space on the disk of {there}, or lower logging.file.retention_days."
        if files < _FEW_FILES:
            message = f"room for {files} more files, {message}"
        if free < 100 * _MIB or files < _FEWER_FILES:
            yield fail("disk", message, remedy)
        elif free < _GIB or files < _FEW_FILES:
            yield warn("disk", message, remedy)
        else:
            yield ok("disk", message)


def certificate(config: Config) -> Iterator[Finding]:
    """Check whether HTTPS can be served with the certificate, and for how long."""
    https = config.general.https
    if not https.enabled:
        return
    from ...server.certificate import Certificate

    remedy = "Renew it: certbot renew, or replace general.https.cert_file and key_file."
    try:
        shown = Certificate(Path(https.cert_file), Path(https.key_file))
    except ConfigError as error:
        keys = "Correct general.https.cert_file and general.https.key_file, see docs/https.md."
        yield from (fail("certificate", mistake, keys) for mistake in error.mistakes)
        return
    day, left = f"{shown.expires:%Y-%m-%d}", shown.days_left()
    if left < 0:
        yield fail("certificate", f"{https.cert_file} has expired on {day}.", remedy)
    elif shown.begins > datetime.now(UTC):
        message = f"{https.cert_file} is not valid before {shown.begins:%Y-%m-%d %H:%M} UTC."
        later = "Wait until then, or name another in general.https.cert_file; check the clock too."
        yield warn("certificate", message, later)
    elif shown.due():
        yield warn("certificate", f"{https.cert_file} expires in {left} days, on {day}.", remedy)
    else:
        yield ok("certificate", f"{https.cert_file} is good until {day}.")


def _unwritable(place: Place) -> Iterator[Finding]:
    folder, there, user = place.folder, _existing(place.folder), _user()
    if not _is_folder(there):
        what, remedy = "is not a folder.", "Remove it"
        if there.is_symlink():
            what = f"leads to {os.path.realpath(there)}, which is not a folder that {user} can see."
            remedy = "Create that folder"
        message = f"{place.key}: {there} {what}"
        yield fail("folders", message, f"{remedy}, or name another folder in {place.key}.")
        return
    name, exists = shlex.quote(str(folder)), there == folder.absolute()
    found = sorted(folder.glob(place.pattern)) if exists else []
    files = f"{name}/{place.pattern}"
    shut = [each for each in found if not os.access(each, _READ_WRITE)]
    elsewhere = f"if the server runs as {user}; else check as its user."
    if os.access(there, os.W_OK | os.X_OK):
        if shut:
            names = ", ".join(map(str, shut[:3])) + (", …" if len(shut) > 3 else "")
            message = f"{place.key}: {names} cannot be written by {user}."
            yield fail("folders", message, f"sudo chown -R {user} {files} {elsewhere}")
    elif exists:
        message = f"{place.key}: the folder {folder} cannot be written by {user}."
        names = f"{name} {files}" if found else name
        yield fail("folders", message, f"sudo chown {user} {names} {elsewhere}")
    else:
        message = f"{place.key}: {folder} does not exist, and {user} cannot create it in {there}."
        yield fail("folders", message, f"sudo install -d -o {user} {name} {elsewhere}")


def _existing(path: Path) -> Path:
    """Return ``path``, or the nearest folder above it that is there, be it a link to nothing."""
    path = path.absolute()
    return next(each for each in (path, *path.parents) if os.path.lexists(each))


def _target(path: Path) -> Path:
    """Return where ``path`` leads, or the nearest folder above that which is there."""
    path = Path(os.path.realpath(path))
    return next(each for each in (path, *path.parents) if os.access(each, os.F_OK))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except PermissionError:  # a link leads where we may not enter
        return False


def _holds_secrets(file: Path, config: Config) -> bool:
    elasticsearch = config.elasticsearch
    hidden = [elasticsearch.auth.password, elasticsearch.api_key, *config.chroma.headers.values()]
    hidden_texts = {each.get_secret_value() for each in hidden if each is not None}
    hidden_texts |= {config.database.url} if "@" in config.database.url else set()
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return False
    return any(secret in text for secret in hidden_texts)


def _open_to_all(path: Path) -> bool:
    try:
        path = path.resolve()
        reachable: Iterable[bool] = (
            bool(each.stat().st_mode & stat.S_IXOTH) for each in path.parents
        )
        return bool(path.stat().st_mode & stat.S_IROTH) and all(reachable)
    except OSError:
        return False


def _installed(package: str) -> bool:
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False


def _user(number: int | None = None) -> str:
    number = os.geteuid() if number is None else number
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
