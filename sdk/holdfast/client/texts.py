"""Texts that go on the wire as they are: refuses what is no text before it becomes an error deep inside protobuf."""

from holdfast.errors import InvalidRequest


def checked_text(field: str, text: str) -> str:
    """The text, when it can be sent and stored. Raises InvalidRequest naming the field."""
    if "\0" in text or not _is_unicode(text):
        raise InvalidRequest(field, f"{text[:50]!r} has a NUL character or half of a surrogate pair, which is no text")
    return text


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
