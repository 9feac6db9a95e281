"""The loading of files that were uploaded: what is told of it while it lasts, and at its end."""

from collections.abc import Sequence
from typing import Any

from ..documents.discovery import File
from ..documents.loading import FileResult, LoadOptions, load, size_of
from ..documents.readers import ocr
from ..documents.source_list import bounded
from ..errors import OrbitError, Unprocessable
from ..services import Services
from .files import UploadFields
from .progress import Tell


async def load_files(
    services: Services, collection: str, files: Sequence[File], fields: UploadFields, tell: Tell
) -> dict[str, Any]:
    """Load ``files``, ``tell`` of each, and return the counts.

    What was begun and not finished is taken out again. Raises what ``load`` raises, and
    ``Unprocessable`` where text cannot be recognized.
    """
    embedding = services.config.embedding
    options = LoadOptions(
        chunk_chars=embedding.chunk_chars,
        chunk_overlap=embedding.chunk_overlap,
        languages=fields.language,
        question_column=fields.question_column,
        answer_column=fields.answer_column,
        ocr=fields.ocr,
    )
    if fields.ocr:
        _require_ocr(fields.language)
    size, bytes_done, new = sum(map(size_of, files)), 0, 0

    def advanced(done: int, chunks: int) -> None:
        nonlocal bytes_done, new
        bytes_done, new = bytes_done + done, new + chunks
        if chunks:
            tell({"event": "progress", "bytes": bytes_done, "of_bytes": size, "new": new})

    async with services.uploads:
        results = await load(
            files,
            collection,
            services.store,
            options,
            undo=True,
            read=lambda result: tell(
                {"event": "read", "source": result.source, "passages": result.chunks}
            ),
            done=lambda result: tell(_outcome(result)),
            advanced=advanced,
        )
    return _totals(results)


def _require_ocr(languages: Sequence[str]) -> None:
    try:
        ocr.require(languages or ("en",))
    except OrbitError as error:
        raise Unprocessable(str(error)) from error


def _outcome(result: FileResult) -> dict[str, Any]:
    if result.error:
        return {"event": "skipped", "source": result.source, "reason": result.error}
    return {
        "event": "stored",
        "source": result.source,
        "passages": result.chunks,
        "new": result.stored,
        "removed": result.removed,
        "left_out": result.left_out,
        "warnings": bounded(result.notes),
    }


def _totals(results: Sequence[FileResult]) -> dict[str, Any]:
    loaded = [result for result in results if not result.error]
    return {
        "loaded": len(loaded),
        "skipped": len(results) - len(loaded),
        "passages": sum(result.chunks for result in loaded),
        "new": sum(result.stored for result in loaded),
        "removed": sum(result.removed for result in loaded),
        "left_out": sum(result.left_out for result in loaded),
    }
