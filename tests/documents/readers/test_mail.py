"""Messages, one or a mailbox full."""

from email.message import EmailMessage
from pathlib import Path

from orbit_server.documents.readers.read import read

from ...support.documents import complaint, load, texts


def message(subject: str, text: str, html: str = "", *, encoding: str = "utf-8") -> EmailMessage:
    made = EmailMessage()
    made["Subject"], made["From"] = subject, "Ann Lee <ann@town.example>"
    made["Date"] = "Mon, 02 Feb 2026 09:00:00 +0100"
    made.set_content(text, charset=encoding)
    if html:
        made.add_alternative(html, subtype="html")
    return made


def test_a_message_is_its_text_under_its_subject(tmp_path: Path) -> None:
    """In any encoding; attachments are counted."""
    made = message("Gebühren für Pässe", "Ein Pass kostet\n37 €.\n\nAnn", encoding="cp1252")
    made.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="fees.pdf")
    path = tmp_path / "a.eml"
    path.write_bytes(bytes(made))
    found = read(path, "a.eml", chunk_chars=1000, chunk_overlap=0)
    head = "Ann Lee <ann@town.example>, Mon, 02 Feb 2026 09:00:00 +0100"
    assert texts(found.chunks) == [f"{head}\n\nEin Pass kostet 37 €.\n\nAnn"]
    assert found.chunks[0].metadata["title"] == "Gebühren für Pässe"
    assert found.notes == ["1 attachment is left out (Gebühren für Pässe)."]


def test_a_message_in_html_only(tmp_path: Path) -> None:
    """It is read as a page is."""
    made = EmailMessage()
    made["Subject"] = "Fees"
    made.set_content("<h1>Passports</h1><p>37 euros<p hidden>x", subtype="html")
    [chunk] = load(tmp_path, "a.eml", bytes(made))
    assert (chunk.metadata["heading"], chunk.text) == ("Fees > Passports", "37 euros")


def test_a_mailbox(tmp_path: Path) -> None:
    """Each message under its subject; a line that begins with From does not divide one."""
    box = b""
    for each in (message("One", "First.\n\nFrom here on, quoted."), message("Two", "Second.")):
        body = bytes(each).replace(b"\nFrom here", b"\n>From here")
        box += b"From ann@town.example Mon Feb  2 09:00:00 2026\n" + body + b"\n"
    chunks = load(tmp_path, "a.mbox", box)
    assert [chunk.metadata["heading"] for chunk in chunks] == ["One", "Two"]
    assert chunks[0].text.endswith("First.\n\nFrom here on, quoted.")


def test_one_odd_message_spoils_no_mailbox(tmp_path: Path) -> None:
    """Some programs leave a line that begins with From as it is: what follows it has no header."""
    envelope = b"From ann@town.example Mon Feb  2 09:00:00 2026\n"
    first, second = (message(name, f"{name} text.\n\nFrom here on") for name in ("One", "Two"))
    path = tmp_path / "a.mbox"
    path.write_bytes(envelope + bytes(first) + b"\nlost\n" + envelope + bytes(second))
    found = read(path, "a.mbox", chunk_chars=1000, chunk_overlap=0)
    assert [chunk.metadata["heading"] for chunk in found.chunks] == ["One", "Two"]
    assert found.left_out == [
        "Message 2 is left out: The file is not an e-mail message: it has no header."
    ]


def test_what_is_no_message(tmp_path: Path) -> None:
    """It is one sentence."""
    assert "no header" in complaint(tmp_path, "a.eml", "\njust text")
    assert "not a mailbox" in complaint(tmp_path, "a.mbox", "just text")
