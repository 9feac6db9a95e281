"""Variables: from the environment and ``.env``, and put in where a value says ``${NAME}``."""

import re
from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from .files import read_text

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")


def read_dotenv(folders: Iterable[Path]) -> dict[str, str]:
    """Return the variables of the first ``.env`` that lies in one of ``folders``.

    Raises ``ConfigError`` for one that cannot be read; a folder of this name is none.
    """
    absent = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
    for folder in dict.fromkeys(folders):
        text = read_text(folder / ".env", absent=absent)
        if text is not None:
            # Without interpolation: that would look into os.environ, and change a token with a $.
            found = dotenv_values(stream=StringIO(text), interpolate=False)
            return {name: value for name, value in found.items() if value is not None}
    return {}


class References:
    """Replaces ``${NAME}`` by the variable, and remembers which were ``used`` and the problems."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = variables
        self.used: list[str] = []
        self.problems: list[str] = []

    def fill(self, value: Any) -> Any:
        """Return ``value``, a text, a list or a mapping, with its references replaced."""
        if isinstance(value, str):
            return _REFERENCE.sub(self._replace, value)
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if isinstance(value, dict):
            return {name: self.fill(item) for name, item in value.items()}
        return value

    def _replace(self, match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return "${"
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or not match[0].endswith("}"):
            self.problems.append("a variable is written ${NAME}, and $${ stands for a literal ${")
        elif name not in self.variables:
            self.problems.append(
                f"the variable {name} is set neither in the environment nor in .env"
            )
        else:
            self.used.append(name)
        return self.variables.get(name, "")
