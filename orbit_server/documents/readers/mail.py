"""Messages: one in an ``.eml``, many in an ``.mbox``; attachments are left out, and counted."""

import email
import re
from email.message import EmailMessage
from email.policy import default

from ...errors import UnreadableDocument
from ..cleaning import one_line
from ..model import Block, Document, shortened
from . import html, text
from .encoding import decoded

# A line that begins so within a message is written as ">From " (RFC 4155, appendix A).
_FROM_LINE = re.compile(rb"^From [^\n]*\n", re.M)
_QUOTED_FROM = re.compile(rb"^>(>*From )", re.M)


def read_eml(data: bytes) -> Document:
    """Read one message: its title is the subject. Raises ``UnreadableDocument``."""
    document = Document("")
    subject = _add(document, data)
    document.title = subject
    return document


def read_mbox(data: bytes) -> Document:
    """Read all messages, each under its subject. Raises ``UnreadableDocument``.

    One that cannot be read is left out: programs that quote no line with From divide some in two.
    """
    if not _FROM_LINE.match(data):
        raise UnreadableDocument("The file is not a mailbox: it does not begin with a From line.")
    document = Document("")
    for number, message in enumerate(_FROM_LINE.split(data)[1:], start=1):
        one = Document("")
        try:
            if message.strip():
                _add(one, _QUOTED_FROM.sub(rb"\1", message))
        except UnreadableDocument as error:
            document.left_out.append(f"Message {number} is left out: {error}")
            continue
        except Exception as error:  # of the parser, which stumbles over some odd headers
            document.left_out.append(f"Message {number} is damaged ({type(error).__name__}).")
            continue
        document.blocks += one.blocks
        document.notes += one.notes
    return document


def _add(document: Document, data: bytes) -> str:
    message = email.message_from_bytes(data, policy=default)
    if not isinstance(message, EmailMessage) or not message.keys():
        raise UnreadableDocument("The file is not an e-mail message: it has no header.")
    subject = one_line(str(message.get("subject", "")))
    heading = shortened(subject)
    head = [one_line(str(message[name])) for name in ("from", "date") if message[name]]
    document.blocks += [Block(", ".join(head), heading)] if head else []
    body = message.get_body(("plain", "html"))
    if isinstance(body, EmailMessage):
        read = html.parse if body.get_content_type() == "text/html" else text.read
        for block in read(_content(body)).blocks:
            below = f"{heading} > {block.heading}" if block.heading else heading
            document.blocks.append(Block(block.text, below, verbatim=block.verbatim))
    if attached := len(list(message.iter_attachments())):
        files = "attachment is" if attached == 1 else "attachments are"
        document.notes.append(f"{attached} {files} left out ({heading or 'no subject'}).")
    return subject


def _content(part: EmailMessage) -> str:
    payload = part.get_payload(decode=True)
    return decoded(payload if isinstance(payload, bytes) else b"", part.get_content_charset()).text
