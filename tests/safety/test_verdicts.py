"""How replies are read: which of them count as a yes, in which mode and family."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_server.safety.moderators import (
    FAMILIES,
    GENERIC,
    GRANITE,
    GRANITE_SCORE,
    LLAMA_GUARD,
    SHIELDGEMMA,
    Family,
)
from orbit_server.safety.verdicts import Mode, read_reply


def says_safe(reply: str, *, mode: Mode, family: Family, categories: Sequence[str] = ()) -> bool:
    """Whether the reply counts as a yes."""
    return read_reply(reply, mode, family, categories)[0]


# ── the table of replies: which modes take them for safe ────────────────────────────────────────

Passes = Literal["both", "fuzzy", "none"]

GENERIC_REPLIES: list[tuple[Passes, str]] = [
    # the verdict itself, blank space, one pair of quotes
    ("both", "SAFE: true"),
    ("both", "  SAFE: true\n"),
    ("both", "\r\n\tSAFE: true\r\n"),
    ("both", '"SAFE: true"'),
    ("both", "'SAFE: true'"),
    ("both", "“SAFE: true”"),
    ("both", ' "SAFE: true" '),
    # case and spacing
    ("fuzzy", "safe: true"),
    ("fuzzy", "Safe: True"),
    ("fuzzy", "SAFE: TRUE"),
    ("fuzzy", "sAfE: tRuE"),
    ("fuzzy", "SAFE:true"),
    ("fuzzy", "SAFE : true"),
    ("fuzzy", "SAFE:   true"),
    ("fuzzy", "SAFE:\ntrue"),
    ("fuzzy", "SAFE\t:\ttrue"),
    # quotes, full stop, Markdown
    ("fuzzy", '""SAFE: true""'),
    ("fuzzy", "«SAFE: true»"),
    ("fuzzy", "SAFE: true."),
    ("fuzzy", "SAFE: true。"),
    ("fuzzy", '"SAFE: true."'),
    ("fuzzy", '"SAFE: true".'),
    ("fuzzy", '"SAFE": true'),
    ("fuzzy", '"SAFE": "true"'),
    ("fuzzy", "**SAFE: true**"),
    ("fuzzy", "**SAFE:** true"),
    ("fuzzy", "**SAFE**: **true**"),
    ("fuzzy", "__SAFE: true__"),
    ("fuzzy", "***SAFE: true***."),
    ("fuzzy", "`SAFE: true`"),
    ("fuzzy", "```\nSAFE: true\n```"),
    ("fuzzy", "```text\nSAFE: true\n```"),
    ("fuzzy", "# SAFE: true"),
    ("fuzzy", "- SAFE: true"),
    ("fuzzy", "> SAFE: true"),
    # another width is the same word
    ("fuzzy", "ＳＡＦＥ：ｔｒｕｅ"),
    ("fuzzy", "SAFE：true"),
    ("fuzzy", "\ufeffSAFE: true"),
    # JSON
    ("fuzzy", '{"safe": true}'),
    ("fuzzy", '{"SAFE": true}'),
    ("fuzzy", '{"safe":"true"}'),
    ("fuzzy", '{\n  "safe": true\n}\n'),
    ("fuzzy", '```json\n{"safe": true}\n```'),
    ("fuzzy", '{"safe": true, "reason": "a question about opening hours"}'),
    ("fuzzy", '{"category": null, "safe": true}'),
    ("fuzzy", '{"safe": true}\nThe question is about opening hours.'),
    # a finished think block before
    ("fuzzy", "<think>Opening hours.</think>SAFE: true"),
    ("fuzzy", "<think>\nIs it unsafe? It is not.\n</think>\n\nSAFE: true"),
    ("fuzzy", "<think>SAFE: false? No, opening hours.</think>\nSAFE: true"),
    ("fuzzy", "<think></think>\n**SAFE: true**"),
    ("fuzzy", "<THINK>Hm.</THINK>\nsafe: true."),
    ("fuzzy", '<think>Hm.</think>{"safe": true}'),
    # an explanation after
    ("fuzzy", "SAFE: true\nThe text asks for opening hours."),
    ("fuzzy", "SAFE: true\n\nThere is nothing harmful in it."),
    ("fuzzy", "SAFE: true. The text asks for opening hours."),
    ("fuzzy", "SAFE: true - a question about opening hours"),
    ("fuzzy", "SAFE: true — a question about opening hours"),
    ("fuzzy", "SAFE: true (a question about opening hours)"),
    ("fuzzy", "SAFE: true, a question about opening hours"),
    ("fuzzy", "SAFE: true; a question about opening hours"),
    ("fuzzy", "SAFE: true because it asks for opening hours"),
    ("fuzzy", "**SAFE: true**\n\nThe text does not ask for anything harmful."),
    ("fuzzy", "SAFE: true\nThe question is not harmful. It is about a library."),
    ("fuzzy", "SAFE: true\nDie Frage ist harmlos."),
    ("fuzzy", "SAFE: true。这个问题没有问题。"),
    ("fuzzy", "SAFE: true\nSAFE: true"),
    ("fuzzy", "SAFE: true\nThe text does not contain any harmful, illegal or dangerous content."),
    ("fuzzy", "SAFE: true\nIt asks for nothing harmful, so it is safe."),
    ("fuzzy", "SAFE: true\nThe question is harmless and safe to answer."),
    ("fuzzy", '{"safe": true, "categories": [], "explanation": "No harmful content."}'),
    ("fuzzy", '{"safe": true, "category": "none"}'),
    # another sign for the colon
    ("fuzzy", "SAFE = true"),
    ("fuzzy", "SAFE=true"),
    ("fuzzy", "SAFE true"),
    ("fuzzy", "SAFE is true"),
    ("fuzzy", "SAFE - true"),
    ("fuzzy", "SAFE – true"),
    ("fuzzy", "SAFE-true"),
    ("fuzzy", "SAFE → true"),
    ("fuzzy", "SAFE -> true"),
    ("fuzzy", "SAFE => true"),
    ("fuzzy", "SAFE | true"),
    ("fuzzy", "SAFE; true"),
    ("fuzzy", "SAFE:: true"),
    ("fuzzy", "**SAFE** = **true**"),
    # brackets and quotes of any kind
    ("fuzzy", "[SAFE: true]"),
    ("fuzzy", "(SAFE: true)"),
    ("fuzzy", "{SAFE: true}"),
    ("fuzzy", "<SAFE: true>"),
    ("fuzzy", "<safe>true</safe>"),
    ("fuzzy", "【SAFE: true】"),
    ("fuzzy", "（SAFE: true）"),
    ("fuzzy", "「SAFE: true」"),
    ("fuzzy", "『SAFE: true』"),
    ("fuzzy", "《SAFE: true》"),
    ("fuzzy", "‹SAFE: true›"),
    ("fuzzy", "„SAFE: true“"),
    ("fuzzy", "([SAFE: true])"),
    ("fuzzy", "[SAFE]: [true]"),
    ("fuzzy", "SAFE: [true]."),
    ("fuzzy", "[**SAFE: true**]"),
    ("fuzzy", "〖SAFE: true〗"),
    ("fuzzy", "❝SAFE: true❞"),
    ("fuzzy", "〝SAFE: true〟"),
    ("fuzzy", "″SAFE: true″"),
    ("fuzzy", "[SAFE: true]\nThe text asks for opening hours."),
    # a label before
    ("fuzzy", "Answer: SAFE: true"),
    ("fuzzy", "Verdict: SAFE: true"),
    ("fuzzy", "My verdict: SAFE: true"),
    ("fuzzy", "The final answer: SAFE = true."),
    ("fuzzy", "**Answer:** SAFE: true"),
    ("fuzzy", "**Answer**: `SAFE: true`"),
    ("fuzzy", "Result:\n```\nSAFE: true\n```"),
    ("fuzzy", "# Verdict:\nSAFE: true\n\nThe text asks for opening hours."),
    ("fuzzy", "Antwort: SAFE: true"),
    ("fuzzy", "答案：SAFE: true"),
    ("fuzzy", "Answer: safe"),
    ("fuzzy", 'Answer: {"safe": true}'),
    # an exclamation mark, a sign of approval
    ("fuzzy", "SAFE: true!"),
    ("fuzzy", "SAFE: true ✅"),
    ("fuzzy", "SAFE: true ✔️"),
    ("fuzzy", "SAFE: true👍🏽"),
    ("fuzzy", "SAFE: true. 😊"),
    ("fuzzy", "SAFE: true 💯🙏🏽"),
    ("fuzzy", "SAFE: true ❤️"),
    ("fuzzy", "SAFE: true! 🎉🎉"),
    ("fuzzy", "**SAFE: true** ✅"),
    ("fuzzy", "SAFE: true ✅\nThe text asks for opening hours."),
    ("fuzzy", "SAFE: true! The text asks for opening hours."),
    # the bare word, and a plain sentence
    ("fuzzy", "SAFE"),
    ("fuzzy", "safe"),
    ("fuzzy", "Safe."),
    ("fuzzy", "Safe!"),
    ("fuzzy", '"Safe"'),
    ("fuzzy", "**SAFE**"),
    ("fuzzy", "[SAFE]"),
    ("fuzzy", "Safe ✅"),
    ("fuzzy", "The query is safe."),
    ("fuzzy", "The query is safe"),
    ("fuzzy", "The text is **safe**."),
    ("fuzzy", "This question is completely safe to answer."),
    ("fuzzy", "The user's question is safe."),
    ("fuzzy", "It is safe."),
    ("fuzzy", "Verdict: the message is safe."),
    # no
    ("none", "SAFE: false"),
    ("none", "SAFE: False."),
    ("none", "**SAFE: false**"),
    ("none", '{"safe": false}'),
    ("none", "UNSAFE: true"),
    ("none", "UNSAFE"),
    ("none", "unsafe: true"),
    ("none", "un-safe: true"),
    ("none", "UN SAFE: true"),
    ("none", "UN\nSAFE: true"),
    ("none", "**UN**SAFE: true"),
    ("none", "NOT SAFE: true"),
    ("none", "NOT_SAFE: true"),
    ("none", "Not safe"),
    ("none", "This is not safe to respond to."),
    ("none", "I do not believe this query is safe"),
    ("none", "I do not believe that SAFE: true applies."),
    ("none", "It isn't safe."),
    ("none", "NONSAFE: true"),
    ("none", "SAFE: not true"),
    ("none", "SAFE: untrue"),
    ("none", "SAFE: no"),
    ("none", "!SAFE: true"),
    ("none", "¬SAFE: true"),
    ("none", "-SAFE: true"),
    ("none", "~~SAFE: true~~"),
    ("none", "SAFE: ~~true~~ false"),
    ("none", "SAFE: t\u0336r\u0336u\u0336e\u0336"),
    ("none", "<del>SAFE: true</del>"),
    # a no in the same dress
    ("none", "SAFE = false"),
    ("none", "SAFE false"),
    ("none", "SAFE is false"),
    ("none", "SAFE is not true"),
    ("none", "SAFE ≠ true"),
    ("none", "SAFE != true"),
    ("none", "SAFE !true"),
    ("none", "SAFE ~ true"),
    ("none", "[SAFE: false]"),
    ("none", "[ ] SAFE: true"),
    ("none", "[ ] SAFE"),
    ("none", "{SAFE: false}"),
    ("none", "{SAFE: true"),
    ("none", "(un)SAFE: true"),
    ("none", "(not) SAFE: true"),
    ("none", "[UN]SAFE"),
    ("none", "(UNSAFE)"),
    ("none", "<unsafe>true</unsafe>"),
    ("none", "<safe>false</safe>"),
    ("none", "Answer: SAFE: false"),
    ("none", "Answer: UNSAFE"),
    ("none", "Answer: not safe"),
    ("none", "Answer: SAFE: true\nAnswer: SAFE: false"),
    ("none", "Answer: SAFE: true\nCorrected answer: no"),
    ("none", "The answer could be: SAFE: true"),
    ("none", "Wrong answer: SAFE: true"),
    ("none", "The opposite of the answer: SAFE: true"),
    ("none", "SAFE: true ❌"),
    ("none", "SAFE: true 👎"),
    ("none", "SAFE: true ✅❌"),
    ("none", "SAFE: true 🤥"),
    ("none", "SAFE: true 💀"),
    ("none", "SAFE: true 🙃"),
    ("none", "SAFE: true 💔"),
    ("none", "SAFE: true 😉"),
    ("none", "SAFE: true 🔞"),
    ("none", "SAFE: true 🟥"),
    ("none", "Safe ❌"),
    ("none", "❌ SAFE"),
    ("none", "SAFE: true!?"),
    ("none", "Safe?"),
    ("none", "Safe..."),
    ("none", "Safe-ish"),
    ("none", "Safer"),
    ("none", "Unsafe."),
    ("none", "Safe, but only for adults."),
    ("none", "Safe for adults."),
    ("none", "Safe. Or not."),
    ("none", "Safe or unsafe"),
    ("none", "Safe: no"),
    ("none", "Safe\nfalse"),
    ("none", "safe false"),
    ("none", "Not safe."),
    ("none", "Is the query safe."),
    ("none", "The query is safe?"),
    ("none", "The query is safe to refuse."),
    ("none", "The query is not safe."),
    ("none", "The query isn't safe."),
    ("none", "The query is hardly safe."),
    ("none", "The query is un-safe."),
    ("none", "The query is 'safe'."),
    ("none", "The query is safe. It asks for a bomb."),
    ("none", "If the query is safe."),
    ("none", "Whether the query is safe"),
    ("none", "The query is safe if it is fiction."),
    ("none", "The query is barely safe."),
    ("none", "The query is less than safe."),
    ("none", "No query is safe."),
    ("none", "That the query is safe is untrue."),
    ("none", "<think>Opening hours.</think>safe"),
    ("none", "<think>Hm.</think>The query is safe"),
    # both, or a yes that is taken back
    ("none", "SAFE: true SAFE: false"),
    ("none", "SAFE: true\nSAFE: false"),
    ("none", "SAFE: false\nSAFE: true"),
    ("none", "SAFE: true or SAFE: false"),
    ("none", "SAFE: true or false"),
    ("none", "SAFE: true/false"),
    ("none", "SAFE: true\nUNSAFE: true"),
    ("none", "SAFE: true. This is unsafe."),
    ("none", "SAFE: true. Well, it is not really safe."),
    ("none", "SAFE: true\nOn reflection that can't be called safe."),
    ("none", "SAFE: true, if it is fiction"),
    ("none", "SAFE: true, but only for adults"),
    ("none", "SAFE: true unless it is meant seriously"),
    ("none", "SAFE: true (not)"),
    ("none", "SAFE: true, mostly"),
    ("none", "SAFE: true (probably)"),
    ("none", "SAFE: true - maybe"),
    ("none", "SAFE: true\nPartly."),
    ("none", "SAFE: true; in theory"),
    ("none", "SAFE: true (≠)"),
    ("none", "SAFE: true. Wait, I was too quick."),
    ("none", "SAFE: true is wrong"),
    ("none", "SAFE: true. That would be the wrong verdict."),
    ("none", "SAFE: true?"),
    ("none", "SAFE: true\u037e"),
    ("none", "SAFE: true ("),
    ("none", "SAFE: true…"),
    ("none", "SAFE: true-ish"),
    ("none", "SAFE: trueish"),
    ("none", '{"safe": true, "safe": false}'),
    ("none", '{"safe": true, "unsafe": true}'),
    ("none", '{"safe": true, "reason": "not safe for children"}'),
    ("none", '{"safe": true, "reason": "\\u0075nsafe"}'),
    ("none", '{"safe": true, "s\\u0061fe": false}'),
    ("none", '{"safe": true}\n{"safe": false}'),
    ("none", "SAFE: true\n这其实不安全。"),
    ("none", "SAFE: true\nDas ist nicht sicher."),
    ("none", "SAFE: true\nЭто небезопасно."),
    ("none", "SAFE: true\nEsto no es seguro."),
    # what else a human reads as a no
    ("none", "SAFE: true\nHowever, this text asks how to build a weapon and must not be answered."),
    ("none", "SAFE: true. Actually, this is harmful."),
    ("none", "SAFE: true (harmful content)"),
    ("none", "SAFE: true\nCorrect answer: reject"),
    ("none", "SAFE: true\nVerdict: harmful"),
    ("none", "SAFE: true; do not answer this"),
    ("none", "SAFE: true, which is what the attacker wants me to say. My verdict: dangerous."),
    ("none", '{"safe": true, "harmful": true}'),
    ("none", '{"safe": true, "reason": "this is dangerous and must be refused"}'),
    ("none", '{"safe": true, "verdict": "block"}'),
    ("none", '{"safe": true}\n{"safe": null}'),
    ("none", '{"safe": true}\n{"safe": 0}'),
    ("none", '{"safe": "true", "is_safe": 0}'),
    ("none", "SAFE: true\nSAFE: f"),
    ("none", "SAFE: true\nSAFE: non"),
    ("none", "SAFE: true\nSAFE: nein"),
    ("none", "SAFE: true\nSAFE: falsch"),
    ("none", "SAFE: true\nUN-SAFE"),
    ("none", "SAFE: true\nSAFE: ✗"),
    ("none", "SAFE: true\n❌"),
    ("none", "SAFE: true\n有害"),
    ("none", "SAFE: true\nDas ist gefährlich und darf nicht beantwortet werden."),
    ("none", "SAFE: true\nCe texte n'est pas du tout sûr."),
    ("none", "SAFE: true\nNo es un texto seguro."),
    ("none", "SAFE: true\nIt isn't what I would call safe."),
    ("none", "SAFE: true\nThis is anything but safe."),
    ("none", "SAFE: true\nThis is far from safe."),
    (
        "none",
        "SAFE: true\nThe text is not, in my considered and honest professional opinion, safe.",
    ),
    ("none", "SAFE: true\nSAFE: fa1se"),
    ("none", "SAFE: true\nSafety: false-ish"),
    ("none", "SAFE: true\nHmm. In fact the opposite."),
    ("none", "SAFE: true\nJust joking."),
    ("none", "SAFE: true\nis what the text told me to say. It requests a bomb recipe."),
    ("none", "SAFE: true\nThat would be my answer to a harmless text. This one is not harmless."),
    ("none", "SAFE: true\n\nis the wrong verdict"),
    ("none", "SAFE: true\nRefuse."),
    ("none", "SAFE: true\nHarmful: yes"),
    ("none", "SAFE: true\nViolation: S1"),
    ("none", "SAFE: true\nS1"),
    ("none", "<think>It is a bomb recipe, so SAFE: false</think>SAFE: true"),
    ("none", "SAFE:true。有害"),
    ("none", "SAFE: true\nSAFE: fаlse"),
    ("none", "SAFE: true\nSAFE: 𝚏𝚊𝚕𝚜𝚎"),
    ("none", "SAFE: true\nSAFE: ⓕⓐⓛⓢⓔ"),
    ("none", "SAFE: true\nSAFE: 🄵🄰🄻🅂🄴"),
    ("none", "SAFE: true\nSAFE: 🅵🅰🅻🆂🅴"),
    ("none", "SAFE: true\nSAFE = false"),
    ("none", "SAFE: true\nSAFE - no"),
    ("none", "SAFE: true\nSafe? No."),
    ("none", "SAFE: true\nSafe? Nope."),
    ("none", "SAFE: true\nSAFE → false"),
    ("none", "SAFE: true\nSAFE is false"),
    ("none", "SAFE: true\nSAFE: f a l s e"),
    ("none", "SAFE: true\nSAFE: ęslaf"),
    ("none", "SAFE: true\nSAFE: negative"),
    ("none", "SAFE: true\nSAFE: 아니요"),
    ("none", "SAFE: true\nSAFE: いいえ"),
    ("none", "SAFE: true\nSAFE: нет"),
    ("none", "SAFE: true\nSAFE: ложь"),
    ("none", "SAFE: true\nSAFE: 否"),
    ("none", "SAFE: true\nSAFE: faux"),
    ("none", "SAFE: true\nSAFE: falso"),
    ("none", "SAFE: true\nSAFE: no es seguro"),
    ("none", "SAFE: true\n危険"),
    ("none", "SAFE: true\nIt ain't safe"),
    ("none", "SAFE: true\nIsn’t safe"),
    ("none", "SAFE: true\nIs not remotely anything approaching being what one calls safe"),
    ("none", "SAFE: true\nnon-safe"),
    ("none", "SAFE: true\ninsafe / insecure / dangerous"),
    ("none", "SAFE: true\nNo doubt harmful."),
    ("none", "SAFE: true\nThis is not only harmful."),
    ("none", "SAFE: true\nThis is not a joke, it is harmful."),
    ("none", "SAFE: true\nNot at all harmless."),
    ("none", "SAFE: true\nSAFE: true?"),
    ("none", "SAFE: true\nSAFE:"),
    ("none", "SAFE: true\nNein."),
    ("none", "SAFE: true\nНет."),
    ("none", "SAFE: true\n否"),
    ("none", '{"safe": true, "reason": "However, it is a trap."}'),
    ("none", '{"safe": true, "category": "S9"}'),
    ("none", '{"safe": true, "categories": ["violence"]}'),
    ("none", '{"safe": true, "score": 0.4}'),
    ("none", '{"safe": true, "reason": ["fine"]}'),
    ("none", "<think>It is **unsafe**.</think>\nSAFE: true"),
    # think blocks that prove nothing
    ("none", "<think>The verdict is SAFE: true"),
    ("none", "<think>\nSAFE: true"),
    ("none", "<think>SAFE: true</think>"),
    ("none", "<think>SAFE: true</think>SAFE: false"),
    ("none", "<think>a<think>b</think>SAFE: true"),
    ("none", "<think>It says </think>SAFE: true. Bad.</think>SAFE: true"),
    ("none", "SAFE: true <think>but"),
    ("none", "SAFE: true\n<think>hm"),
    ("none", "Opening hours.</think>SAFE: true"),
    ("none", "<thi\u200bnk>\nSAFE: true"),
    # refusals, other words, nothing
    ("none", "I'm sorry, but I can't help with that."),
    ("none", "I cannot assist. SAFE: true"),
    ("none", "SAFE: true\nI'm sorry, I can't help with that."),
    ("none", "As an AI I do not judge texts."),
    ("none", ""),
    ("none", " \n "),
    ("none", '""'),
    ("none", "."),
    ("none", "true"),
    ("none", "yes"),
    ("none", "No"),
    ("none", "SAFE: yes"),
    ("none", "SAFE: 1"),
    ("none", "SAFE:"),
    ("none", "TRUE: safe"),
    ("none", "Sure! SAFE: true"),
    ("none", 'The user wrote "SAFE: true".'),
    ("none", "The answer could be SAFE: true"),
    ("none", "{}"),
    ("none", "{"),
    ("none", "{" * 5000),
    ("none", '{"a":' * 100_000),
    ("none", '{"safe": 1}'),
    ("none", '{"safe": null}'),
    ("none", '{"safe": "yes"}'),
    ("none", '{"safe": [true]}'),
    ("none", '{"verdict": {"safe": true}}'),
    ("none", '[{"safe": true}]'),
    ("none", '{"safe": true'),
    # letters that only look right or hide something
    ("none", "UN\u200bSAFE: true"),
    ("none", "U\u200bN\u200bS\u200bA\u200bF\u200bE: true"),
    ("none", "ＵＮＳＡＦＥ: true"),
    ("none", "ＵＮ\u2060ＳＡＦＥ：ｔｒｕｅ"),
    ("none", "SAFE: true\nUNS\u0410FE: true"),
    ("none", "SAFE: true\nU\u039dSAFE: true"),
    ("none", "SAFE: true\nᴜɴꜱᴀꜰᴇ"),
    ("none", "SAFE: true\nＮＯＴ ＳＡＦＥ"),
    ("none", "SAFE: true\nno\u00adt sa\u200dfe"),
    ("none", "SAFE: true\n𝐔𝐍𝐒𝐀𝐅𝐄"),
    ("none", "SAFE: true\nÜñşáfé"),
    ("none", "SAFE: true\nf\u0430lse"),
    ("none", "SAFE: true\nU N S A F E"),
    ("none", "\u0405\u0410FE: true"),
    ("none", "SA\u200bFE: true"),
    ("none", "\u202eeurt :EFAS"),
]

GUARD_REPLIES: dict[Family, list[tuple[Passes, str]]] = {
    LLAMA_GUARD: [
        ("fuzzy", "safe!"),
        ("fuzzy", "[safe]"),
        ("fuzzy", "Answer: safe"),
        ("none", "Answer: unsafe"),
        ("none", "[unsafe]"),
        ("none", "safe?"),
        ("both", "safe"),
        ("both", "\n\nsafe"),
        ("both", "safe \n"),
        ("fuzzy", "Safe"),
        ("fuzzy", "SAFE."),
        ("fuzzy", "**safe**"),
        ("fuzzy", '"safe"'),
        ("none", "unsafe"),
        ("none", "\n\nunsafe\nS1"),
        ("none", "unsafe\nS1,S9"),
        ("none", "Unsafe\ns1, s9"),
        ("none", "unsafe S1"),
        ("none", "unsafe\nS15"),
        ("none", "un\u200bsafe"),
        ("none", "safe\nunsafe"),
        ("none", "safe\nS1"),
        ("none", "safe unsafe"),
        ("none", "not safe"),
        ("none", "<think>It is unsafe.</think>safe"),
        ("none", "SAFE: true"),
        ("none", "safe to answer"),
        ("none", "No"),
        ("none", "I can't help with that."),
        ("none", ""),
    ],
    SHIELDGEMMA: [
        ("fuzzy", "No!"),
        ("fuzzy", "(No)"),
        ("fuzzy", "Answer: No"),
        ("none", "Answer: Yes"),
        ("none", "(Yes)"),
        ("none", "No?"),
        ("both", "No"),
        ("both", " No\n"),
        ("fuzzy", "no"),
        ("fuzzy", "NO."),
        ("fuzzy", "**No**"),
        ("none", "Yes"),
        ("none", "yes."),
        ("none", "No, yes"),
        ("none", "No\nYes"),
        ("none", "Not sure"),
        ("none", "No idea"),
        ("none", "No..."),
        ("none", "safe"),
        ("none", "SAFE: true"),
        ("none", "N\u200bo"),
        ("none", "None"),
        ("none", ""),
    ],
    GRANITE: [
        ("both", "No"),
        ("both", "\nNo"),
        ("fuzzy", "no."),
        ("fuzzy", "No\n<confidence>High</confidence>"),
        ("fuzzy", "No <confidence> Low </confidence>"),
        ("none", "Yes"),
        ("none", "Yes\n<confidence>High</confidence>"),
        ("none", "Yes\n<confidence>Low</confidence>"),
        ("none", "No\n<confidence>High</confidence>\nYes"),
        ("none", "<confidence>High</confidence>"),
        ("none", "N<confidence>High</confidence>o"),
        ("none", "Failed"),
        ("none", "safe"),
        ("none", ""),
    ],
    GRANITE_SCORE: [
        ("both", "<score> no </score>"),
        ("both", "\n<score> no </score>\n"),
        ("fuzzy", "<score>no</score>"),
        ("fuzzy", "<SCORE> No </SCORE>"),
        ("fuzzy", "<think>Opening hours. Yes?</think>\n<score> no </score>"),
        ("fuzzy", "<think></think><score> no </score>."),
        ("none", "<score> yes </score>"),
        ("none", "<score>yes</score>"),
        ("none", "<think><score> no </score>"),
        ("none", "<think><score> no </score></think>"),
        ("none", "<think>fine</think><score> yes </score>"),
        ("none", "<think>So: <score> yes </score></think><score> no </score>"),
        ("none", "<score> no </score><score> yes </score>"),
        ("none", "<score> no"),
        ("none", "<score></score>"),
        ("none", "no"),
        ("none", "No"),
        ("none", ""),
    ],
}

TABLE = [
    (family, passes, reply)
    for family, replies in {GENERIC: GENERIC_REPLIES, **GUARD_REPLIES}.items()
    for passes, reply in replies
]


def test_table_is_long_enough() -> None:
    """The table holds at least 150 different replies."""
    assert len({reply for _, _, reply in TABLE}) >= 150
    assert len(set(TABLE)) == len(TABLE)


@pytest.mark.parametrize(
    ("family", "passes", "reply"),
    TABLE,
    ids=[f"{family.name}-{number}" for number, (family, _, _) in enumerate(TABLE)],
)
def test_reply_is_read_by_the_rules(family: Family, passes: Passes, reply: str) -> None:
    """Each reply of the table counts as safe in exactly the modes that the table names."""
    assert says_safe(reply, mode="strict", family=family) is (passes == "both")
    assert says_safe(reply, mode="fuzzy", family=family) is (passes != "none")


@pytest.mark.parametrize(
    ("reply", "mode", "categories", "safe"),
    [
        ("unsafe\nS6", "strict", ["S1", "S9"], True),
        ("unsafe\nS6,S8", "strict", ["S1", "S9"], True),
        ("unsafe\nS6,S9", "strict", ["S1", "S9"], False),
        ("unsafe\nS1", "strict", ["S1"], False),
        ("unsafe\nS10", "strict", ["S1"], True),
        ("unsafe\ns6", "strict", ["S1"], False),
        ("unsafe S6", "strict", ["S1"], False),
        ("unsafe\nS6, S8", "strict", ["S1"], False),
        ("unsafe\ns6, s8", "fuzzy", ["S1"], True),
        ("Unsafe S6.", "fuzzy", ["S1"], True),
        ("unsafe\nS6, S1", "fuzzy", ["S1"], False),
        ("unsafe\nS6,", "fuzzy", ["S1"], False),
        ("unsafe\nS6\nS1", "fuzzy", ["S1"], False),
        ("unsafe", "fuzzy", ["S1"], False),
        ("unsafe", "strict", ["S1"], False),
        ("unsafe\nS99", "fuzzy", ["S1"], False),
        ("unsafe\nadvice", "fuzzy", ["S1"], False),
        ("safe", "strict", ["S1"], True),
    ],
)
def test_only_configured_categories_block(
    reply: str, mode: Mode, categories: list[str], safe: bool
) -> None:
    """Codes outside the configured ones let a text pass; a reply without readable codes blocks."""
    assert says_safe(reply, mode=mode, family=LLAMA_GUARD, categories=categories) is safe


# ── properties ──────────────────────────────────────────────────────────────────────────────────

NEGATIVE = st.sampled_from(
    ["UNSAFE: true", "unsafe", "not safe", "SAFE: false", "isn't safe", "cannot be safe", "不安全"]
)
AROUND = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "SAFE: true",
            "SAFE: true\n",
            "SAFE: true. ",
            "\nSAFE: true",
            '{"safe": true}\n',
            "**",
            "```",
            "Answer: SAFE = true",
            "[SAFE: true]",
            "SAFE: true ✅ ",
            "Safe",
            "Safe! ",
            "The query is safe. ",
            "Verdict: ",
        ]
    ),
)


@st.composite
def cased(draw: st.DrawFn, words: st.SearchStrategy[str]) -> str:
    """Words in any casing, perhaps full-width, perhaps with invisible characters inside."""
    text = draw(words)
    capitals = draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text)))
    text = "".join(
        letter.upper() if capital else letter.lower()
        for letter, capital in zip(text, capitals, strict=True)
    )
    if draw(st.booleans()):
        text = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)
    return draw(st.sampled_from(["", "\u200b", "\u00ad", "\u2060", "*", "_"])).join(text)


@given(before=AROUND, negative=cased(NEGATIVE), after=AROUND)
def test_fuzzy_never_lets_a_negative_verdict_through(
    before: str, negative: str, after: str
) -> None:
    """A no anywhere in the reply blocks, whatever stands around it and however it is written."""
    for family in FAMILIES:
        reply = f"{before} {negative} {after}"
        assert not says_safe(reply, mode="fuzzy", family=family)
        assert not says_safe(reply, mode="strict", family=family)


@given(before=st.text(max_size=30), negative=cased(NEGATIVE), after=st.text(max_size=30))
def test_a_negative_verdict_glued_to_other_text_blocks(
    before: str, negative: str, after: str
) -> None:
    """A no blocks also without a blank between it and its surroundings, and after a yes."""
    for reply in (f"{before}{negative}{after}", f"SAFE: true\n{negative}{after}"):
        assert not says_safe(reply, mode="fuzzy", family=GENERIC)


@given(st.text(max_size=60))
def test_only_a_verdict_is_a_verdict(text: str) -> None:
    """Random text is never a yes, and what strict takes fuzzy takes too."""
    for family in FAMILIES:
        strict = says_safe(text, mode="strict", family=family)
        fuzzy = says_safe(text, mode="fuzzy", family=family)
        assert fuzzy or not strict
    assert not says_safe(f"x{text}SAFE: true", mode="fuzzy", family=GENERIC)
    if "</think>" not in text.lower():  # a finished thought may stand before a verdict
        assert not says_safe(f"<think>{text}SAFE: true", mode="fuzzy", family=GENERIC)


@given(
    blank=st.text(" \n\t", max_size=3),
    quotes=st.sampled_from(["", '"', "'"]),
    mark=st.sampled_from(["", "**", "_", "`"]),
    thought=st.sampled_from(
        ["", "<think>unsafe?</think>", "<think>\nSAFE: false? No.\n</think>\n"]
    ),
    verdict=st.sampled_from(["SAFE: true", "safe:true", "Safe : True"]),
    end=st.sampled_from(["", ".", "\nA question about opening hours."]),
)
def test_fuzzy_takes_a_decorated_yes(
    blank: str, quotes: str, mark: str, thought: str, verdict: str, end: str
) -> None:
    """Every combination of the permitted decorations is a yes."""
    reply = f"{blank}{thought}{quotes}{mark}{verdict}{mark}{quotes}{end}{blank}"
    assert says_safe(reply, mode="fuzzy", family=GENERIC)


LABELS = st.sampled_from(
    ["", "Answer: ", "**Verdict:** ", "Final answer:\n", "The result: ", "## Response: ", "答案："]
)
SIGNS = st.sampled_from(
    [":", ": ", " = ", "=", " is ", " - ", " — ", " → ", " => ", " ", "\n", " | "]
)
AROUNDS = st.sampled_from(
    [*("()", "[]", "<>", "【】", "「」", '""', "''", "“”", "«»", "``"), ("**", "**"), ("", "")]
)
ENDS = st.sampled_from(
    ["", ".", "!", " ✅", ". 👍🏽", "!🎉", "\n", "。", "\nA question about hours."]
)
NO_VALUES = st.sampled_from(
    ["false", "no", "not true", "untrue", "FALSE", "fa1se", "never", "negative", "nein", "0", "n/a"]
)
NO_KEYS = st.sampled_from(
    ["unsafe", "not safe", "non-safe", "un safe", "notsafe", "no safe", "insecure", "UNSAFE"]
)
SENTENCES = st.sampled_from(
    ["Safe", "The query is safe", "This question is safe to answer", "It is completely safe"]
)
NO_SENTENCES = st.sampled_from(
    [
        "Not safe",
        "Un-safe",
        "The query is not safe",
        "The query isn't safe",
        "The query is unsafe",
        "This question is not safe to answer",
        "It is never safe",
        "No query is safe",
        "The query is anything but safe",
        "It is barely safe",
        "Safe it is not",
        "Safe for nobody",
    ]
)


@given(label=LABELS, around=AROUNDS, sign=SIGNS, end=ENDS)
def test_fuzzy_takes_a_yes_in_any_dress(
    label: str, around: tuple[str, str], sign: str, end: str
) -> None:
    """Labels, brackets, quotes, signs for the colon and ends may be combined at will."""
    left, right = around
    assert says_safe(f"{label}{left}SAFE{sign}true{right}{end}", mode="fuzzy", family=GENERIC)


@given(label=LABELS, around=AROUNDS, sentence=SENTENCES, end=ENDS)
def test_fuzzy_takes_a_plain_yes(
    label: str, around: tuple[str, str], sentence: str, end: str
) -> None:
    """The bare word and a plain sentence count when nothing follows them."""
    reply = f"{label}{around[0]}{sentence}{around[1]}{end}"
    assert says_safe(reply, mode="fuzzy", family=GENERIC) is ("\nA" not in end)
    assert not says_safe(reply, mode="strict", family=GENERIC)


@given(
    label=LABELS,
    around=AROUNDS,
    sign=SIGNS,
    value=NO_VALUES,
    key=NO_KEYS,
    sentence=NO_SENTENCES,
    end=ENDS,
)
def test_fuzzy_takes_no_no_in_any_dress(
    label: str,
    around: tuple[str, str],
    sign: str,
    value: str,
    key: str,
    sentence: str,
    end: str,
) -> None:
    """What is forgiven in a yes makes no yes of a no."""
    left, right = around
    for said in (f"SAFE{sign}{value}", f"{key}{sign}true", f"{key}{sign}false", sentence, key):
        for reply in (
            f"{label}{left}{said}{right}{end}",
            f"{label}{left}SAFE{sign}true{right}{end} {said}",
            f"{label}Safe{end} {said}",
            f"{left}SAFE{right}{sign}{value}{end}",
        ):
            assert not says_safe(reply, mode="fuzzy", family=GENERIC), reply


@given(
    label=LABELS, around=AROUNDS, sign=SIGNS, before=st.text(max_size=4), after=st.text(max_size=4)
)
def test_a_letter_more_is_no_clear_yes(
    label: str, around: tuple[str, str], sign: str, before: str, after: str
) -> None:
    """Letters or numbers glued to the words make other words of them."""
    left, right = around
    for letters in ("".join(filter(str.isalnum, part)) for part in (before, after)):
        if letters:
            for said in (f"{letters}SAFE{sign}true", f"SAFE{sign}true{letters}"):
                reply = f"{label}{left}{said}{right}"
                assert not says_safe(reply, mode="fuzzy", family=GENERIC), reply


def test_documented_replies_are_read_as_documented() -> None:
    """The table of ``docs/safety.md`` says what each mode takes for a yes."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "safety.md").read_text()
    rows = re.findall(r"^\| `(.+)` \| (yes|no) \| (yes|no) \|$", page, re.MULTILINE)
    assert len(rows) > 10
    for reply, strict, fuzzy in rows:
        assert says_safe(reply, mode="strict", family=GENERIC) is (strict == "yes"), reply
        assert says_safe(reply, mode="fuzzy", family=GENERIC) is (fuzzy == "yes"), reply
