"""``orbit questions --review``: one question after the other gets an answer, or none."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ...config import Config
from ...documents.answers import answer_pairs
from ...documents.collection_store import Store
from ...errors import OrbitError
from ...observability.chatlog_files import timestamp
from ...observability.questions.report import Gap, Report
from ...observability.questions.reviewed import Decision, Reviewed, ReviewedFile
from ...services import Services
from ..console import on_one_line, out, say, typed
from ..store import with_store
from .sheet import append_gap

_WORDINGS = 3  # of one question, each a pair: an answer that is there too often crowds out others
_CHOICES = "[a]nswer, [i]gnore, [e]xport, [s]kip, [q]uit"


def review_gaps(config: Config, report: Report, export: Path, server: str | None) -> None:
    """Ask what to do with each gap; what was decided is written down before the next is shown.

    The collection is open only while an answer is stored. Ends at the end of the input, too.
    """
    reviewed = ReviewedFile(Path(config.logging.file.directory))
    total = len(report.gaps)
    done = 0
    for number, gap in enumerate(report.gaps, 1):
        _show(gap, f"{number} of {total}")
        choice = _choice()
        if choice in ("q", None):
            break
        if choice == "a":
            answer = _answer()
            if not answer:
                say("No answer: skipped.")
                continue
            _store(config, report.collection, gap, answer, server)
            _decide(reviewed, report.collection, gap, "answered")
        elif choice == "i":
            _decide(reviewed, report.collection, gap, "ignored")
        elif choice == "e":
            append_gap(export, gap)
            say(f"Added to {export}.")
        done += choice != "s"
    say(
        f"{done} of {total} done."
        if total
        else "Nothing to review: every question found something."
    )


def _show(gap: Gap, place: str) -> None:
    times = "once" if gap.count == 1 else f"{gap.count} times"
    out.print(f"\n{place}: {on_one_line(gap.question, None)}", style="bold")
    for wording in gap.wordings[:_WORDINGS]:
        out.print(f"  also: {on_one_line(wording)}")
    score = "" if gap.score is None else f", {gap.score:.2f}"
    nearest = f"; nearest: {on_one_line(gap.source)}{score}" if gap.source else ""
    out.print(f"  asked {times}, last {gap.last[:10]}{nearest}")


def _choice() -> str | None:
    """Return the first letter of a choice; ``None`` at the end of the input."""
    while (line := typed(f"{_CHOICES}: ")) is not None:
        choice = line.strip().lower()[:1]
        if choice and choice in "aiesq":
            return choice
    return None


def _answer() -> str:
    """Return the lines up to an empty one."""
    say("The answer; an empty line ends it.")
    lines = []
    while (line := typed("> ")) is not None and line.strip():
        lines.append(line.rstrip())
    return "\n".join(lines)


def _store(config: Config, collection: str, gap: Gap, answer: str, server: str | None) -> None:
    """Store the answer, and say whether the question finds it. Raises ``OrbitError``."""
    pairs = answer_pairs([gap.question, *gap.wordings][:_WORDINGS], answer)
    ids = {pair.id for pair in pairs}

    async def run(store: Store, services: Services) -> bool:
        stored = await store.put(collection, pairs, [])
        if len(stored.left_out) == len(pairs):
            reason = next(iter(stored.left_out.values()))
            raise OrbitError(f"the embedding model refuses the question: {reason}")
        found = await store.search(collection, pairs[0].embed)
        return any(passage.id in ids for passage in found)

    if with_store(config, server, run):
        say(f"Stored in collection {collection!r}; the question finds it.")
    else:
        say(f"Stored in collection {collection!r}, but the question does not find it.")


def _decide(file: ReviewedFile, collection: str, gap: Gap, decision: Decision) -> None:
    time = timestamp(datetime.now(UTC))
    texts: Sequence[str] = [gap.question, *gap.wordings]
    try:
        file.add(*(Reviewed(collection, text, decision, time) for text in texts))
    except OSError as error:
        raise OrbitError(f"{file.path} cannot be written: {error.strerror}") from error
