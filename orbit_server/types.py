"""The vocabulary: what is asked, what was found, how it ended."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from .errors import OrbitError

StreamFormat = Literal["delta", "cumulative"]
Outcome = Literal["completed", "disconnected", "failed"]
Result = Literal["found", "not_found", "small_talk", "refused"]
"""What became of a question: answered from passages, or from none, or without asking for any."""

NO_TOKENS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
MOST_CONSIDERED = 3
"""How many of the passages that a search found the chat log names, good enough or not."""

_EXCERPT = 240  # characters


class Turn(BaseModel):
    """One earlier message of the conversation."""

    model_config = ConfigDict(frozen=True)

    role: Literal["user", "assistant"]
    content: str


class Question(BaseModel):
    """What is asked, validated once, and how the answer is wanted.

    ``instructions`` are the caller's own wishes for the model: they are moderated, and obeyed only
    where the operator allows it. ``max_tokens`` may shorten an answer, ``stop`` holds texts that
    end it. ``user`` names a person to the caller, for the log.
    """

    model_config = ConfigDict(frozen=True)

    message: str
    stream: bool = True
    history: Annotated[tuple[Turn, ...], BeforeValidator(lambda value: value or ())] = ()
    stream_format: StreamFormat | None = None
    request_id: str | None = None
    instructions: tuple[str, ...] = ()
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    user: str | None = None

    @property
    def first(self) -> str:
        """What the conversation began with."""
        return self.history[0].content if self.history else self.message


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document, or a stored question with its answer, that may answer a question.

    ``text`` is what the model reads; ``answer`` is the stored answer of a question/answer pair.
    ``score`` is its relevance: the similarity to the question plus what it has of its words, 2 at
    best. ``rerank_score`` is what a model gave it, 0 to 10. ``rank_score``, 0 to 1, is what the
    passages of one answer are ordered by, best first.
    """

    id: str
    text: str
    title: str
    source: str
    score: float
    answer: str | None = None
    rerank_score: float | None = None
    rank_score: float | None = None

    def public(self) -> dict[str, Any]:
        """Return the entry of ``sources`` that clients see."""
        excerpt = self.answer or self.text
        if len(excerpt) > _EXCERPT:
            excerpt = excerpt[:_EXCERPT].rsplit(" ", 1)[0] + " …"
        public = {"id": self.id, "title": self.title} | self.reference() | {"excerpt": excerpt}
        if self.rerank_score is not None:
            public["rerank_score"] = self.rerank_score
        return public

    def reference(self) -> dict[str, Any]:
        """Return which passage it is and how it scored, without any of its text, for the log."""
        return {
            "id": self.id,
            "source": self.source,
            "score": round(self.score if self.rank_score is None else self.rank_score, 4),
            "relevance": round(self.score, 4),
        }


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Passages, best first, and the milliseconds that finding them took, by step.

    Where ``questions`` were searched apart, the best passage of each comes first. ``considered``
    are the best ones that the search found, whether or not they are good enough.
    """

    passages: list[Passage]
    timings_ms: dict[str, float] = field(default_factory=dict)
    questions: int = 1
    considered: list[Passage] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ExchangeResult:
    """How an exchange ended: what the client got, and whether that was all."""

    text: str
    outcome: Outcome
    error: OrbitError | None = None
