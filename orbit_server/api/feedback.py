"""``POST /feedback``: what a reader thinks of an answer, for the chat log."""

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..auth import Key
from ..errors import NotFound, Unprocessable
from ..services import Services
from .exchange_log import log_feedback
from .json_body import read_json, validated
from .openai_wire import ID_PREFIX

_BODY_LIMIT = 64 * 1024


class Feedback(BaseModel):
    """A rating of an answer, 1 or -1, and what the reader says about it."""

    model_config = ConfigDict(frozen=True, strict=True)

    id: str
    rating: int
    comment: str | None = None


async def feedback(request: Request) -> Response:
    """Write down a rating of an answer that the caller's key was given; of several, each one."""
    services: Services = request.app.state.services
    caller: Key = request.scope["state"]["caller"]
    given = validated(Feedback, await read_json(request, limit=_BODY_LIMIT))
    if given.rating not in (1, -1):
        raise Unprocessable("rating must be 1 or -1.")
    longest = services.config.chat.max_message_chars
    if len(given.comment or "") > longest:
        raise Unprocessable(f"comment must have at most {longest} characters.")
    answer_id = given.id.removeprefix(ID_PREFIX)
    if not services.answer_ids.knows(answer_id, caller.id):
        raise NotFound("There is no such answer, or it is too old.")
    services.metrics.rating(given.rating)
    await log_feedback(services, request.scope["state"], answer_id, given.rating, given.comment)
    return JSONResponse({"status": "ok"})
