"""What the rest of the program needs of a language model, whichever serves it."""

from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, Protocol, Self

Message = dict[str, str]


class TextStream(Protocol):
    """A text while it is being written: lists of pieces, to be appended in order.

    It holds what it needs open between ``__aenter__`` and ``__aexit__``. ``usage`` and
    ``finish_reason`` (``stop`` or ``length``) are final after the last step. Raises the
    ``ModelError`` family.
    """

    usage: dict[str, int]
    finish_reason: str

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    def __aiter__(self) -> AsyncIterator[list[str]]: ...

    async def __anext__(self) -> list[str]: ...


class Chat(Protocol):
    """A chat model's reply to ``messages`` as a stream; nothing is sent before it is entered.

    ``options`` override those of the client. ``conversation`` is the same for all replies of one
    conversation: who has read its beginning answers sooner.
    """

    def __call__(
        self,
        messages: Sequence[Message],
        /,
        *,
        model: str,
        options: dict[str, Any] | None = None,
        request_id: str | None = None,
        conversation: str | None = None,
    ) -> TextStream: ...


class Complete(Protocol):
    """One whole reply of a chat model; raises the ``ModelError`` family.

    ``options`` override those of the client, ``format`` is a JSON schema that the reply has to
    follow, ``think=False`` asks a model that reasons first not to. ``request_id`` is the request on
    whose behalf the model is asked.
    """

    def __call__(
        self,
        messages: list[Message],
        /,
        *,
        model: str,
        options: dict[str, Any] | None = None,
        format: dict[str, Any] | None = None,
        think: bool | None = None,
        request_id: str | None = None,
    ) -> Awaitable[str]: ...
