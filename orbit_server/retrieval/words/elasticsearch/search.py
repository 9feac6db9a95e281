"""One question to the word index in Elasticsearch: one request, which tells all that it needs.

Two searches go out together. One finds the passages, and tells of each which terms it has and what
each of them scores. The other counts how many passages have each term, as exactly as it can be
counted, which takes no time where nothing was deleted, and how words are spelt that none has.

Which terms tell something follows from these counts, so it is guessed from those of the questions
before. What came of a wrong guess is put right with the scores of each term. Only where a word is
misspelt that nobody has misspelt so lately, a second request looks for what is meant.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from ..analyzer import Analyzer
from ..protocol import FoundWords, Hit
from ..question import MOST_LOOKED_UP, QuestionTerms, question_terms, telling
from ..spelling import correctable, spellings
from .client import ElasticsearchClient
from .layout import Names, id_of
from .memory import Known, Memory

_SIMILAR = 50  # words at most that a misspelt one may mean
_MOST_MISSPELT = 16  # that are asked about at once
_REQUESTS = 2
_GUESSED = 0.8  # what a word counts for that may be meant


class _Sent(NamedTuple):
    """What was asked: the terms to score by, with their weights, and others to tell of only."""

    scored: Mapping[str, float]
    told: Sequence[str]
    counted: Sequence[str]
    misspelt: Sequence[str]

    @property
    def terms(self) -> list[str]:
        """The terms by their numbers."""
        return [*self.scored, *self.told]


class _Matched(NamedTuple):
    """A passage, its score, and what each term of the question scores in it."""

    id: str
    score: float
    terms: Mapping[str, float]


class QuestionSearch:
    """Searches the indexes of collections, and remembers how often words are in them."""

    def __init__(self, client: ElasticsearchClient, names: Names) -> None:
        self._client, self._names = client, names
        self._memory = Memory()

    def forget(self, collection_id: str) -> None:
        """Forget what is known of the words of a collection: it has others now."""
        self._memory.forget(collection_id)

    async def __call__(
        self, collection_id: str, text: str, analyzer: Analyzer, n: int
    ) -> FoundWords:
        """Return what ``text`` looks for, and its ``n`` best passages."""
        path = f"/{self._names.alias(collection_id)}/_msearch?include_named_queries_score=true"
        known = Known(self._memory, collection_id)
        terms = question_terms(text, known, analyzer)
        sent, matched = _Sent({}, (), (), ()), list[_Matched]()
        for _ in range(_REQUESTS):
            sent = _to_send(terms, known, text, analyzer)
            if not sent.counted:
                break
            reply = await self._client.call("POST", path, lines=_lines(sent, n))
            matched = self._learned(sent, reply.body, known)
            terms = question_terms(text, known, analyzer)
            if not known.wanted and terms.weights().keys() <= {*sent.terms}:
                break
        known.keep()
        return FoundWords(terms, _ranked(sent, matched, terms, known)[:n])

    def _learned(self, sent: _Sent, body: Any, known: Known) -> list[_Matched]:
        """Take in what the counts say; return what was found."""
        try:
            *found, counts = body["responses"]
            for each in (*found, counts):
                if "error" in each:
                    raise self._client.refused(int(each.get("status", 500)), each)
                if each["timed_out"] or each["_shards"]["failed"]:
                    raise self._client.damaged()
            buckets = counts["aggregations"]["terms"]["buckets"]
            numbers = [int(bucket["doc_count"]) for bucket in buckets]
            passages = int(counts["hits"]["total"]["value"])
            known.learn(passages, dict(zip(sent.counted, numbers, strict=True)))
            for each in counts.get("suggest", {}).get("similar", ()):
                known.suggested(each["text"], {o["text"]: int(o["freq"]) for o in each["options"]})
            for word in sent.misspelt:
                known.suggested(word, {})
            terms = sent.terms
            return [
                _Matched(
                    id_of(hit),
                    float(hit["_score"]),
                    {terms[int(i)]: float(s) for i, s in hit.get("matched_queries", {}).items()},
                )
                for each in found
                for hit in each["hits"]["hits"]
            ]
        except (LookupError, TypeError, ValueError, AttributeError):
            raise self._client.damaged() from None


def _to_send(terms: QuestionTerms, known: Known, text: str, analyzer: Analyzer) -> _Sent:
    weights = dict(list(terms.weights().items())[:MOST_LOOKED_UP])
    likely = {term: known.likely(term) for term in weights}
    passages = known.passages or sys.maxsize
    scored = {term: weights[term] for term in telling(likely, weights, passages)}
    scored |= {term: weights[term] for term in weights if not known.counted(term)}
    scored |= dict.fromkeys(known.endings, _GUESSED)
    counted = list(dict.fromkeys([*known.asked, *weights, *known.endings]))
    new = [
        token.word
        for token in dict.fromkeys(analyzer.tokens(text))
        if correctable(token.word)
        and token.word not in analyzer.stop_words
        and not all(known.likely_there(part) for part in token.parts)
    ]
    new.sort(key=len, reverse=True)
    misspelt = dict.fromkeys(
        spelling for word in new[:_MOST_MISSPELT] for spelling in spellings(word, analyzer)
    )
    told = [term for term in weights if term not in scored]
    return _Sent(scored, told, counted, [each for each in misspelt if not known.has_similar(each)])


def _lines(sent: _Sent, n: int) -> bytes:
    """Return the body of the request."""
    searches: list[dict[str, Any]] = []
    if sent.scored:
        numbers = {term: str(number) for number, term in enumerate(sent.terms)}
        query: dict[str, Any] = {
            "bool": {"should": [_term(t, w, numbers[t]) for t, w in sent.scored.items()]}
        }
        if sent.told:
            others = [_term(term, 0.0, numbers[term]) for term in sent.told]
            query = {"bool": {"must": query, "should": others}}
        searches.append(
            {"size": n, "query": query, "track_total_hits": False, "docvalue_fields": ["id"]}
        )
    filters = [{"term": {"words": term}} for term in sent.counted]
    counts: dict[str, Any] = {
        "size": 0,
        "track_total_hits": True,
        "aggs": {"terms": {"filters": {"filters": filters}}},
    }
    if sent.misspelt:
        similar = {
            "field": "words",
            "analyzer": "whitespace",
            "suggest_mode": "missing",
            "max_edits": 2,
            "prefix_length": 0,
            "min_word_length": 3,
            "accuracy": 0.01,
            "size": _SIMILAR,
        }
        counts["suggest"] = {"similar": {"text": " ".join(sent.misspelt), "term": similar}}
    searches.append(counts)
    return b"".join(b"{}\n%b\n" % orjson.dumps(search) for search in searches)


def _term(term: str, weight: float, name: str) -> dict[str, Any]:
    return {"term": {"words": {"value": term, "boost": weight, "_name": name}}}


def _ranked(
    sent: _Sent, matched: Iterable[_Matched], terms: QuestionTerms, known: Known
) -> list[Hit]:
    """Return what was found, best first, by the terms that tell, now that these are known."""
    weights = terms.weights()
    frequencies = {term: known.likely(term) for term in list(weights)[:MOST_LOOKED_UP]}
    looked_for = telling(frequencies, weights, known.passages or 0)
    wanted = {term: weights[term] for term in looked_for}
    known_right = wanted == {term: w for term, w in sent.scored.items() if known.likely(term)}
    hits = []
    for each in matched:
        score = each.score
        if not known_right:
            score = sum(
                of_term * wanted[term] / sent.scored[term]
                for term, of_term in each.terms.items()
                if term in wanted and term in sent.scored
            )
        if score > 0:
            hits.append(Hit(each.id, score, " ".join(each.terms)))
    return sorted(hits, key=lambda hit: (-hit.score, hit.id))  # ties are the same everywhere
