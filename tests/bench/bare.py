"""The least that a receiver in Python must do: cut PDUs, write files, make them durable, answer Success.

No header is read, no row is written, nobody is refused: what it reaches is the most that there is to reach for us.
`python bare.py PORT FOLDER`.
"""

import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sender import item, read_pdu

from dicom_node.part_file import PartFile
from dicom_node.receive.command import StoreRequest, parse_command, store_request
from dicom_node.receive.intake import SUCCESS
from dicom_node.receive.pdus import Fragment, PduBuffer
from dicom_node.spare_files import SpareFiles, make_folders

_MAX_PDU = 131_072


def main() -> None:
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    make_folders(folder)
    spares = SpareFiles(folder)
    with socket.create_server(("127.0.0.1", port), backlog=64) as listening:
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_serve, args=(connection, spares), daemon=True).start()


def _serve(connection: socket.socket, spares: SpareFiles) -> None:
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            _accept(connection)
        except RuntimeError:
            return  # whoever looked whether the port is open
        rounds = _rounds(connection)
        while _store(connection, rounds, spares):
            pass


def _accept(connection: socket.socket) -> None:
    """Answer the A-ASSOCIATE-RQ."""
    _, request = read_pdu(connection)
    contexts = [_accepted(content) for kind, content in _items(request[68:]) if kind == 0x20]
    user = item(0x50, item(0x51, struct.pack(">I", _MAX_PDU)) + item(0x52, "2.25.1"))
    content = request[:68] + item(0x10, "1.2.840.10008.3.1.1.1") + b"".join(contexts) + user
    _answer(connection, struct.pack(">BxI", 2, len(content)) + content)


def _answer(connection: socket.socket, pdu: bytes) -> None:
    connection.sendall(pdu)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # as the node does, for DCMTK's senders


def _accepted(proposed: bytes) -> bytes:
    """A presentation context with the first of its transfer syntaxes."""
    syntax = next(content for kind, content in _items(proposed[4:]) if kind == 0x40)
    return item(0x21, proposed[:1] + b"\0\0\0" + item(0x40, syntax))


def _items(content: bytes) -> Iterator[tuple[int, bytes]]:
    """PS3.8 9.3.2: each with its type."""
    while content:
        end = 4 + int.from_bytes(content[2:4], "big")
        yield content[0], content[4:end]
        content = content[end:]


def _rounds(connection: socket.socket) -> Iterator[list[Fragment]]:
    """What came in each call to the system; it stays as it is until the next."""
    buffer = PduBuffer(_MAX_PDU)
    while count := connection.recv_into(buffer.space()):
        buffer.filled(count)
        fragments = []
        while isinstance(piece := buffer.next_piece(is_established=True), Fragment):
            fragments.append(piece)
        yield fragments
        if piece is not None:  # A-RELEASE-RQ
            return connection.sendall(b"\6\0\0\0\0\4\0\0\0\0")


def _store(connection: socket.socket, rounds: Iterator[list[Fragment]], spares: SpareFiles) -> bool:
    """Take one object. False: the peer has ended."""
    command: StoreRequest | None = None
    with closing(spares.take()) as part:
        for fragments in rounds:
            if fragments and fragments[0].is_command:
                command = store_request(parse_command(bytes(fragments[0].data)), fragments[0].context_id)
            part.write([each.data for each in fragments if not each.is_command])
            if command is not None and fragments and fragments[-1].is_last and not fragments[-1].is_command:
                _finish(part)
                _answer(connection, command.response(SUCCESS, _MAX_PDU))
                return True
    return False


def _finish(part: PartFile) -> None:
    part.begin_write_back()
    part.finish()
    part.keep()


if __name__ == "__main__":
    main()
