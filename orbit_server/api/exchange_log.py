"""What the chat log and the server's log keep of an exchange."""

import logging
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from ..answering import Answer
from ..auth import Key
from ..errors import KeysUnavailable, OrbitError
from ..safety import Verdict
from ..services import Services
from ..types import NO_TOKENS, ExchangeResult, Question

logger = logging.getLogger(__name__)


def report(services: Services, error: OrbitError, request_id: str | None) -> None:
    """Tell the operator why a request failed: in the server's log and in the chat log."""
    level = logging.ERROR
    if isinstance(error, KeysUnavailable):
        level = logging.DEBUG  # the outage is logged by itself, once: not for every request
    elif error.status < 500:
        level = logging.INFO  # nothing is broken
    logger.log(level, "request %s: %s: %s", request_id, error.code, error)
    services.chatlog.write_nowait("error", request_id=request_id, code=error.code, cause=str(error))


async def log_answer(
    services: Services, state: dict[str, Any], answer: Answer, result: ExchangeResult
) -> None:
    """Write down an answered question; ``state`` is what the middleware knows of the request."""
    if result.outcome != "disconnected":
        services.answers_check.note(result.error)
    if result.error is not None:
        state["error"] = result.error.code
        report(services, result.error, state["request_id"])
    moderation = {"moderation": state["checked_ms"]} if services.guard else {}
    timings = moderation | answer.timings()
    logger.debug("request %s: took ms: %s", state["request_id"], timings)
    await services.chatlog.write(
        "exchange",
        **_common(services, state, answer.question, result),
        answer_id=answer.id,
        result=answer.result,
        blocked=False,
        block_reason=None,
        sources=[passage.reference() for passage in answer.passages],
        considered=[passage.reference() for passage in answer.considered],
        tokens=answer.usage,
        timings_ms=timings,
    )


async def log_refusal(
    services: Services, state: dict[str, Any], question: Question, verdict: Verdict, text: str
) -> None:
    """Write down a question that the safety check refused, with ``text`` for an answer."""
    await services.chatlog.write(
        "exchange",
        **_common(services, state, question, ExchangeResult(text, "completed")),
        result="refused",
        blocked=True,
        block_reason=verdict.reason,
        sources=[],
        considered=[],
        tokens=NO_TOKENS,
        timings_ms={"moderation": round(verdict.seconds * 1000, 1)},
    )


async def log_feedback(
    services: Services, state: dict[str, Any], answer_id: str, rating: int, comment: str | None
) -> None:
    """Write down what somebody thinks of an answer, 1 or -1; the latest record counts."""
    await services.chatlog.write(
        "feedback",
        request_id=state["request_id"],
        answer_id=answer_id,
        rating=rating,
        comment=comment,
        **_caller(state),
    )


def _common(
    services: Services, state: dict[str, Any], question: Question, result: ExchangeResult
) -> dict[str, Any]:
    backend, model = services.pipeline.backend
    return {
        "request_id": state["request_id"],
        "query": question.message,
        "response": result.text,
        "backend": backend,
        "model": model,
        "outcome": result.outcome,
        "error": result.error.code if result.error else None,
        **_caller(state),
        "elasticsearch_status": services.elasticsearch_status,
        **({"user": question.user} if question.user else {}),
    }


def _caller(state: dict[str, Any]) -> dict[str, Any]:
    caller: Key = state["caller"]
    return {
        "ip": state["client"],
        "ip_metadata": _address_metadata(state["client"], state["peer"]),
        "api_key": {"id": caller.id, "prefix": caller.prefix},
        "collection": caller.collection,
    }


def _address_metadata(client: str, peer: str) -> dict[str, Any]:
    """Return what the original logged about an address, under its names."""
    kind, local = _kind_of(client)
    source = "direct" if client == peer else "proxy"
    return {"type": kind, "isLocal": local, "source": source, "originalValue": peer}


@lru_cache(maxsize=1024)
def _kind_of(client: str) -> tuple[str, bool]:
    try:
        address = ip_address(client)
    except ValueError:
        return "unknown", False
    return f"ipv{address.version}", address.is_loopback
