"""Expected errors, and the one error body.

    OrbitError                       500  internal_error
    ├── ConfigError                       (start-up only: every mistake with its key and place)
    ├── NotStarted                   503  not_started
    ├── InvalidRequest               400  invalid_request
    │   ├── Forbidden                403  forbidden
    │   │   └── OriginNotAllowed     403  origin_not_allowed
    │   ├── NotFound                 404  not_found
    │   ├── Conflict                 409  conflict
    │   ├── RequestTimeout           408  request_timeout
    │   ├── BodyTooLarge             413  body_too_large
    │   ├── UnsupportedMediaType     415  unsupported_media_type
    │   ├── TooManyRequests          429  too_many_requests
    │   ├── HeadersTooLarge          431  headers_too_large
    │   └── Unprocessable            422  unprocessable
    │       └── UnreadableDocument   422  unreadable_document
    ├── KeyEnded                     401  key_ended
    ├── KeysUnavailable              503  keys_unavailable
    ├── ModelError                   502  model_failed
    │   ├── ModelNotFound            502  model_not_found
    │   ├── ModelBusy                503  model_busy
    │   ├── ModelUnreachable         503  model_unreachable
    │   ├── ModelTimeout             504  model_timeout
    │   └── ModelInterrupted         502  model_interrupted
    ├── SearchError                  502  search_failed
    │   ├── SearchUnavailable        503  search_unavailable
    │   ├── SearchTimeout            504  search_timeout
    │   ├── CollectionNotFound       503  collection_not_found
    │   └── EmbedderMismatch         503  embedder_mismatch
    └── ShuttingDown                 503  shutting_down

``str(error)`` is the cause, for the operator's log. ``error.detail`` is for the user:
published clients show it to end users word for word, so it is short and names nothing internal.
"""

from collections.abc import Mapping
from typing import ClassVar


class OrbitError(Exception):
    """Base of the errors that this package expects.

    ``cause`` is what the operator reads in the log; ``detail`` replaces the class's sentence for
    the user. ``retry_after`` is in how many seconds it is worth trying again, where that is known.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    sentence: ClassVar[str] = "Something went wrong on our side. Please try again later."
    retry_after: int | None = None

    def __init__(
        self, cause: str = "", *, detail: str | None = None, retry_after: int | None = None
    ) -> None:
        self.detail = detail or self.sentence
        self.retry_after = retry_after or self.retry_after
        super().__init__(cause or self.detail)

    def body(self) -> dict[str, str]:
        """Return the JSON object that every failed request is answered with."""
        return {"detail": self.detail, "code": self.code}

    def headers(self) -> dict[str, str]:
        """Return the headers that go with ``body``."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


class ConfigError(OrbitError):
    """The configuration cannot be used. ``mistakes`` holds one line each, all found at once.

    ``heading`` says whose configuration it is, where that is not plain.
    """

    code = "config"

    def __init__(self, mistakes: list[str], *, heading: str = "") -> None:
        self.mistakes = mistakes
        text = "\n".join(mistakes)
        super().__init__(f"{heading}:\n{text}" if heading else text)


class NotStarted(OrbitError):
    """A request arrived before the lifespan opened the services, or after it closed them."""

    status = 503
    code = "not_started"
    sentence = "The chat service is not running. Please try again later."


class InvalidRequest(OrbitError):
    """The request itself is at fault; ``detail`` tells its author what to change."""

    status = 400
    code = "invalid_request"
    sentence = "The request is not valid."

    def __init__(self, detail: str | None = None, *, cause: str = "") -> None:
        super().__init__(cause, detail=detail)


class Forbidden(InvalidRequest):
    """The caller is not allowed to do this."""

    status = 403
    code = "forbidden"
    sentence = "This is not allowed."


class OriginNotAllowed(Forbidden):
    """The key is for pages of certain sites, and the request comes from somewhere else."""

    code = "origin_not_allowed"
    reason = "origin"
    sentence = "This API key works only on the website that it was made for."


class NotFound(InvalidRequest):
    """There is nothing of this name."""

    status = 404
    code = "not_found"
    sentence = "Not found."


class Conflict(InvalidRequest):
    """What is asked contradicts what is stored."""

    status = 409
    code = "conflict"
    sentence = "This conflicts with what is stored."


