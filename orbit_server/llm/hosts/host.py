"""One of several hosts: what it has, what it does now, and how that went."""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from ...errors import ModelError, ModelNotFound, ModelTimeout, ModelUnreachable
from ..installed import short, tagged
from ..ollama import Ollama
from .circuit import Circuit

logger = logging.getLogger(__name__)

_PATIENCE = 1.0  # seconds after which a call that is given up says something of the host
# Statuses of 400 and above that are about the way to this host, not about the request.
_OF_THE_HOST = {401, 403, 404, 407, 408, 429}


class Host:
    """An Ollama server among others.

    ``weight`` is how many calls at once it is good for, compared with the others; ``places`` how
    many answers may be written there at once, 0 for any number. ``models`` maps the names of what
    is installed to digests, ``None`` as long as nobody knows; ``loaded`` names what is in memory.
    ``running`` counts calls of all kinds, ``answers`` those among them that hold a place.
    ``suspect`` is the kind and the model of a call that failed, as long as none has succeeded;
    ``failing`` is set at each failure, for whoever waits for one.
    """

    def __init__(
        self, client: Ollama, *, weight: float, places: int, circuit: Circuit | None = None
    ) -> None:
        self.client, self.weight, self.places = client, weight, places
        parts = urlsplit(client.base_url)
        self.name = f"{parts.netloc.rpartition('@')[2]}{parts.path}"
        self.circuit = circuit or Circuit()
        self.models: dict[str, str] | None = None
        self.loaded: set[str] = set()
        self.version = ""
        self.running = self.answers = 0
        self.succeeded = self.failed = 0
        self.suspect: tuple[str, str] | None = None
        self.failing = asyncio.Event()

    @property
    def is_out(self) -> bool:
        """Whether it gets no work for now."""
        return self.circuit.is_out

    @property
    def has_place(self) -> bool:
        """Whether one more answer may be written here."""
        return not self.places or self.answers < self.places

    def has(self, model: str, digest: str | None = None) -> bool:
        """Tell whether ``model`` is installed, with this ``digest`` if one is given."""
        found = (self.models or {}).get(tagged(model))
        return found is not None and digest in (None, found)

    def digest(self, model: str) -> str | None:
        """Return the digest of ``model``, ``None`` where that is not known."""
        return (self.models or {}).get(tagged(model)) or None

    @contextmanager
    def call(self, model: str, kind: str) -> Iterator[None]:
        """Count a call of ``model`` while it runs, and note how it ends.

        ``kind`` is ``chat`` or ``embed``: a host that goes out is tried with the same kind later.
        """
        began = time.monotonic()
        self.running += 1
        try:
            yield
        except ModelError as error:
            self.note(error, model, kind)
            raise
        except asyncio.CancelledError:
            # Its caller has a limit of time of its own, or has left; several at once count as one.
            if time.monotonic() - began >= _PATIENCE:
                if self.circuit.is_doubtful:
                    self.circuit.doubt()
                else:
                    self.suspect = (kind, model)
                    self.fails(ModelError(f"{model} did not answer in the time that was left"))
            raise
        else:
            self.works(model)
        finally:
            self.running -= 1

    def works(self, model: str | None = None) -> None:
        """Note that a call of ``model`` has succeeded, or a trial."""
        if model is not None:
            self.succeeded += 1
            self.loaded.add(tagged(model))
        self.suspect = None
        if self.circuit.succeeded():
            logger.warning("the model's host %s is back", self.name)

    def note(self, error: ModelError, model: str, kind: str) -> None:
        """Note that a call of ``model`` has failed, before anything of its reply was there."""
        self.failed += 1
        if isinstance(error, ModelNotFound):
            if self.models is not None:  # somebody has removed it
                self.models.pop(tagged(model), None)
        elif is_hopeless(error):
            pass
        elif kind == "embed" and type(error) is ModelError:
            # Some texts are refused by every host with a 500, see refused_texts.
            self.circuit.doubt()
        else:
            self.suspect = None if isinstance(error, ModelUnreachable) else (kind, model)
            self.fails(error)

    def fails(self, error: Exception) -> None:
        """Note that the host has failed: it answered nothing, or that it is broken."""
        self.failing.set()
        if self.circuit.failed(silent=isinstance(error, ModelTimeout)):
            logger.warning("the model's host %s gets no work for now: %s", self.name, error)

    def state(self) -> dict[str, Any]:
        """Return what the operator sees of this host; nothing in it is secret."""
        return {
            "host": self.name,
            "status": "out" if self.is_out else "ok" if self.models is not None else "new",
            "version": self.version,
            "running": self.running,
            "answers": self.succeeded,
            "failures": self.failed,
            "models": {name: short(digest) for name, digest in sorted((self.models or {}).items())},
            "loaded": sorted(self.loaded),
        }


def is_hopeless(error: ModelError) -> bool:
    """Tell whether another host would refuse the same: the request itself is at fault."""
    status = error.answered or 0
    return 400 <= status < 500 and status not in _OF_THE_HOST
