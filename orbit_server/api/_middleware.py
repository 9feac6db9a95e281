"""The top-level ``middleware`` folder under a name that no host can own.

A host application may well have a package ``middleware`` of its own, found before ours. This module
is a package by another path: its submodules are the files of that folder, which lies beside this
package in a checkout and inside it once installed.
"""

from ..config.files import shipped

__path__ = [str(shipped("middleware"))]
