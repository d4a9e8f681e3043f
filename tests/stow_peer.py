"""A STOW-RS server in a thread, and senders to it: one that asks as it should, one that takes its time."""

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPSConnection
from io import BytesIO
from typing import Any

from films import gradient, make_dx
from pydicom import config, dcmwrite
from pydicom.filereader import _read_file_meta_info, read_preamble
from waiting import LONG_S

from dicom_node.config import Settings
from dicom_node.receive.intake import Receiver
from dicom_node.web.app import make_app
from dicom_node.web.server import listen, serve

TYPE = 'multipart/related; type="application/dicom"; boundary="cut here"'
STUDIES = "/dicom-web/studies"
STUDY = str(make_dx().StudyInstanceUID)
STORED, FAILED, OTHER = "00081199", "00081198", "0008119A"  # PS3.18 table I.2-1
_SOP_INSTANCE_UID, _FAILURE_REASON = "00081155", "00081197"


def film(uid: str | None = None, **elements: Any) -> bytes:
    """A Part 10 file whose meta information says what its data set says."""
    ds = make_dx(**({"SOPInstanceUID": uid} if uid else {}), **elements)
    del ds.file_meta.MediaStorageSOPInstanceUID  # or it goes on validating
    file = BytesIO()
    with config.disable_value_validation():
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        dcmwrite(file, ds)
    return file.getvalue()


LARGE = film("1.2.99", pixels=gradient(500, 400))  # 400 kB


def data_set_of(part10: bytes) -> bytes:
    """What follows the file meta information (PS3.10 7.1)."""
    file = BytesIO(part10)
    read_preamble(file, force=False)
    _read_file_meta_info(file)
    return file.read()


def body_of(*parts: bytes) -> bytes:
    framed = (b"--cut here\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts)
    return b"".join(framed) + b"--cut here--\r\n"


@contextmanager
def serving(settings: Settings, receiver: Receiver) -> Iterator[int]:
    """The port of a server that runs in the block."""
    stop = threading.Event()
    with listen(settings) as listening:
        ends = {"listening": listening, "stop": stop}
        server = threading.Thread(target=serve, args=(make_app(settings, receiver), settings), kwargs=ends)
        server.start()
        try:
            yield listening.getsockname()[1]
        finally:
            stop.set()
            server.join(LONG_S)
    assert not server.is_alive()


class Answer:
    """What a request is answered. A header's name has underscores where it has hyphens."""

    def __init__(
        self,
        port: int,
        body: bytes = b"",
        *,
        path: str = STUDIES,
        method: str = "POST",
        tls: ssl.SSLContext | None = None,
        **headers: str,
    ) -> None:
        named = {"Content-Type": TYPE, **{name.replace("_", "-"): value for name, value in headers.items()}}
        with closing(_connection(port, tls)) as connection:
            connection.request(method, path, body, named)
            got = connection.getresponse()
            self.status, self.headers, self.content = got.status, got.headers, got.read()

    def __getitem__(self, sequence: str) -> list[Any]:
        """Of each item: the instance, or the reason, or both."""
        items = json.loads(self.content).get(sequence, {"Value": []})["Value"]
        tags = (_SOP_INSTANCE_UID, _FAILURE_REASON)
        values = [[item[tag]["Value"][0] for tag in tags if tag in item] for item in items]
        return [each[0] if len(each) == 1 else tuple(each) for each in values]


def health(port: int, tls: ssl.SSLContext | None = None) -> Answer:
    return Answer(port, path="/healthz", method="GET", tls=tls)


def _connection(port: int, tls: ssl.SSLContext | None) -> HTTPConnection:
    if tls is None:
        return HTTPConnection("127.0.0.1", port, timeout=LONG_S)
    return HTTPSConnection("127.0.0.1", port, timeout=LONG_S, context=tls)


class SlowSender:
    """A request whose body is sent piece by piece."""

    def __init__(self, port: int, body: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=LONG_S)
        head = f"POST {STUDIES} HTTP/1.1\r\nHost: node\r\nContent-Type: {TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.socket.sendall(head.encode())
        self._rest = body

    def send(self, count: int | None = None) -> None:
        self.socket.sendall(self._rest[:count])
        self._rest = self._rest[count:] if count else b""

    def status(self) -> int:
        return int(self.socket.recv(4096).split(b" ")[1])
