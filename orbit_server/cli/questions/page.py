"""The report as one page that a browser shows without a server."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

from ...errors import OrbitError
from ...observability.questions.report import Gap, Report
from ..console import on_one_line
from .tables import OUTCOMES, notes, share

_TEMPLATE = Path(__file__).with_name("page.html")
_MOST_ROWS = 500
_MOST_UNUSED = 200


def write_page(path: Path, report: Report) -> None:
    """Write the page to ``path``. Raises ``OrbitError`` where that cannot be."""
    try:
        path.write_text(page(report), encoding="utf-8")
    except OSError as error:
        raise OrbitError(f"{path} cannot be written: {error.strerror}") from error


def page(report: Report) -> str:
    """Return the page: HTML that loads nothing, with everything that people wrote escaped."""
    parts = {
        "collection": _text(report.collection),
        "since": _text(report.since[:10]),
        "until": _text(report.until[:10]),
        "total": str(report.counts["questions"]),
        "up": str(report.ratings["up"]),
        "down": str(report.ratings["down"]),
        "threshold": f"{report.threshold:.2f}",
        "counts": _counts(report.counts),
        "gaps": _gaps(report.gaps),
        "rated_down": _rated_down(report),
        "used": _used(report),
        "unused": _unused(report.unused),
        "notes": "".join(f"<p>{_text(note)}</p>" for note in notes(report)),
    }
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(parts)


def _gaps(gaps: Sequence[Gap]) -> str:
    if not gaps:
        return "<p>Every question found something.</p>"
    rows = []
    most = max(gap.count for gap in gaps)
    for gap in gaps[:_MOST_ROWS]:
        worded = f"<b>{_text(gap.question)}</b>"
        if gap.wordings:
            items = "".join(f"<li>{_text(each)}</li>" for each in gap.wordings)
            worded += (
                f"<details><summary>{len(gap.wordings)} in other words</summary>"
                f"<ul>{items}</ul></details>"
            )
        score = "–" if gap.score is None else f"{gap.score:.2f}"
        rows.append(
            f"<tr><td>{worded}</td>{_bar(gap.count, most)}"
            f'<td class="number">{score}</td><td class="source">{_text(gap.source or "–")}</td>'
            f'<td class="date">{_text(gap.last[:10])}</td></tr>'
        )
    heads = ("Question", "Asked", "Best score", "Nearest source", "Last")
    table = _table("Questions that found nothing, or little", heads, rows)
    more = len(gaps) - _MOST_ROWS
    return table + (f"<p>And {more} more: <code>--csv</code> has all.</p>" if more > 0 else "")


def _rated_down(report: Report) -> str:
    if not report.rated_down:
        return "<p>No answer was rated down.</p>"
    rows = [
        f"<tr><td><b>{_text(each.question)}</b></td><td>{_text(each.answer)}</td>"
        f'<td>{_text(each.comment or "–")}</td><td class="date">{_text(each.last[:10])}</td></tr>'
        for each in report.rated_down[:_MOST_ROWS]
    ]
    return _table("Answers rated down", ("Question", "Answer", "Comment", "When"), rows)


def _used(report: Report) -> str:
    if not report.used:
        return "<p>No document was used.</p>"
    used = list(report.used.items())[:_MOST_ROWS]
    most = used[0][1]
    rows = [
        f'<tr><td class="source">{_text(source)}</td>{_bar(count, most)}</tr>'
        for source, count in used
    ]
    return _table("Documents by number of answers", ("Document", "Answers"), rows)


def _unused(sources: Sequence[str]) -> str:
    if not sources:
        return "<p>Every document was used.</p>"
    items = "".join(f"<li>{_text(source)}</li>" for source in sources[:_MOST_UNUSED])
    more = len(sources) - _MOST_UNUSED
    return f'<ul class="source">{items}</ul>' + (f"<p>And {more} more.</p>" if more > 0 else "")


def _counts(counts: Mapping[str, int]) -> str:
    total = counts["questions"]
    return "".join(
        f'<tr><th scope="row">{_text(name)}</th>{_bar(counts[fate], total)}'
        f'<td class="number">{_text(share(counts[fate], total))}</td></tr>'
        for fate, name in OUTCOMES.items()
    )


def _table(caption: str, heads: Sequence[str], rows: Iterable[str]) -> str:
    head = "".join(f'<th scope="col">{_text(each)}</th>' for each in heads)
    # It may be wider than a phone: then it scrolls, also by the keyboard.
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_text(caption)}"><table>'
        f'<caption class="unseen">{_text(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _bar(count: int, most: int) -> str:
    length = f'<i style="width:{100 * count / most:.1f}%"></i>' if count else ""
    return (
        f'<td class="bar"><span class="number">{count}</span>'
        f'<span aria-hidden="true">{length}</span></td>'
    )


def _text(text: str) -> str:
    return escape(on_one_line(text, None))
