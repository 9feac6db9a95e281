"""The body of ``POST /v1/chat/completions`` becomes a ``Question``."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.types import Receive, Scope

from ..config import Config
from ..errors import InvalidRequest
from ..types import Question, Turn
from .json_body import read_json
from .openai_sources import without_sources

_BODY_LIMIT = 64 * 1024
_SYSTEM_ROLES = ("system", "developer")
# What would change the answer in a way that is not possible here; anything else that is unknown
# (temperature, seed, metadata, …) is accepted and ignored, since the operator's settings hold.
_UNSUPPORTED: Mapping[str, Callable[[Any], bool]] = {
    "n": lambda value: value not in (None, 1),
    "tools": bool,
    "functions": bool,
    "audio": bool,
    "logprobs": bool,
    "response_format": lambda value: (value or {"type": "text"}) != {"type": "text"},
    "modalities": lambda value: (value or ["text"]) != ["text"],
}


class BadParameter(InvalidRequest):
    """A part of the body is wrong or cannot be honoured; ``param`` names it, ``code`` says how."""

    def __init__(self, detail: str, *, code: str, param: str | None = None) -> None:
        super().__init__(detail)
        self.own_code = code
        self.param = param


class CompletionQuestion(Question):
    """A question that came as a chat completion: what its answer repeats, and who asks.

    ``model`` is the name that the client gave, else that of the key's one model; it decides
    nothing. ``include_usage`` asks for an event with the tokens.
    """

    model: str = ""
    include_usage: bool = False


def completion_reader(config: Config) -> Callable[[Scope, Receive], Awaitable[CompletionQuestion]]:
    """Return the parser of chat completions: scope and receive in, a valid question out.

    It raises ``BadParameter`` (400) for what is wrong or not supported, and what ``read_json``
    does.
    """

    async def read(scope: Scope, receive: Receive) -> CompletionQuestion:
        body = await read_json(Request(scope, receive), limit=_BODY_LIMIT)
        if not isinstance(body, dict):
            raise InvalidRequest("The body must be a JSON object.")
        state = scope["state"]
        question = question_from(
            body,
            longest=config.chat.max_message_chars,
            request_id=state["request_id"],
            served=state["caller"].collection,
        )
        if config.openai.accept_system:
            # Before a prompt that is too long, a model forgets how it begins: with our own rules.
            _check_length([*question.instructions, question.message], config.chat.max_message_chars)
        return question

    return read


def question_from(
    body: Mapping[str, Any], *, longest: int, request_id: str | None, served: str
) -> CompletionQuestion:
    """Return the question in ``body``: the last user's message, with those before it as history.

    System and developer messages become ``instructions``. ``longest`` is the most characters of a
    message, ``served`` the model's name where the body has none. Raises ``BadParameter``.
    """
    for name, unsupported in _UNSUPPORTED.items():
        if unsupported(body.get(name)):
            raise BadParameter(
                f"{name} is not supported here.", code="unsupported_parameter", param=name
            )
    turns: list[Turn] = []
    instructions: list[str] = []
    for role, text in _messages(body.get("messages")):
        if role in _SYSTEM_ROLES:
            instructions.append(text)
        elif role == "user":
            turns.append(Turn(role="user", content=text))
        else:
            turns.append(Turn(role="assistant", content=without_sources(text)))
    if not turns or turns[-1].role != "user" or not turns[-1].content.strip():
        raise _bad_messages("The last message must be a user's, and must not be empty.")
    message = turns.pop().content
    _check_length([message], longest)
    options = body.get("stream_options")
    return CompletionQuestion(
        message=message,
        history=tuple(turns),
        instructions=tuple(instructions),
        stream=_stream(body.get("stream")),
        request_id=request_id,
        max_tokens=_most_tokens(body),
        stop=_stop(body.get("stop")),
        model=_text(body, "model") or served,
        user=_text(body, "user") or None,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def _messages(messages: Any) -> list[tuple[str, str]]:
    """Return role and text of each message."""
    if not isinstance(messages, list) or not messages:
        raise _bad_messages("messages must be a list of at least one message.")
    found = []
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not isinstance(message, dict):
            raise _bad_messages(f"{where} must be an object with role and content.")
        role = message.get("role")
        if role in ("tool", "function") or message.get("tool_calls"):
            raise BadParameter(
                f"{where}: tools are not supported here.",
                code="unsupported_parameter",
                param="messages",
            )
        if role not in ("user", "assistant", *_SYSTEM_ROLES):
            raise _bad_messages(f"{where}.role must be user, assistant, system or developer.")
        found.append((role, _content(message.get("content"), where, role)))
    return found


def _content(content: Any, where: str, role: str) -> str:
    if isinstance(content, str):
        return content
    if content is None and role == "assistant":
        return ""
    if not isinstance(content, list):
        raise _bad_messages(f"{where}.content must be a text or a list of parts.")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            raise BadParameter(
                f"{where}.content: parts of type {str(kind)[:40]!r} are not supported, only text.",
                code="unsupported_content",
                param="messages",
            )
        texts.append(part["text"])
    return "\n".join(texts)


def _most_tokens(body: Mapping[str, Any]) -> int | None:
    given = [body.get(name) for name in ("max_tokens", "max_completion_tokens")]
    values = [value for value in given if value is not None]
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BadParameter(
                "max_tokens must be a whole number above 0.",
                code="invalid_value",
                param="max_tokens",
            )
    return min(values, default=None)


def _check_length(texts: Sequence[str], longest: int) -> None:
    if sum(map(len, texts)) > longest:
        several = " and the system messages together" if len(texts) > 1 else ""
        raise BadParameter(
            f"The question{several} must have at most {longest} characters.",
            code="message_too_long",
            param="messages",
        )


def _stream(value: Any) -> bool:
    if value is not None and not isinstance(value, bool):
        raise BadParameter("stream must be true or false.", code="invalid_value", param="stream")
    return value is True


def _stop(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value or []
    if not isinstance(stops, list) or not all(isinstance(each, str) for each in stops):
        raise BadParameter(
            "stop must be a text or a list of texts.", code="invalid_value", param="stop"
        )
    return tuple(each for each in stops[:4] if each)


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 256:
        raise BadParameter(
            f"{name} must be a text of at most 256 characters.", code="invalid_value", param=name
        )
    return value


def _bad_messages(detail: str) -> BadParameter:
    return BadParameter(detail, code="invalid_messages", param="messages")
