"""``/admin``: API keys and collections, behind the admin token.

The routes for keys keep the paths and fields of the original. Wherever they take a key they also
take its id or its visible prefix, so that a lost key can be ended.
"""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field, field_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..auth import Key, Limits, parse_expiry, parse_origin
from ..auth.key import LIMITS, MOST
from ..documents import wire
from ..errors import Unprocessable
from ..retrieval.chroma.validation import checked_name
from ..services import Services
from ..types import StreamFormat
from .json_body import read_json, validated

_BODY_LIMIT = 64 * 1024
_DOCUMENTS_LIMIT = 8 * 1024 * 1024

Name = Annotated[str, Field(min_length=1, max_length=512)]


Limit = Annotated[int, Field(ge=0, le=MOST)]


class KeyLimits(BaseModel):
    """What limits a key; ``None`` is as configured."""

    origins: list[str] | None = Field(default=None, max_length=100)
    requests_per_minute: Limit | None = None
    requests_per_day: Limit | None = None
    streams: Limit | None = None
    visitor_per_minute: Limit | None = None

    @field_validator("origins", mode="after")
    @classmethod
    def _as_browsers_send_them(cls, origins: list[str] | None) -> list[str] | None:
        return origins and [parse_origin(each) for each in origins]

    def given(self) -> dict[str, int | None]:
        """Return those limits that were named."""
        return {name: getattr(self, name) for name in LIMITS if name in self.model_fields_set}


class NewKey(KeyLimits):
    """The body of ``POST /admin/api-keys``."""

    collection_name: Name
    client_name: Name
    notes: str | None = None
    expires: str | None = None
    stream_format: StreamFormat | None = None


class KeyReference(BaseModel):
    """The body of ``POST /admin/api-keys/deactivate``: a key, its id or its visible prefix."""

    api_key: Name


class LimitedKey(KeyLimits, KeyReference):
    """The body of ``POST /admin/api-keys/limits``: what is not named stays as it is."""


class RotatedKey(KeyReference):
    """The body of ``POST /admin/api-keys/rotate``: ``overlap`` is how long the old key works."""

    overlap: str | None = None


async def create_key(request: Request) -> Response:
    """Create a key; the reply is the only place where it is ever seen."""
    new = validated(NewKey, await read_json(request, limit=_BODY_LIMIT))
    expires_at = _expiry("expires", new.expires)
    key, secret = await _services(request).keys.create(
        checked_name(new.collection_name),
        new.client_name,
        notes=new.notes or "",
        expires_at=expires_at,
        stream_format=new.stream_format,
        origins=new.origins or (),
        limits=Limits(**new.given()),
    )
    return JSONResponse({"api_key": secret, **_public(key)})


async def list_keys(request: Request) -> Response:
    """List all keys by id and visible prefix, never a key itself."""
    return JSONResponse([_public(key) for key in await _services(request).keys.list()])


async def deactivate_key(request: Request) -> Response:
    """Switch a key off, at once in this process."""
    reference = validated(KeyReference, await read_json(request, limit=_BODY_LIMIT))
    if await _services(request).keys.deactivate(reference.api_key) is None:
        return _unknown_key()
    return JSONResponse({"status": "success", "message": "API key deactivated"})


async def limit_key(request: Request) -> Response:
    """Change what a key may be used for, at once in this process."""
    changed = validated(LimitedKey, await read_json(request, limit=_BODY_LIMIT))
    origins = changed.origins or [] if "origins" in changed.model_fields_set else None
    keys = _services(request).keys
    key = await keys.limit(changed.api_key, changed.given(), origins=origins)
    return _unknown_key() if key is None else JSONResponse(_public(key))


async def rotate_key(request: Request) -> Response:
    """Give a key a new secret; the reply is the only place where it is ever seen."""
    rotated = validated(RotatedKey, await read_json(request, limit=_BODY_LIMIT))
    until = _expiry("overlap", rotated.overlap)
    found = await _services(request).keys.rotate(rotated.api_key, until=until)
    if found is None:
        return _unknown_key()
    key, secret = found
    return JSONResponse({"api_key": secret, **_public(key)})


async def key_status(request: Request) -> Response:
    """Tell whether a key exists and is active; an unknown one is a normal answer."""
    key = await _services(request).keys.find(request.path_params["key"])
    if key is None:
        unknown = {"exists": False, "active": False, "collection": None}
        return JSONResponse({**unknown, "message": "API key not found"})
    return JSONResponse({"exists": True, **_public(key)})


async def delete_key(request: Request) -> Response:
    """Delete a key for good."""
    if not await _services(request).keys.delete(request.path_params["key"]):
        return _unknown_key()
    return JSONResponse({"status": "success", "message": "API key deleted"})


async def list_collections(request: Request) -> Response:
    """List all collections with their size and embedder."""
    return JSONResponse(await _services(request).store.collections())


async def show_collection(request: Request) -> Response:
    """Show one collection with its sources."""
    return JSONResponse(await _services(request).store.show(request.path_params["name"]))


