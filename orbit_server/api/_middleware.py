"""The top-level ``middleware`` folder under a name that no host can own.

A host application may well have a package ``middleware`` of its own, found before ours. This module
is a package by another path: its submodules are the files of the folder beside this package.
"""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parents[2] / "middleware")]
