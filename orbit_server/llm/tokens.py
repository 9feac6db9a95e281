"""How many tokens a text is, without the model's tokenizer: one for every three UTF-8 bytes.

English needs fewer (about four letters a token), Chinese and Japanese about one a character, which
is three bytes.
"""

BYTES_PER_TOKEN = 3


def estimated_tokens(text: str) -> int:
    """Return a cautious guess of how many tokens ``text`` is."""
    return len(text.encode(errors="replace")) // BYTES_PER_TOKEN + 1
