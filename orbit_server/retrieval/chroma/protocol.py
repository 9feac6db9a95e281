"""What the rest of the server needs of Chroma, and what it gets from it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

Vector = Sequence[float]
Metadata = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Collection:
    """What Chroma knows about one collection.

    ``space`` is the metric of its distances (``cosine``, ``l2`` for squared Euclidean, ``ip``);
    ``dimension`` is ``None`` until the first write and fixed after it.
    """

    id: str
    name: str
    space: str
    metadata: dict[str, Any]
    dimension: int | None


@dataclass(frozen=True, slots=True)
class Record:
    """One stored record; ``distance`` is set where a vector was given."""

    id: str
    document: str | None
    metadata: dict[str, Any]
    distance: float | None = None


# From the distances of the nearest records, by their ids, to the ids of those worth reading.
Choose = Callable[[Mapping[str, float]], Sequence[str]]


class Chroma(Protocol):
    """What the rest of the server needs of Chroma.

    Every call raises the :class:`SearchError` family, :class:`NotStarted` outside ``async with``,
    and :class:`Unprocessable` for a name that no collection can have.
    """

    answers_meanwhile: bool
    """Whether questions are asked while records are written: then few of these are at once."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def heartbeat(self) -> None:
        """Return when Chroma answers."""

    async def collection(self, name: str, *, fresh: bool = False) -> Collection:
        """Return the collection; raise ``CollectionNotFound``.

        It may have been remembered for some seconds, unless it is to be ``fresh``.
        """

    async def collections(self) -> list[Collection]:
        """Return every collection, by name."""

    async def create(self, name: str, metadata: dict[str, Any]) -> Collection:
        """Make a cosine collection, or find the one of this name; return what is stored.

        Chroma leaves an existing collection as it is, so the result may have other metadata and
        another space than asked for.
        """

    async def modify(self, collection: Collection, metadata: dict[str, Any]) -> None:
        """Replace the metadata of exactly this collection, by at least one key."""

    async def annotate(self, collection: Collection, changes: Mapping[str, Any]) -> None:
        """Write ``changes`` into the metadata of exactly this collection; ``None`` takes one out.

        What else is there now stays: two of this process never undo what the other has written,
        while another process may.
        """

    async def rename(self, collection: Collection, name: str) -> None:
        """Give exactly this collection another name, which no other may have."""

    async def drop(self, name: str) -> None:
        """Delete the collection and its records; ``CollectionNotFound`` when there is none."""

    async def count(self, name: str) -> int:
        """Return the number of records."""

    async def search(
        self,
        name: str,
        vector: Vector,
        *,
        n: int,
        choose: Choose,
        beside: Awaitable[object] | None = None,
        request_id: str | None = None,
    ) -> list[Record]:
        """Find the ``n`` >= 1 nearest records, and read whole those that ``choose`` names.

        It may name others than the nearest, and may be called in a thread; what goes on ``beside``
        has ended by then. Every record has its distance; ids that are not there are left out.
        """

    async def query(
        self,
        name: str,
        vector: Vector,
        *,
        n: int,
        ids: Sequence[str] | None = None,
        bare: bool = False,
        request_id: str | None = None,
    ) -> list[Record]:
        """Return the ``n`` >= 1 nearest records (or all, if fewer) by ascending distance.

        With ``ids`` only these are looked at. ``bare`` records have id and distance only, which
        costs a third of the time.
        """

    async def get(
        self,
        name: str,
        *,
        ids: Sequence[str] | None = None,
        where: dict[str, Any] | None = None,
        limit: int | None = None,
        offset: int = 0,
        vector: Vector | None = None,
        texts: bool = True,
        request_id: str | None = None,
    ) -> list[Record]:
        """Return stored records; ids that are not there are left out. Without a limit: all.

        They have their distance to ``vector``, if one is given, and no document without ``texts``.
        """

    async def ids(
        self, name: str, *, ids: Sequence[str] | None = None, where: dict[str, Any] | None = None
    ) -> set[str]:
        """Return the ids of stored records, of these or of all; a tenth of the time of ``get``."""

    async def upsert(
        self,
        name: str,
        *,
        ids: Sequence[str],
        vectors: Sequence[Vector],
        documents: Sequence[str | None],
        metadatas: Sequence[Metadata | None],
    ) -> None:
        """Add records or replace those with the same id, in batches that Chroma takes.

        Metadata keys of an existing record that are not given stay. Raise ``ValueError``, before
        anything is written, for lists of unequal length or metadata that is not scalar.
        """

    async def delete(self, name: str, *, ids: Sequence[str]) -> None:
        """Delete these records; ids that are not there are no error."""

    async def stored_count(self, collection_id: str) -> int:
        """Return the number of records of a collection whose vectors may be damaged."""

    async def stored_records(
        self, collection_id: str, *, after: int, limit: int
    ) -> list[tuple[int, Record]]:
        """Return up to ``limit`` records of it, each with a number that is above ``after``.

        They are read beside Chroma. Raise ``SearchUnavailable`` with what to do instead, as
        ``stored_count`` and ``clean`` do, where the folder is not this process's own.
        """

    async def clean(self) -> int:
        """Remove from disk what has been deleted; the number of bytes freed.

        Other calls wait until it is done, which takes about a second for each 100 MB, and needs
        as much free disk space as the database has.
        """
