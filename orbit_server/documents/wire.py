"""The JSON of the admin routes for collections, as the server reads it and the client writes it."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field

from ..retrieval.ranking import Candidate
from ..retrieval.words.languages import LANGUAGES
from ..types import Passage
from .model import Chunk
from .source_list import Source, SourcePage


def _own_key(name: str) -> str:
    # Chroma keeps the text of a record, for one, among its metadata, as chroma:document, and its
    # filters have operators that begin with a dollar sign.
    if not name or name.startswith(("chroma:", "$")):
        raise ValueError("a key must not be empty or begin with chroma: or $")
    return name


def _known_language(code: str) -> str:
    if code not in LANGUAGES:
        raise ValueError(f"not one of {', '.join(sorted(LANGUAGES))}")
    return code


Language = Annotated[str, AfterValidator(_known_language)]
MetadataKey = Annotated[str, AfterValidator(_own_key)]
MetadataValue = str | Annotated[int, Field(ge=-(2**63), lt=2**63)] | float | bool


class WireChunk(BaseModel):
    """One chunk, as ``ingest`` cut it."""

    id: Annotated[str, Field(min_length=1, max_length=128)]
    embed: Annotated[str, Field(min_length=1)]
    text: str
    metadata: dict[MetadataKey, MetadataValue]


class ChunkBatch(BaseModel):
    """The body of ``POST …/documents``: what to store, and then what to remove.

    ``languages`` are those of the collection, detected where they are not given.
    """

    documents: Annotated[list[WireChunk], Field(max_length=1000)] = []
    remove: Annotated[list[str], Field(max_length=100_000)] = []
    languages: Annotated[list[Language], Field(max_length=8)] = []

    @classmethod
    def of(
        cls, chunks: Iterable[Chunk], remove: Iterable[str], languages: Iterable[str] = ()
    ) -> Self:
        """Return the batch that stores ``chunks`` and removes the ids ``remove``."""
        # What cannot be stored is refused by the server, with its own words.
        documents = [WireChunk.model_construct(**asdict(chunk)) for chunk in chunks]
        return cls.model_construct(
            documents=documents, remove=list(remove), languages=list(languages)
        )

    def chunks(self) -> list[Chunk]:
        """Return the documents as chunks."""
        return [
            Chunk(id=each.id, embed=each.embed, text=each.text, metadata=each.metadata)
            for each in self.documents
        ]


class FileList(BaseModel):
    """The query of ``GET …/files``: sources behind ``after``, ``limit`` at most."""

    after: str = ""
    limit: Annotated[int, Field(ge=1, le=1000)] = 1000


class Search(BaseModel):
    """The body of ``POST …/search`` and ``POST …/candidates``."""

    question: Annotated[str, Field(min_length=1)]


class Sample(BaseModel):
    """The query of ``GET …/sample``."""

    n: Annotated[int, Field(ge=1, le=1000)] = 100


class Threshold(BaseModel):
    """The body of ``POST …/threshold``: what the best passage must score, 2 at most."""

    threshold: Annotated[float, Field(ge=-2, le=2)]


class Reindex(BaseModel):
    """The body of ``POST …/reindex``: how many chunks are done."""

    start: Annotated[int, Field(ge=0, lt=2**31)] = 0


class Repair(BaseModel):
    """The body of ``POST …/repair``: after which record to go on."""

    after: Annotated[int, Field(ge=0, lt=2**63)] = 0


class Clean(BaseModel):
    """The body of ``POST /admin/collections``: nothing else can be asked of all collections."""

    clean: Literal[True]


def passages_to_json(passages: Iterable[Passage]) -> dict[str, Any]:
    """Return the reply of ``…/search`` and ``…/sample``."""
    return {"passages": [asdict(passage) for passage in passages]}


def passages_from_json(reply: dict[str, Any]) -> list[Passage]:
    """Return the passages of such a reply."""
    return [Passage(**passage) for passage in reply["passages"]]


def files_to_json(page: SourcePage) -> dict[str, Any]:
    """Return the reply of ``GET …/files``."""
    return {"files": [asdict(source) for source in page.files], "next": page.next}


def files_from_json(reply: dict[str, Any]) -> SourcePage:
    """Return the sources of such a reply."""
    return SourcePage([Source(**source) for source in reply["files"]], reply["next"])


def candidates_to_json(candidates: Iterable[Candidate]) -> dict[str, Any]:
    """Return the reply of ``…/candidates``."""
    return {"candidates": [asdict(candidate) for candidate in candidates]}


def candidates_from_json(reply: dict[str, Any]) -> list[Candidate]:
    """Return the candidates of such a reply."""
    return [Candidate(Passage(**each.pop("passage")), **each) for each in reply["candidates"]]