async def drop_collection(request: Request) -> Response:
    """Delete a collection and all its documents."""
    await _services(request).store.drop(request.path_params["name"])
    return JSONResponse({"status": "success", "message": "Collection deleted"})


async def list_documents(request: Request) -> Response:
    """Give the chunk count of every source, or with ``?source=`` the chunk ids of that one.

    With ``?first=true`` it is the first passage of every source, with all that is kept about it.
    """
    store, name = _services(request).store, request.path_params["name"]
    if request.query_params.get("first") == "true":
        first = await store.first(name)
        return JSONResponse({"first": {source: each._asdict() for source, each in first.items()}})
    source = request.query_params.get("source")
    if source is None:
        return JSONResponse({"sources": await store.sources(name)})
    return JSONResponse({"ids": sorted(await store.ids(name, source))})


async def put_documents(request: Request) -> Response:
    """Embed and store a batch of chunks, then remove those that they replace."""
    batch = validated(wire.ChunkBatch, await read_json(request, limit=_DOCUMENTS_LIMIT))
    store, name = _services(request).store, request.path_params["name"]
    stored = await store.put(name, batch.chunks(), batch.remove, languages=batch.languages)
    count = len(batch.documents) - len(stored.left_out)
    refused = {name: by_id for name, by_id in stored._asdict().items() if by_id}
    return JSONResponse({"stored": count, "removed": len(batch.remove), **refused})


async def list_files(request: Request) -> Response:
    """List the sources of a collection, and what is known of each."""
    asked = validated(wire.FileList, dict(request.query_params))
    store, name = _services(request).store, request.path_params["name"]
    page = await store.files(name, after=asked.after, limit=asked.limit)
    return JSONResponse(wire.files_to_json(page))


async def remove_file(request: Request) -> Response:
    """Remove what was loaded from one source."""
    name, source = request.path_params["name"], request.path_params["source"]
    return JSONResponse({"removed": await _services(request).store.remove(name, source)})


async def search_collection(request: Request) -> Response:
    """Return the passages that the chat would answer a question from."""
    search = validated(wire.Search, await read_json(request, limit=_BODY_LIMIT))
    store, name = _services(request).store, request.path_params["name"]
    return JSONResponse(wire.passages_to_json(await store.search(name, search.question)))


async def list_candidates(request: Request) -> Response:
    """Return all that was found for a question, with the scores of both searches."""
    search = validated(wire.Search, await read_json(request, limit=_BODY_LIMIT))
    store, name = _services(request).store, request.path_params["name"]
    return JSONResponse(wire.candidates_to_json(await store.candidates(name, search.question)))


async def sample_collection(request: Request) -> Response:
    """Return some passages, spread evenly over the collection."""
    sample = validated(wire.Sample, dict(request.query_params))
    store, name = _services(request).store, request.path_params["name"]
    return JSONResponse(wire.passages_to_json(await store.sample(name, sample.n)))


async def set_threshold(request: Request) -> Response:
    """Write a calibrated threshold into the collection's metadata."""
    given = validated(wire.Threshold, await read_json(request, limit=_BODY_LIMIT))
    await _services(request).store.calibrate(request.path_params["name"], given.threshold)
    return JSONResponse({"threshold": given.threshold})


async def reindex_collection(request: Request) -> Response:
    """Write the next part of the word index again; to be repeated from ``done`` until the end."""
    given = validated(wire.Reindex, await read_json(request, limit=_BODY_LIMIT))
    result = await _services(request).store.reindex(request.path_params["name"], given.start)
    return JSONResponse(result._asdict())


async def repair_collection(request: Request) -> Response:
    """Repair the next part of a damaged collection; to be repeated from ``next`` until null."""
    given = validated(wire.Repair, await read_json(request, limit=_BODY_LIMIT))
    result = await _services(request).store.repair(request.path_params["name"], given.after)
    return JSONResponse(result._asdict())


async def clean_collections(request: Request) -> Response:
    """Remove from disk what has been deleted; questions wait meanwhile."""
    validated(wire.Clean, await read_json(request, limit=_BODY_LIMIT))
    return JSONResponse({"freed": await _services(request).store.clean()})


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def _public(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "prefix": key.prefix,
        "collection": key.collection,
        "client_name": key.client_name,
        "notes": key.notes,
        "created_at": key.created_at.timestamp(),
        "expires_at": key.expires_at and key.expires_at.timestamp(),
        "active": key.active,
        "last_used_at": key.last_used_at and key.last_used_at.timestamp(),
        "stream_format": key.stream_format,
        "origins": key.origins,
        **asdict(key.limits),
        "used_today": key.used_today(datetime.now(UTC)),
        "previous_until": key.previous_until and key.previous_until.timestamp(),
    }


def _expiry(name: str, text: str | None) -> datetime | None:
    try:
        return parse_expiry(text) if text else None
    except ValueError as error:
        raise Unprocessable(f"{name}: {error}") from error


def _unknown_key() -> Response:
    return JSONResponse({"detail": "API key not found", "code": "not_found"}, status_code=404)
