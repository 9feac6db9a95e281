"""The report in the terminal."""

from rich.table import Table
from rich.text import Text

from ...observability.questions.report import Gap, Report
from ...observability.questions.tally import Fate
from ..console import on_one_line, out, print_table, say

_MOST_ROWS = 20
OUTCOMES: dict[Fate, str] = {
    "answered": "answered",
    "refused": "found nothing",
    "blocked": "refused by the safety check",
    "failed": "failed",
    "left": "left before the end",
}


def print_report(report: Report) -> None:
    """Print the counts, and a table each of what is missing, rated down and used."""
    total = report.counts["questions"]
    out.print(f"{total} questions to {report.collection!r} since {report.since[:10]}")
    for fate, name in OUTCOMES.items():
        count = report.counts[fate]
        out.print(f"  {name:<28} {count:>7}  {share(count, total):>5}")
    up, down = report.ratings["up"], report.ratings["down"]
    out.print(f"  {'rated up, down':<28} {up:>7}, {down}")
    _print_gaps(report)
    _print_rated_down(report)
    _print_sources(report)
    for note in notes(report):
        say(note)


def notes(report: Report) -> list[str]:
    """Return what a reader has to know about the numbers."""
    said = []
    if report.reviewed:
        said.append(f"{_groups(report.reviewed)} that were answered or ignored are not shown.")
    if report.small_talk:
        said.append(f"Small talk, not counted: {report.small_talk}.")
    if report.damaged:
        lines = "line of the log was" if report.damaged == 1 else "lines of the log were"
        said.append(f"{report.damaged} damaged {lines} left out.")
    if report.uncollected:
        said.append(f"{report.uncollected} more questions found nothing and are not grouped.")
    if report.unnamed:
        said.append(
            f"{report.unnamed} answers were logged without the names of their sources, by an"
            " earlier version: those may count as unused."
        )
    return said


def share(count: int, total: int) -> str:
    """Return ``count`` as a percentage of ``total``."""
    return f"{100 * count / total:.0f} %" if total else "-"


def _groups(count: int) -> str:
    return "1 group" if count == 1 else f"{count} groups"


def _print_gaps(report: Report) -> None:
    if not report.gaps:
        out.print("Every question found something.")
        return
    table = Table("asked", "last", "best", "question", "nearest source", title_justify="left")
    table.title = f"Found nothing, or little (threshold: {report.threshold:.2f})"
    for gap in report.gaps[:_MOST_ROWS]:
        score = "-" if gap.score is None else f"{gap.score:.2f}"
        source = on_one_line(gap.source or "-", 60)
        table.add_row(str(gap.count), gap.last[:10], score, _worded(gap), source)
    print_table(table)
    if (more := len(report.gaps) - _MOST_ROWS) > 0:
        say(f"{_groups(more)} more: --csv, --json and --html have all.")


def _worded(gap: Gap) -> Text:
    text = Text(on_one_line(gap.question))
    if gap.wordings:
        text.append(f"  (+{len(gap.wordings)} in other words)", style="dim")
    return text


def _print_rated_down(report: Report) -> None:
    if not report.rated_down:
        return
    table = Table("last", "question", "answer", "comment", title_justify="left")
    table.title = "Rated down"
    for each in report.rated_down[:_MOST_ROWS]:
        texts = (on_one_line(text, 100) for text in (each.question, each.answer, each.comment))
        table.add_row(each.last[:10], *map(Text, texts))
    print_table(table)


def _print_sources(report: Report) -> None:
    if report.used:
        table = Table("answers", "source", title_justify="left")
        table.title = "Used most"
        for source, count in list(report.used.items())[: _MOST_ROWS // 2]:
            table.add_row(str(count), Text(on_one_line(source)))
        print_table(table)
    if report.unused:
        shown = ", ".join(on_one_line(source) for source in report.unused[:_MOST_ROWS])
        more = len(report.unused) - _MOST_ROWS
        out.print(f"Never used: {shown}{f' and {more} more' if more > 0 else ''}")
