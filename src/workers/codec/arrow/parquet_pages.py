"""The pages of a Parquet file: how long its texts can become, read from the pages' headers.

In the encodings DELTA_BYTE_ARRAY and dictionary a value may repeat bytes of another one, so the size of a
page does not limit the size of its values. But no value is longer than its page, or than the page of the
dictionary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from workers.codec.arrow.parquet_footer import COLUMNS, META_DATA, ROW_GROUPS, read_footer
from workers.codec.arrow.thrift import Struct, ThriftReader

_MAX_PAGES: Final = 100_000
_PADDING: Final = 100  # bytes that pyarrow reads after a column of certain old writers

# Numbers in parquet.thrift: fields of a column chunk's metadata, and of a page's header
_TYPE, _ENCODINGS, _COMPRESSED, _DATA_OFFSET, _DICTIONARY_OFFSET = 1, 2, 7, 9, 11
_PLAIN_SIZE, _COMPRESSED_SIZE, _DICTIONARY, _DATA_HEADERS = 2, 3, 7, {5: 2, 8: 4}
_NUM_VALUES: Final = 1
_BYTE_ARRAY: Final = 6
_DICTIONARY_ENCODINGS: Final = (2, 8)
_DELTA_BYTE_ARRAY: Final = 7
_DELTA_ENCODINGS: Final = (6, _DELTA_BYTE_ARRAY)


@dataclass(frozen=True, slots=True)
class TextSizes:
    """Upper bounds of the bytes of a file's texts.

    `pages` is what their pages become when decompressed, `total` what all texts become. `row` is the most of
    one row, if its columns hold no lists.
    """

    pages: int
    total: int
    row: int


def has_delta_texts(body: bytes) -> bool:
    """Return whether texts are in an encoding of which pyarrow makes no dictionaries."""
    chunks = _text_chunks(read_footer(body))
    return any(encoding in _DELTA_ENCODINGS for _, chunk in chunks for encoding in chunk.get(_ENCODINGS, ()))


def read_text_sizes(body: bytes) -> TextSizes:
    """Return the bounds of all columns of texts. A damaged file raises any exception."""
    pages = total = count = 0
    longest: dict[int, int] = {}
    for column, chunk in _text_chunks(read_footer(body)):
        dictionary = 0
        for header in _page_headers(body, chunk):
            if (count := count + 1) > _MAX_PAGES:
                raise ValueError("too many pages")
            size = header[_PLAIN_SIZE]
            dictionary = max(dictionary, size) if _DICTIONARY in header else dictionary
            pages += size
            total += _page_total(header, dictionary)
            longest[column] = max(longest.get(column, 0), size)
    return TextSizes(pages, total, sum(longest.values()))


def _text_chunks(footer: Struct) -> Iterator[tuple[int, Struct]]:
    for group in footer.get(ROW_GROUPS, ()):
        for number, column in enumerate(group[COLUMNS]):
            chunk = column[META_DATA]
            if chunk[_TYPE] == _BYTE_ARRAY:
                yield number, chunk


def _page_headers(body: bytes, chunk: Struct) -> Iterator[Struct]:
    start = chunk[_DATA_OFFSET]
    if 0 < chunk.get(_DICTIONARY_OFFSET, 0) < start:
        start = chunk[_DICTIONARY_OFFSET]
    end = start + chunk[_COMPRESSED]
    if not 0 <= start <= end <= len(body):
        raise ValueError("a column outside of the file")
    position = start
    while position < min(end + _PADDING, len(body)):
        try:
            reader = ThriftReader(body, position)
            header = reader.read_struct()
            if header[_PLAIN_SIZE] < 0 or header[_COMPRESSED_SIZE] < 0:
                raise ValueError("a page of a negative size")
        except (IndexError, KeyError, ValueError, TypeError):
            if position < end:
                raise
            return
        position = reader.position + header[_COMPRESSED_SIZE]
        yield header


def _page_total(header: Struct, dictionary: int) -> int:
    """Return what the values of a page can become together."""
    for field, encoding_field in _DATA_HEADERS.items():
        if field in header:
            encoding, count = header[field][encoding_field], max(0, header[field][_NUM_VALUES])
            if encoding in _DICTIONARY_ENCODINGS:
                return int(count * dictionary)
            if encoding == _DELTA_BYTE_ARRAY:
                return int(count * header[_PLAIN_SIZE])
    return int(header[_PLAIN_SIZE])
