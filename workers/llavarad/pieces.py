"""Llama's tokenizer.model, a SentencePiece protocol buffer, as the tokenizer we run.

Only the few fields that decide about ids are read, so neither sentencepiece nor protobuf is needed.
Source of field numbers: sentencepiece_model.proto.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from dicom_node.errors import BadCheckpoint
from workers.llavarad.llama_tokenizer import BEGIN, END, UNKNOWN, assemble_tokenizer

_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3  # ModelProto
_TEXT, _SCORE, _KIND = 1, 2, 3  # SentencePiece
_MODEL_TYPE, _BYTE_FALLBACK = 3, 35  # TrainerSpec
_CHARSMAP, _DUMMY_PREFIX, _REMOVE_SPACES = 2, 3, 4  # NormalizerSpec
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6  # SentencePiece.Type
_BPE = 2  # TrainerSpec.ModelType
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
Fields = dict[int, int | bytes]


@dataclass(frozen=True)
class _Piece:
    text: str
    score: float
    kind: int


def read_llama_tokenizer(path: Path) -> Tokenizer:
    """Raises BadCheckpoint if the file is no SentencePiece model, or one that works in another way than Llama's."""
    try:
        content = list(_fields(path.read_bytes()))
        pieces = [_piece(dict(_fields(_bytes(value)))) for number, value in content if number == _PIECES]
        specs = {number: dict(_fields(_bytes(value))) for number, value in content if number != _PIECES}
    except (ValueError, IndexError, struct.error) as error:
        raise BadCheckpoint(f"{path.name} is damaged or no SentencePiece model") from error
    _require_llama(path, pieces, specs)
    return assemble_tokenizer([piece.text for piece in pieces], _merges(pieces))


def _require_llama(path: Path, pieces: list[_Piece], specs: dict[int, Fields]) -> None:
    trainer, normalizer = specs.get(_TRAINER, {}), specs.get(_NORMALIZER, {})
    is_llama = (
        [piece.text for piece in pieces[:3]] == [UNKNOWN, BEGIN, END]
        and {piece.kind for piece in pieces} == {_NORMAL, _UNKNOWN, _CONTROL, _BYTE}
        and (trainer.get(_MODEL_TYPE), trainer.get(_BYTE_FALLBACK)) == (_BPE, 1)
        and (normalizer.get(_DUMMY_PREFIX, 1), normalizer.get(_REMOVE_SPACES, 1)) == (1, 0)
        and not normalizer.get(_CHARSMAP)
    )
    if not is_llama:
        raise BadCheckpoint(f"{path.name} is not Llama's: expected byte pairs with byte fallback and a space in front")


def _merges(pieces: list[_Piece]) -> list[tuple[str, str]]:
    """Every way to join two pieces into a third; the third's score is the rank."""
    ids = {piece.text: index for index, piece in enumerate(pieces)}
    ranked = []
    for piece in (each for each in pieces if each.kind == _NORMAL):
        halves = ((piece.text[:cut], piece.text[cut:]) for cut in range(1, len(piece.text)))
        ranked += [(-piece.score, ids[a], ids[b], a, b) for a, b in halves if a in ids and b in ids]
    return [(left, right) for *_, left, right in sorted(ranked)]


def _piece(fields: Fields) -> _Piece:
    (score,) = struct.unpack("<f", _bytes(fields.get(_SCORE, bytes(4))))
    kind = fields.get(_KIND, _NORMAL)
    if not isinstance(kind, int):
        raise ValueError("a piece's type is not a number")
    return _Piece(_bytes(fields.get(_TEXT, b"")).decode(), score, kind)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a message. Raises ValueError or IndexError if it is none."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        value: int | bytes
        if wire == _VARINT:
            value, at = _varint(data, at)
        else:
            size, at = _varint(data, at) if wire == _BYTES else ({_FIXED32: 4, _FIXED64: 8}.get(wire, -1), at)
            if not 0 <= size <= len(data) - at:
                raise ValueError("a field ends beyond its message")
            value, at = data[at : at + size], at + size
        yield key >> 3, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] & 0x80:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
    return value | data[at] << shift, at + 1


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where bytes belong")
    return value
