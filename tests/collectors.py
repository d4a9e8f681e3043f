"""Collectors: rsyslog for audit messages, which nobody here wrote, and one that decodes traces."""

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from authority import Authority
from foreign import require_peer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from waiting import LONG_S, free_port, wait_until

from dicom_node.peers import AuditSyslog

_CODECS = ' StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="x509/certvalid"'


class Rsyslog:
    """By TLS with certificates on both ends. What it was sent lies in `file`, a line a message.

    A line is facility.severity, MSGID, APP-NAME, time and the message. It is written before the next is read: what its
    TLS has answered for is in the file, also if it is killed.
    """

    def __init__(self, folder: Path) -> None:
        self._program = require_peer("rsyslogd")
        authority = Authority(folder / "authority")
        own, node = authority.issue("collector"), authority.issue("node")
        self._folder, self.file = folder, folder / "collected.log"
        self.settings = AuditSyslog(host="127.0.0.1", port=free_port(), tls=node)
        files = f'CAFile="{own.ca}" defaultNetstreamDriverCertFile="{own.certificate}"'
        (folder / "rsyslog.conf").write_text(
            f'global(workDirectory="{folder}" maxMessageSize="32k" defaultNetstreamDriver="ossl"\n'
            f'  defaultNetstreamDriver{files} defaultNetstreamDriverKeyFile="{own.key}")\n'
            'main_queue(queue.type="Direct")\n'
            f'module(load="imtcp"{_CODECS})\n'
            'template(name="line" type="string" string='
            '"%syslogfacility-text%.%syslogseverity-text% %msgid% %app-name% %timestamp:::date-rfc3339% %msg%\\n")\n'
            f'input(type="imtcp" port="{self.settings.port}" address="127.0.0.1")\n'
            f'action(type="omfile" file="{self.file}" template="line")\n'
        )

    def start(self) -> None:
        files = ["-f", str(self._folder / "rsyslog.conf"), "-i", str(self._folder / "rsyslog.pid")]
        with (self._folder / "rsyslog.out").open("ab") as out:
            self._process = subprocess.Popen([self._program, "-n", *files], stdout=out, stderr=out)
        wait_until(self._listens, "the collector listens")

    def kill(self) -> None:
        """kill -9."""
        (self._folder / "rsyslog.pid").unlink(missing_ok=True)
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def lines(self) -> list[str]:
        with suppress(FileNotFoundError):
            return self.file.read_text(encoding="utf-8").splitlines()
        return []

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.settings.port)) == 0


class Traces:
    """Takes OTLP over HTTP, and says no for as long as it is told to."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resources: list[dict[str, str]] = []
        self.status = 200

    def take(self, body: bytes) -> int:
        request = ExportTraceServiceRequest.FromString(body)
        if self.status == 200:
            for each in request.resource_spans:
                self.resources.append({a.key: a.value.string_value for a in each.resource.attributes})
                self.spans += [span for scope in each.scope_spans for span in scope.spans]
        return self.status


@contextmanager
def taking_traces() -> Iterator[tuple[Traces, str]]:
    made = Traces()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            self.send_response(made.take(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield made, f"http://127.0.0.1:{server.server_port}/v1/traces"
        server.shutdown()
        thread.join(LONG_S)


def said(span: Span) -> dict[str, Any]:
    """Its attributes."""
    return {a.key: a.value.int_value or a.value.string_value for a in span.attributes}
