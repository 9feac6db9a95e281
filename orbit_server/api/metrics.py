"""``GET /metrics``: what was counted, for a monitoring system."""

from starlette.requests import Request
from starlette.responses import Response

from ..observability.metrics import CONTENT_TYPE
from ..services import Services


async def metrics(request: Request) -> Response:
    """Answer with all figures in Prometheus's text format."""
    services: Services = request.app.state.services
    headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}
    return Response(await services.metrics.text(), headers=headers)
