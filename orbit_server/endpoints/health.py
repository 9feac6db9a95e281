"""``GET /health``: is the server well, and which parts does it run with."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..services import Services


async def health(request: Request) -> Response:
    """Answer 200 with the state of every part; the status is in the body, as clients expect it."""
    services: Services = request.app.state.services
    return JSONResponse(await services.health())
