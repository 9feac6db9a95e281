"""Mark untrusted text in prompts: random delimiters, no chat-template tokens."""

import re
import secrets

# Chat templates mark roles with such tokens; a text must not be able to speak as another role.
_CONTROL = re.compile(r"<(?=[|｜/\w])|\[(?=/?(?:INST|SYS|TOOL|AVAIL))")


def delimiter() -> str:
    """Return a line for before and after a text, new every time so that no text can contain it."""
    return f"====={secrets.token_hex(16)}====="


def without_roles(text: str) -> str:
    """Return ``text`` with a blank in everything that a chat template might take for a role."""
    return _CONTROL.sub(r"\g<0> ", text)
