"""What an installation may take, and what was tested."""

from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]


def lines(name: str) -> list[str]:
    """Return the requirements of a file; comments and other files are left out."""
    text = (ROOT / name).read_text().splitlines()
    return [line for line in text if line and not line.startswith(("#", "-"))]


TESTED = {
    requirement.name.lower().replace("_", "-"): str(requirement.specifier).removeprefix("==")
    for requirement in map(Requirement, lines("constraints.txt"))
}


@pytest.mark.parametrize("line", lines("requirements.txt") + lines("requirements-dev.txt"))
def test_the_tested_version_is_allowed(line: str) -> None:
    """Each requirement has a lower bound, and the tested version lies within its bounds."""
    requirement = Requirement(line)
    assert any(bound.operator == ">=" for bound in requirement.specifier), line
    assert TESTED[requirement.name.lower()] in requirement.specifier


UNDOCUMENTED = {"chromadb"}  # the interface that is used: any minor version may change it


@pytest.mark.parametrize("line", lines("requirements.txt"))
def test_only_majors_are_capped(line: str) -> None:
    """A host that mounts the server has versions of its own; only the next major is refused."""
    requirement = Requirement(line)
    for bound in requirement.specifier:
        assert bound.operator in (">=", "<"), line
        is_major = "." not in bound.version
        assert bound.operator == ">=" or is_major != (requirement.name in UNDOCUMENTED), line
