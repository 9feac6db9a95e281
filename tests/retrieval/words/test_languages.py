"""Languages are told apart by their scripts and their stop words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_server.retrieval.words.languages import LANGUAGES, STEMMERS, detected
from orbit_server.retrieval.words.stop_words import STOP_WORDS

TEXTS = {
    "ar": "المكتبة مفتوحة من الاثنين إلى الجمعة. البطاقة مجانية لكل من لديه هوية.",
    "ca": "La biblioteca és oberta de dilluns a divendres. Per obtenir un carnet cal un document.",
    "cs": "Knihovna je otevřena od pondělí do pátku. Pro kartu je nutné mít občanský průkaz.",
    "da": "Biblioteket er åbent fra mandag til fredag. Kortet koster ikke noget, hvis du bor her.",
    "de": "Die Bücherei ist von Montag bis Freitag offen. Für die Karte braucht man einen Ausweis.",
    "el": "Η βιβλιοθήκη είναι ανοιχτή από Δευτέρα έως Παρασκευή. Για την κάρτα θα δείτε εδώ.",
    "en": "The library is open from Monday to Friday. You need proof of your address for a card.",
    "es": "La biblioteca está abierta de lunes a viernes. Para obtener una tarjeta hay que pagar.",
    "fi": "Kirjasto on avoinna maanantaista perjantaihin. Kortin saa, kun se on maksettu.",
    "fr": "La bibliothèque est ouverte du lundi au vendredi. Les cartes sont gratuites pour nous.",
    "hi": "पुस्तकालय सोमवार से शुक्रवार तक खुला रहता है। कार्ड के लिए पहचान पत्र चाहिए।",
    "hu": "A könyvtár hétfőtől péntekig van nyitva. Az olvasójegyhez személyi igazolvány kell.",
    "it": "La biblioteca è aperta dal lunedì al venerdì. Per la tessera serve un documento.",
    "ja": "図書館は月曜日から金曜日まで開いています。カードは無料です。",
    "ko": "도서관은 월요일부터 금요일까지 엽니다. 카드는 무료입니다.",
    "nl": "De bibliotheek is open van maandag tot en met vrijdag. Voor een kaart heeft u geld.",
    "no": "Biblioteket er åpent fra mandag til fredag. Kortet koster ikke noe, hvis du bor her nå.",
    "pl": "Biblioteka jest otwarta od poniedziałku do piątku. Aby otrzymać kartę, nie trzeba nic.",
    "pt": "A biblioteca está aberta de segunda a sexta-feira. Para obter um cartão não é preciso.",
    "ro": "Biblioteca este deschisă de luni până vineri. Pentru un permis trebuie un act.",
    "ru": "Библиотека открыта с понедельника по пятницу. Чтобы получить карту, нужно прийти.",
    "sv": "Biblioteket är öppet från måndag till fredag. För att få ett kort måste du betala.",
    "tr": "Kütüphane pazartesiden cumaya kadar açıktır. Kart için bir kimlik gereklidir.",
    "zh": "图书馆周一至周五开放。办理借书卡需要身份证。",
}


def test_every_language_is_told() -> None:
    """There is a text here for every language, and stop words for each that has stems."""
    assert set(TEXTS) == LANGUAGES
    assert set(STOP_WORDS) == set(STEMMERS)


@pytest.mark.parametrize("code", sorted(TEXTS))
def test_two_sentences_tell_a_language(code: str) -> None:
    """Alone, and as nearly all of many."""
    assert detected([TEXTS[code]]) == (code,)
    assert detected([TEXTS[code]] * 20 + [TEXTS["en"]]) == (code,)


def test_a_collection_of_several_languages() -> None:
    """A tenth of the texts is enough to count, one text is not."""
    assert detected([TEXTS["de"]] * 8 + [TEXTS["en"]] * 2 + [TEXTS["fr"]]) == ("de", "en")
    assert detected([TEXTS["da"]] * 5 + [TEXTS["zh"]] * 5) == ("da", "zh")


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        (["Паспорт стоит 70 евро", "Часы работы"], "ru"),
        (["ساعات عمل المكتبة"], "ar"),
        (["Ώρες λειτουργίας"], "el"),
        (["पुस्तकालय"], "hi"),
        (["Orario della biblioteca", "Il passaporto costa 70 euro"], "it"),
        (["Horario de la biblioteca"], "es"),
        (["Openingstijden van de bibliotheek"], "nl"),
        (["Das Bad", "Ein Reisepass"], "de"),
    ],
)
def test_a_few_words(texts: list[str], code: str) -> None:
    """Their script, all of them together, or the language that more is written in."""
    assert detected(texts) == (code,)


def test_an_unknown_language_is_none_of_these() -> None:
    """It shares some words with each."""
    texts = [
        "Perpustakaan kota dibuka setiap hari dan gratis untuk semua warga. Untuk mendapatkan"
        " kartu, anda harus membawa identitas dan bukti alamat.",
        "Bibliotēka ir atvērta no pirmdienas līdz piektdienai un karte ir bez maksas. Lūdzu,"
        " ņemiet līdzi dokumentu.",
    ]
    assert [detected([text]) for text in texts] == [(), ()]
    assert detected(texts) == ()


@pytest.mark.parametrize("texts", [[], ["", " "], ["PX4711: 3 l, 2200 W", "PX4712"], ["Krrk"] * 9])
def test_what_cannot_be_told(texts: list[str]) -> None:
    """Neither codes nor an unknown language are taken for any."""
    assert detected(texts) == ()


@given(st.lists(st.text()))
def test_any_texts_are_in_known_languages(texts: list[str]) -> None:
    """Whatever is loaded, the answer can be stored."""
    assert set(detected(texts)) <= LANGUAGES
