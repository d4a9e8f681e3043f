"""A sender that is faster than any receiver: frames made before the clock runs, one system call for many PDUs.

And the senders that people have.
"""

import os
import re
import socket
import struct
import subprocess
import threading
import time
from dataclasses import dataclass

from objects import SentObject
from pydicom.uid import JPEGLosslessSV1

_MOST_BUFFERS = 1000
_MAX_PDU = 131_072
_SUCCESS = re.compile(r"Received (?:C-STORE|Store) Response \(Success\)")


@dataclass(frozen=True)
class Sending:
    """What one measured sending gave."""

    megabytes: float
    seconds: float
    objects: int

    @property
    def megabytes_per_s(self) -> float:
        return self.megabytes / self.seconds


def send_by(program: str, port: int, objects: list[SentObject]) -> Sending:
    """Let `dcmsend` or `storescu` send the objects, as DCMTK ships them: with Nagle's algorithm on.

    The clock runs from the start of the program to its end, so that it reads the files, too. Raises RuntimeError unless
    each object was answered with Success.
    """
    is_jpeg = objects[0].transfer_syntax_uid == JPEGLosslessSV1
    options = ["--propose-lossless"] if program == "storescu" and is_jpeg else []
    environment = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    command = [program, "-v", "-aec", "BENCH", *options, "127.0.0.1", str(port), *(str(each.file) for each in objects)]
    began = time.perf_counter()
    said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    seconds = time.perf_counter() - began
    if len(_SUCCESS.findall(said)) != len(objects):
        raise RuntimeError(f"{program} did not send all: {said[-200:]}")
    return _sending(objects, seconds)


def send_all(port: int, objects: list[SentObject], associations: int) -> Sending:
    """Send the objects by so many associations, each waiting for its answers.

    The clock runs from when all associations stand to the last answer. Raises RuntimeError unless all are Success.
    """
    lanes = [objects[number::associations] for number in range(associations)]
    start = threading.Barrier(associations + 1)
    errors: list[str] = []
    threads = [threading.Thread(target=_send_lane, args=(port, lane, start, errors), daemon=True) for lane in lanes]
    for thread in threads:
        thread.start()
    start.wait(60)
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if errors:
        raise RuntimeError(errors[0])
    return _sending(objects, seconds)


def _sending(objects: list[SentObject], seconds: float) -> Sending:
    return Sending(sum(len(each.data_set) for each in objects) / 1e6, seconds, len(objects))


def _send_lane(port: int, lane: list[SentObject], start: threading.Barrier, errors: list[str]) -> None:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            max_pdu = min(_associate(connection, lane[0]) or _MAX_PDU, _MAX_PDU)
            frames = [_frames(each, max_pdu) for each in lane]
            start.wait(60)
            for each in frames:
                _store(connection, each)
            connection.sendall(b"\x05\0\0\0\0\x04\0\0\0\0")
            connection.recv(10)
    except (OSError, RuntimeError, struct.error) as error:
        errors.append(f"{type(error).__name__}: {error}")
        start.abort()


def store(connection: socket.socket, each: SentObject) -> None:
    """Send one object by an association that stands. Raises RuntimeError unless it is answered with Success."""
    _store(connection, _frames(each, _MAX_PDU))


def _store(connection: socket.socket, frames: list[bytes | memoryview]) -> None:
    _send_buffers(connection, frames)
    status = _status(connection)
    if status:
        raise RuntimeError(f"status {status:04X}")


def _associate(connection: socket.socket, first: SentObject) -> int:
    """The receiver's maximum PDU length."""
    context = bytes([1, 0, 0, 0]) + item(0x30, first.sop_class_uid) + item(0x40, first.transfer_syntax_uid)
    user = item(0x51, struct.pack(">I", 16_384)) + item(0x52, "2.25.1")
    titles = struct.pack(">HH16s16s32x", 1, 0, b"BENCH".ljust(16), b"SENDER".ljust(16))
    content = titles + item(0x10, "1.2.840.10008.3.1.1.1") + item(0x20, context) + item(0x50, user)
    connection.sendall(struct.pack(">BBI", 1, 0, len(content)) + content)
    kind, answer = read_pdu(connection)
    if kind != 2:
        raise RuntimeError(f"the association was answered with PDU type {kind}")
    at = answer.index(struct.pack(">BBH", 0x51, 0, 4)) + 4
    return int.from_bytes(answer[at : at + 4], "big")


def _frames(each: SentObject, max_pdu: int) -> list[bytes | memoryview]:
    command = _command(each)
    buffers: list[bytes | memoryview] = [
        struct.pack(">BBIIBB", 4, 0, len(command) + 6, len(command) + 2, 1, 3),
        command,
    ]
    view, step = memoryview(each.data_set), max_pdu - 6
    for at in range(0, len(view), step):
        part = view[at : at + step]
        last = 2 * (at + step >= len(view))
        buffers += [struct.pack(">BBIIBB", 4, 0, len(part) + 6, len(part) + 2, 1, last), part]
    return buffers


def _command(each: SentObject) -> bytes:
    elements = {
        0x0002: _uid(each.sop_class_uid), 0x0100: b"\1\0", 0x0110: b"\1\0", 0x0700: b"\0\0", 0x0800: b"\0\0",
        0x1000: _uid(each.sop_instance_uid),
    }  # fmt: skip
    group = b"".join(struct.pack("<HHI", 0, number, len(content)) + content for number, content in elements.items())
    return struct.pack("<HHII", 0, 0, 4, len(group)) + group


def _send_buffers(connection: socket.socket, buffers: list[bytes | memoryview]) -> None:
    rest = list(buffers)
    while rest:
        sent = connection.sendmsg(rest[:_MOST_BUFFERS])
        while rest and sent >= len(rest[0]):
            sent -= len(rest.pop(0))
        if sent:
            rest[0] = memoryview(rest[0])[sent:]


def _status(connection: socket.socket) -> int:
    kind, content = read_pdu(connection)
    if kind != 4:
        raise RuntimeError(f"PDU type {kind} instead of a response")
    at = content.index(struct.pack("<HHI", 0, 0x0900, 2)) + 8
    return int.from_bytes(content[at : at + 2], "little")


def read_pdu(connection: socket.socket) -> tuple[int, bytes]:
    kind, _, length = struct.unpack(">BBI", _read(connection, 6))
    return kind, _read(connection, length)


def _read(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        piece = connection.recv(count - len(found))
        if not piece:
            raise RuntimeError("the receiver hung up")
        found += piece
    return found


def _uid(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)


def item(kind: int, content: bytes | str) -> bytes:
    value = content.encode() if isinstance(content, str) else content
    return struct.pack(">BBH", kind, 0, len(value)) + value
