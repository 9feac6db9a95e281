"""Text is read in the encoding that it is in, and what was assumed is said."""

import codecs

import pytest

from orbit_server.documents.readers.encoding import decoded
from orbit_server.errors import UnreadableDocument

GERMAN = "Die Bücherei öffnet um neun. Gebühren für den Reisepass: 37 € – nur bar. Straße."
SPANISH = "La biblioteca está abierta por la mañana. ¿Dónde pago la tasa? También el año que viene."
FRENCH = "L'école est fermée l'été. Où puis-je payer ? Ça coûte dix euros – c'est gratuit ici."
CZECH = "Knihovna je otevřená od pondělí do pátku. Žádost podejte na městském úřadě."
POLISH = "Biblioteka jest otwarta od poniedziałku do piątku. Gdzie można zapłacić podatek? Źródło."
TURKISH = "Kütüphane pazartesiden cumaya kadar açıktır. Ücreti nerede ödeyebilirim? Şehir."
RUSSIAN = "Библиотека открыта с понедельника по пятницу. Где можно оплатить сбор? Паспорт дорог."
GREEK = "Η βιβλιοθήκη είναι ανοιχτή από Δευτέρα έως Παρασκευή. Πού πληρώνω τα τέλη; Στο δημαρχείο."
ARABIC = "المكتبة مفتوحة من الاثنين إلى الجمعة. أين يمكنني دفع الرسوم؟ في مبنى البلدية."
CHINESE = "图书馆周一至周五开放。护照费用为三十七欧元，请在市政厅付款。"
TAIWANESE = "圖書館從星期一到星期五開放。護照費用為三十七歐元，請在市政廳付款。"
JAPANESE = "図書館は月曜日から金曜日まで開いています。パスポートは三十七ユーロです。"
KOREAN = "도서관은 월요일부터 금요일까지 열려 있습니다. 여권은 삼십칠 유로입니다."


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        (GERMAN, "cp1252", "windows-1252"),
        (SPANISH, "latin-1", "windows-1252"),
        (FRENCH, "cp1252", "windows-1252"),
        (CZECH, "cp1250", "windows-1250"),
        (POLISH, "cp1250", "windows-1250"),
        (TURKISH, "cp1254", "windows-1254"),
        (RUSSIAN, "cp1251", "windows-1251"),
        (RUSSIAN, "koi8-r", "koi8-r"),
        (GREEK, "cp1253", "windows-1253"),
        (ARABIC, "cp1256", "windows-1256"),
        (CHINESE, "gbk", "GBK"),
        (TAIWANESE, "big5", "big5"),
        (JAPANESE, "cp932", "Shift-JIS"),
        (JAPANESE, "euc_jp", "EUC-JP"),
        (KOREAN, "euc_kr", "EUC-KR"),
        (GERMAN, "utf-16-le", "utf-16-le"),
        (GERMAN, "utf-16-be", "utf-16-be"),
        ("Open all day.\r\n" * 5, "utf-16-le", "utf-16-le"),
    ],
)
def test_an_encoding_that_nothing_names_is_guessed_and_said(
    text: str, encoding: str, name: str
) -> None:
    """Old files, exports from spreadsheets, and editors that write UTF-16 without a mark."""
    found = decoded(text.encode(encoding))
    assert found.text == text
    assert found.note == f"The file does not say its encoding; it was read as {name}."


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_a_byte_order_mark_says_the_encoding(mark: bytes, encoding: str) -> None:
    """Nothing is assumed, whatever the page declares."""
    for text in (GERMAN, CHINESE, "x"):
        assert decoded(mark + text.encode(encoding), "gbk") == (text, "")


@pytest.mark.parametrize(
    ("label", "text", "encoding"),
    [
        ("ISO-8859-1", GERMAN, "cp1252"),  # browsers read it as windows-1252
        ("latin1", "The price is 5 € – “only”", "cp1252"),
        ("gb2312", "朱镕基", "gbk"),  # the second sign is not in GB 2312
        ("x-sjis", "①髙橋", "cp932"),
        ("Windows-1250", CZECH, "cp1250"),
        ("iso-8859-9", TURKISH, "cp1254"),
        ("iso-2022-jp", JAPANESE, "iso2022_jp"),
        ("utf-16", GERMAN, "utf-8"),  # who could read the label has not read UTF-16
        ("gbk", GERMAN, "utf-8"),  # a server's default; valid UTF-8 is nothing else
    ],
)
def test_a_declared_label_means_what_browsers_take_it_for(
    label: str, text: str, encoding: str
) -> None:
    """The labels of the HTML standard, which are not Python's."""
    assert decoded(text.encode(encoding), label) == (text, "")


def test_plain_text_needs_no_note() -> None:
    """UTF-8, ASCII in it, is what files should be in."""
    for text in ("Open all day.", GERMAN, CHINESE, "a"):
        assert decoded(text.encode()) == (text, "")


@pytest.mark.parametrize(
    ("data", "declared", "part"),
    [
        (b"\xef\xbb\xbfcaf\xe9", None, "not UTF-8 text: byte 6 is 0xe9"),
        (b"Stra\xff", "gbk", "not GBK text: byte 4 is 0xff"),
        ("Straße".encode("cp1252"), "no-such-set", "unknown character set"),
        (bytes(range(256)) * 4, None, "not text"),
    ],
)
def test_what_is_no_text_is_refused(data: bytes, declared: str | None, part: str) -> None:
    """The sentence names the first wrong byte, or says that there is no text at all."""
    with pytest.raises(UnreadableDocument, match=part):
        decoded(data, declared)