class RequestTimeout(InvalidRequest):
    """The request body did not arrive in time."""

    status = 408
    code = "request_timeout"
    sentence = "The request took too long to arrive."


class BodyTooLarge(InvalidRequest):
    """The request body is over the route's limit."""

    status = 413
    code = "body_too_large"
    sentence = "The request is too large."


class UnsupportedMediaType(InvalidRequest):
    """The request body is not declared as JSON."""

    status = 415
    code = "unsupported_media_type"
    sentence = "Send the request as application/json."


class TooManyRequests(InvalidRequest):
    """The caller is past the limit ``reason``; ``headers`` tell its program until when."""

    status = 429
    code = "too_many_requests"
    sentence = "Too many questions. Please try again in a moment."

    def __init__(self, detail: str, *, reason: str, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.reason = reason
        self._headers = headers

    def headers(self) -> dict[str, str]:
        """Return the headers that go with ``body``."""
        return dict(self._headers)


class HeadersTooLarge(InvalidRequest):
    """The request line and headers are over the limit."""

    status = 431
    code = "headers_too_large"
    sentence = "The headers of the request are too large."


class Unprocessable(InvalidRequest):
    """The body is well-formed JSON with the wrong content."""

    status = 422
    code = "unprocessable"


class UnreadableDocument(Unprocessable):
    """A file cannot be read into text; ``str(error)`` says why, in a sentence for who loads it."""

    code = "unreadable_document"
    sentence = "The document cannot be read."


class KeyEnded(OrbitError):
    """The key of an answer was withdrawn, replaced or has expired while it was made."""

    status = 401
    code = "key_ended"
    sentence = "The answer ends here, because its API key is no longer valid."


class KeysUnavailable(OrbitError):
    """The key database does not answer. Never reported as a wrong key."""

    status = 503
    code = "keys_unavailable"
    sentence = "The chat service cannot check API keys right now. Please try again later."
    retry_after = 2


class ModelError(OrbitError):
    """The language model refused or failed; ``answered`` is the HTTP status of its host, if any."""

    status = 502
    code = "model_failed"
    sentence = "The language model could not answer. Please try again later."
    answered: int | None = None


class ModelNotFound(ModelError):
    """Ollama runs, but the configured model was never pulled."""

    code = "model_not_found"
    sentence = "The language model is not installed. Please tell the operator of this service."


class ModelBusy(ModelError):
    """The queue for the model is full, our own or Ollama's."""

    status = 503
    code = "model_busy"
    sentence = "The language model is busy. Please try again in a moment."
    retry_after = 5


class ModelUnreachable(ModelError):
    """Nothing answers at the model's address."""

    status = 503
    code = "model_unreachable"
    sentence = "The language model cannot be reached right now. Please try again later."


class ModelTimeout(ModelError):
    """The model's host did not take the connection in time, or fell silent."""

    status = 504
    code = "model_timeout"
    sentence = "The language model took too long. Please try again later."


class ModelInterrupted(ModelError):
    """The model's answer ended before it was complete."""

    code = "model_interrupted"
    sentence = "The answer was cut off because the language model stopped. Please ask again."


class SearchError(OrbitError):
    """Chroma refused or failed."""

    status = 502
    code = "search_failed"
    sentence = "The documents could not be searched. Please try again later."


class SearchUnavailable(SearchError):
    """Chroma does not answer. Never reported as "nothing found"."""

    status = 503
    code = "search_unavailable"
    sentence = "The documents cannot be searched right now. Please try again later."


class SearchTimeout(SearchError):
    """Chroma took too long."""

    status = 504
    code = "search_timeout"
    sentence = "Searching the documents took too long. Please try again later."


class CollectionNotFound(SearchError):
    """The collection that a key names does not exist."""

    status = 503
    code = "collection_not_found"
    sentence = "There are no documents for this key yet. Please tell the operator of this service."


class EmbedderMismatch(SearchError):
    """The collection was embedded by something else than the configured embedder."""

    status = 503
    code = "embedder_mismatch"
    sentence = "The documents cannot be searched as configured. Please tell the operator."


class ShuttingDown(OrbitError):
    """The server stops; running answers end with this."""

    status = 503
    code = "shutting_down"
    sentence = "The service is being restarted. Please ask again in a moment."
