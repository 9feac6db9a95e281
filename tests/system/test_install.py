"""The program as others install it: a wheel, in an environment of its own, in an empty folder.

Nothing is downloaded: the wheel is built with the packages of the environment that runs the tests,
and finds those that it needs there.
"""

import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import aiohttp
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from orbit_server import __version__

from ..support.program import ROOT, environment, server
from ..support.server import events, text

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this project."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps"]
    options = ["--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run([*pip, *options], check=True)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def orbit(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program ``orbit`` of a fresh environment in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, symlinks=True)
    packages = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    [site] = folder.glob("lib/python*/site-packages")
    (site / "tests.pth").write_text("\n".join(packages))
    python = str(folder / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    subprocess.run([*pip, "--no-index", "--no-deps", str(wheel)], check=True)
    return folder / "bin" / "orbit"


def test_a_wheel_holds_one_package(wheel: Path) -> None:
    """Nothing lies beside it in site-packages; the middleware, the samples and its types are in."""
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
    assert {name.partition("/")[0] for name in names} == {
        "orbit_server",
        f"orbit_server-{__version__}.dist-info",
    }
    inside = {name.removeprefix("orbit_server/") for name in names}
    for folder in ("examples", "middleware"):
        assert {
            f"{folder}/{path.name}" for path in (ROOT / folder).iterdir() if path.is_file()
        } <= inside
    assert "py.typed" in inside
    assert not [name for name in names if "__pycache__" in name or ".env" in name]


def test_a_wheel_needs_what_requirements_say(wheel: Path) -> None:
    """There is one list of packages, and what is extra is named as such."""
    with zipfile.ZipFile(wheel) as opened:
        info = PathDistribution(zipfile.Path(opened, f"orbit_server-{__version__}.dist-info/"))
        required = info.requires or []
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    listed = {re.split(r"[\[<>=;]", line)[0].lower() for line in lines if line}
    needed = {re.split(r"[\[<>=; ]", line)[0] for line in required if "extra ==" not in line}
    extras = {line.partition("extra == ")[2].strip("'\"") for line in required if "extra" in line}
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert needed == listed
    assert extras == set(declared["optional-dependencies"])


def test_constraints_fit_the_requirements() -> None:
    """Every package that is named has the version that was tested, which is one that is allowed."""
    pinned = dict(
        line.partition(" ;")[0].split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line for lines in declared["optional-dependencies"].values() for line in lines]
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines += (ROOT / name).read_text().splitlines()
    for line in lines:
        if line and not line.startswith(("-r", "#")):
            requirement = Requirement(line)
            version = pinned.get(canonicalize_name(requirement.name))
            assert version is not None and version in requirement.specifier, line


def test_the_program_says_its_version(orbit: Path, tmp_path: Path) -> None:
    """So that an administrator knows what is installed."""
    variables = environment() | {"PYTHONPATH": ""}
    run = [str(orbit), "--version"]
    done = subprocess.run(run, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"orbit {__version__}\n", "")


async def test_an_installed_demo_answers(orbit: Path, tmp_path: Path) -> None:
    """In an empty folder, without the project anywhere near."""
    async with server(tmp_path, "--demo", program=[orbit, "serve"]) as demo:
        [ask] = [line for line in demo.log.splitlines() if line.startswith("curl ")]
        key = {"X-API-Key": re.findall(r"X-API-Key: (\w+)", ask)[0]}
        body = {"message": "When is the library open on Saturdays?"}
        async with (
            aiohttp.ClientSession(demo.url) as http,
            http.post("/chat", json=body, headers=key) as response,
        ):
            assert "10:00 to 14:00" in text(events(await response.read())[:-1])
        assert await demo.ended() == 0
