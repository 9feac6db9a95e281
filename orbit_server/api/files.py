"""``POST /admin/collections/{name}/files``: files come in, are read, and become passages.

The body is written to a folder of its own, which goes with the request, however that ends. The
files are read and stored as ``orbit ingest`` does it. What that takes is loaded with the first
upload.
"""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..documents.wire import Language
from ..errors import Unprocessable
from ..retrieval.chroma.validation import checked_name
from .json_body import validated
from .progress import ProgressStream, Work, answer_whole

Column = Annotated[str, Field(min_length=1, max_length=200)]


class UploadFields(BaseModel):
    """The fields beside the files; ``prefix`` goes before the names of all of them."""

    model_config = ConfigDict(extra="forbid")

    prefix: Annotated[str, Field(max_length=300)] = ""
    language: Annotated[list[Language], Field(max_length=8)] = []
    question_column: Column | None = None
    answer_column: Column | None = None
    ocr: bool = False


async def upload_files(request: Request) -> Response:
    """Read the files of a form into a collection, which is made if need be."""
    return _Upload(request, checked_name(request.path_params["name"]))


class _Upload(Response):
    """All of an upload, since its files must be gone when it ends."""

    def __init__(self, request: Request, collection: str) -> None:
        super().__init__()
        self._request = request
        self._collection = collection

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from ..documents.uploaded import ending, uploaded_files
        from .file_loading import load_files
        from .multipart import FormLimits, read_form

        request = self._request
        until_shutdown = request.app.state.shutdown.cancel_on_shutdown
        with TemporaryDirectory(prefix="orbit-upload-") as folder:
            form = await until_shutdown(read_form)(
                request, Path(folder), ending=ending, limits=FormLimits()
            )
            if not form.files:
                raise Unprocessable(
                    "The form holds no file. With curl a file is -F files=@NAME, with an @."
                )
            fields = validated(UploadFields, _single(form.fields))
            files = uploaded_files(form.files, fields.prefix)
            if not files:
                raise Unprocessable("The form holds no file.")
            services = request.app.state.services
            work: Work = until_shutdown(
                partial(load_files, services, self._collection, files, fields)
            )
            if "text/event-stream" in request.headers.get("accept", ""):
                await ProgressStream(work)(scope, receive, send)
            else:
                await answer_whole(
                    work, scope, receive, send, events={"files": ("stored", "skipped")}
                )


def _single(fields: dict[str, list[str]]) -> dict[str, Any]:
    """Return the fields of a form, of which only languages may be there more than once."""
    several = [name for name, values in fields.items() if len(values) > 1 and name != "language"]
    if several:
        raise Unprocessable(f"{several[0][:100]} is given more than once.")
    return {name: each if name == "language" else each[0] for name, each in fields.items()}
