"""The steps from a question to its answer: condense, search, rerank, fit, generate."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from typing import Any, TypeVar

from ..config import Config
from ..errors import CollectionNotFound, Unprocessable
from ..llm.pause import Pause
from ..llm.protocols import Chat, Complete, TextStream
from ..types import MOST_CONSIDERED, Passage, Question, Retrieved
from . import prompt
from .answer import Answer, Retrieve
from .condense import condense, joined
from .extractive import FixedText, extractive_answer
from .small_talk import built_in_answer, recognised, without_small_talk
from .splitting import answers_apart, follows_up, interleaved, questions_in

logger = logging.getLogger(__name__)

T = TypeVar("T")
Rerank = Callable[[str, Sequence[Passage]], Awaitable[list[Passage]]]
Queue = Callable[[str], AbstractAsyncContextManager[object]]


class Pipeline:
    """How questions are answered under one configuration.

    Nothing in it changes once it is built, but for a pause of a slow step: a new configuration
    needs a new pipeline, and an answer that has begun keeps the one it began with. ``search`` finds
    passages in a collection, ``rerank`` puts them in a better order, ``complete`` and ``chat`` ask
    the language model. ``queue`` gives an owner a place among those whose answers are written now;
    the short calls of ``complete`` need none.
    """

    def __init__(
        self,
        config: Config,
        *,
        search: Retrieve,
        complete: Complete,
        chat: Chat,
        rerank: Rerank | None = None,
        queue: Queue | None = None,
    ) -> None:
        self._config = config
        self._search, self._rerank = search, rerank
        self._complete, self._chat, self._queue = complete, chat, queue
        self._system = config.answer.system_prompt
        self._by_model = config.answer.provider == "ollama"
        ollama = config.ollama
        reply_tokens = max(ollama.num_predict, 0)
        self._condense_pause = Pause(f"rewriting of follow-up questions by {ollama.model}")
        self._token_budget = max(ollama.num_ctx - reply_tokens, ollama.num_ctx // 2)

    @property
    def backend(self) -> tuple[str, str | None]:
        """The provider that words the answers, and its model if it has one."""
        return self._config.answer.provider, self._config.ollama.model if self._by_model else None

    def answer(
        self,
        question: Question,
        collection: str,
        *,
        owner: str = "",
        id: str | None = None,
        search: Retrieve | None = None,
    ) -> Answer:
        """Return the answer to ``question`` from ``collection``; it runs when it is iterated.

        ``owner`` is whose turn in the queue it takes, ``id`` what clients call it. ``search``
        replaces the pipeline's own. Small talk is answered without it, unless the configuration
        wants it searched like a question.
        """
        return Answer(
            question,
            collection,
            retrieve=partial(self.retrieve, search=search),
            generate=partial(self.generate, owner=owner) if self._by_model else extractive_answer,
            nothing_found=self._config.answer.no_results_message,
            small_talk=self._talk(question, owner),
            place=partial(self._queue, owner) if self._queue and self._by_model else None,
            id=id,
        )

    def _talk(self, question: Question, owner: str) -> TextStream | None:
        config = self._config.answer
        if config.small_talk == "search":
            return None
        talk = recognised(question.message)
        if talk is None:
            return None
        if config.small_talk == "model" and self._by_model:
            return self._worded(question, (), prompt.for_small_talk(self._system), owner)
        configured = {"greeting": config.greeting, "about": config.about}.get(talk.kind)
        return FixedText([configured or built_in_answer(talk)])

    async def retrieve(
        self, question: Question, collection: str, *, search: Retrieve | None = None
    ) -> Retrieved:
        """Return the passages that the answer is made from, best first."""
        timings: dict[str, float] = {}
        text = asked = question.message
        if question.history:
            with _timed(timings, "condense"):
                text = await self._condense(question)
            # Earlier questions that are only searched along are not asked again.
            asked = asked if text == joined(question) else text
        whole = without_small_talk(text)
        apart = whole if asked == text else without_small_talk(asked)
        texts = [whole, *questions_in(apart)]
        if len(texts) > 1 and asked != text and follows_up(texts[1]):
            texts[1] = joined(question.model_copy(update={"message": texts[1]}))
        find = partial(self._find, question, collection, search or self._search)
        first, *parts = await _together(map(find, texts))
        found = [first]
        if answers_apart(first, parts):
            found, texts = parts, texts[1:]
        lists = [each.passages for each in found]
        if self._rerank is not None and any(lists):
            with _timed(timings, "rerank"):
                lists = await _together(map(self._rerank, texts, lists))
        most = self._config.reranker.top_n if self._rerank else self._config.retrieval.top_k
        passages = interleaved(lists, most)
        if self._by_model:
            passages = self._fit(question, passages)
        return Retrieved(
            passages,
            timings | _slowest(first, *parts),
            questions=len(found),
            considered=interleaved([each.considered for each in found], MOST_CONSIDERED),
        )

    async def _condense(self, question: Question) -> str:
        ollama = self._config.ollama
        uses_model = self._config.answer.condense and self._by_model
        return await condense(
            question,
            complete=self._complete if uses_model else None,
            model=ollama.model,
            options=ollama.options,
            pause=self._condense_pause,
        )

    async def _find(
        self, question: Question, collection: str, search: Retrieve, text: str
    ) -> Retrieved:
        standalone = Question(message=text, request_id=question.request_id)
        try:
            return await search(standalone, collection)
        except Unprocessable as error:
            # The key names the collection; the user can do nothing about it.
            raise CollectionNotFound(str(error)) from error

    def _fit(self, question: Question, passages: Sequence[Passage]) -> list[Passage]:
        return prompt.fitting(
            question,
            passages,
            system=self._system_for(question, self._system),
            token_budget=self._token_budget,
        )

    def _system_for(self, question: Question, system: str | None) -> str | None:
        accepted = self._config.openai.accept_system
        return prompt.with_wishes(question, system) if accepted else system

    def generate(self, question: Question, retrieved: Retrieved, *, owner: str = "") -> TextStream:
        """Return the model's answer from what was found; nothing is sent before it is entered."""
        return self._worded(question, retrieved.passages, self._system, owner)

    def _worded(
        self, question: Question, passages: Sequence[Passage], system: str | None, owner: str
    ) -> TextStream:
        messages = prompt.messages(
            question,
            passages,
            system=self._system_for(question, system),
            history_turns=self._config.chat.history_turns,
            token_budget=self._token_budget,
        )
        if self._config.logging.include_prompts:
            logger.debug("request %s: prompt: %s", question.request_id, messages)
        return self._chat(
            messages,
            model=self._config.ollama.model,
            options=self._wanted(question),
            request_id=question.request_id,
            conversation=f"{owner}\n{question.first}",
        )

    def _wanted(self, question: Question) -> dict[str, Any]:
        """Return the options with which the caller may shorten the reply."""
        options: dict[str, Any] = {}
        if question.max_tokens is not None:
            own = self._config.ollama.num_predict
            options["num_predict"] = (
                min(question.max_tokens, own) if own > 0 else question.max_tokens
            )
        if question.stop:
            options["stop"] = list(question.stop)
        return options


async def _together(steps: Iterable[Awaitable[T]]) -> list[T]:
    """Return what ``steps`` do, at once; one alone costs no task of its own."""
    first, *others = steps
    return list(await asyncio.gather(first, *others)) if others else [await first]


def _slowest(*found: Retrieved) -> dict[str, float]:
    steps = {step for each in found for step in each.timings_ms}
    return {step: max(each.timings_ms.get(step, 0.0) for each in found) for step in steps}


@contextmanager
def _timed(timings: dict[str, float], step: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    timings[step] = round((time.perf_counter() - started) * 1000, 1)
