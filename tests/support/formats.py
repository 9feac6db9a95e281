"""A folder with a document of each of twenty formats, and a question that only it answers."""

import json
from email.message import EmailMessage
from io import BytesIO
from typing import NamedTuple

from reportlab.pdfgen.canvas import Canvas  # type: ignore[import-untyped]

from .office import docx, epub, odp, ods, odt, paragraph, pptx, shape, xlsx


class Sample(NamedTuple):
    """A document, and the question that it answers with a sentence that has ``answer`` in it."""

    content: bytes
    question: str
    answer: str


def pdf(text: str) -> bytes:
    """Return a page with this line, the same bytes each time."""
    buffer = BytesIO()
    page = Canvas(buffer, invariant=1)
    page.drawString(72, 720, text)
    page.save()
    return buffer.getvalue()


def _mail(subject: str, text: str) -> EmailMessage:
    made = EmailMessage()
    made["Subject"], made["From"] = subject, "Ann Lee <ann@town.example>"
    made["Date"] = "Mon, 02 Feb 2026 09:00:00 +0100"
    made.set_content(text)
    return made


def samples() -> dict[str, Sample]:
    """Return the documents by their paths in the folder."""
    mail = _mail("Ice rink", "The ice rink lends skates for four euros.")
    box = _mail("Ferry", "The ferry across the river leaves at noon.")
    notebook = {"cell_type": "markdown", "source": "The noise of trams is measured in decibels."}
    pages = "<html><head><title>Lamps</title></head><body><p>{}</p></body></html>"
    return {
        "a/chickens.json": Sample(
            json.dumps(
                [{"question": "May I keep chickens?", "answer": "Up to five chickens."}]
            ).encode(),
            "May I keep chickens?",
            "five chickens",
        ),
        "a/boats.csv": Sample(
            b"question,answer\nWhere do I register a boat?,At the harbour office.\n",
            "Where do I register a boat?",
            "harbour office",
        ),
        "a/phones.tsv": Sample(
            b"Office\tPhone\nRegistry of marriages\t55501\n",
            "What is the phone number of the registry of marriages?",
            "55501",
        ),
        "a/bees.xlsx": Sample(
            xlsx({"Hives": [["Apiary", "Hives allowed"], ["garden apiary", "two hives"]]}),
            "How many hives may a garden apiary have?",
            "two hives",
        ),
        "a/macros.xlsm": Sample(
            xlsx({"Rooms": [["Hall", "Rent"], ["wedding hall", "ninety crowns"]]}),
            "What is the rent of the wedding hall?",
            "ninety crowns",
        ),
        "b/trees.ods": Sample(
            ods("Trees", [["Tree", "Felling"], ["chestnut tree", "permit needed"]]),
            "Do I need a permit for felling a chestnut tree?",
            "permit needed",
        ),
        "b/glass.md": Sample(
            b"# Glass\n\nThe glass container is emptied on Mondays.\n",
            "When is the glass container emptied?",
            "Mondays",
        ),
        "b/concert.txt": Sample(
            b"A concert may be as loud as 95 decibels until ten.\n",
            "How loud may a concert be?",
            "95 decibels",
        ),
        "b/lamps.html": Sample(
            pages.format("The utility company repairs broken street lamps.").encode(),
            "Who repairs broken street lamps?",
            "utility company",
        ),
        "b/snow.rst": Sample(
            b"Snow\n====\n\nOwners clear snow from the pavement before seven.\n",
            "Who clears snow from the pavement?",
            "Owners",
        ),
        "c/trams.ipynb": Sample(
            json.dumps({"cells": [notebook], "nbformat": 4}).encode(),
            "In what is the noise of trams measured?",
            "decibels",
        ),
        "c/licence.pdf": Sample(
            pdf("The fishing licence costs twelve euros a year."),
            "What does the fishing licence cost?",
            "twelve euros",
        ),
        "c/kennel.docx": Sample(
            docx(paragraph("The kennel takes in dogs that were found.")),
            "Who takes in dogs that were found?",
            "kennel",
        ),
        "c/museum.pptx": Sample(
            pptx([shape("Museum", "title") + shape("The museum shows old looms.")]),
            "What does the museum show?",
            "looms",
        ),
        "c/cemetery.odt": Sample(
            odt("<text:p>The cemetery gate is locked at dusk.</text:p>"),
            "When is the cemetery gate locked?",
            "dusk",
        ),
        "d/orchard.odp": Sample(
            odp(["Apples of the orchard are pressed into cider."]),
            "What are apples of the orchard pressed into?",
            "cider",
        ),
        "d/legends.epub": Sample(
            epub(["<html><body><p>A dragon sleeps below the old castle.</p></body></html>"]),
            "What sleeps below the old castle?",
            "dragon",
        ),
        "d/rink.eml": Sample(bytes(mail), "What do skates at the ice rink cost?", "four euros"),
        "d/ferry.mbox": Sample(
            b"From ann@town.example Mon Feb  2 09:00:00 2026\n" + bytes(box),
            "When does the ferry across the river leave?",
            "noon",
        ),
        "d/sauna.rtf": Sample(
            rb"{\rtf1\ansi The sauna is heated with birch wood.\par}",
            "What is the sauna heated with?",
            "birch",
        ),
    }
