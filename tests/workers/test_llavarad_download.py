"""Downloading from a hub on this machine that speaks the hub's protocol."""

import hashlib
import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs

import pytest
from published_layout import BASE, OWN, TINY, write_published

from dicom_node.errors import BadCheckpoint, PeerUnreachable, StorageFull
from workers.llavarad.checkpoint import verify
from workers.llavarad.download import download_published
from workers.llavarad.edition import SUMS_FILE
from workers.llavarad.published import import_published


class LoopbackHub(ThreadingHTTPServer):
    """The repositories of a folder, at the pinned revisions, as the hub serves them."""

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.served: list[str] = []
        self.is_closed = False

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LoopbackHub

    def do_HEAD(self) -> None:
        self._serve_file()

    def do_GET(self) -> None:
        if self.server.is_closed:
            self._send(b"", status=401)
        elif self.path.startswith("/api/"):
            repo = next(each for each in (TINY.own, TINY.base) if each.hub_id in self.path)
            if "/tree/" in self.path:
                self._send(json.dumps([_describe(path) for path in self._files(repo.folder)]).encode())
            else:
                self._send(json.dumps({"id": repo.hub_id, "sha": repo.revision, "siblings": []}).encode())
        else:
            self._serve_file()

    def do_POST(self) -> None:
        names = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())["paths"]
        folder = OWN if TINY.own.hub_id in self.path else BASE
        self._send(json.dumps([_describe(path) for path in self._files(folder) if path.name in names]).encode())

    def _files(self, folder: str) -> list[Path]:
        return sorted((self.server.root / folder).iterdir())

    def _serve_file(self) -> None:
        # /{owner}/{repository}/resolve/{revision}/{name}
        _, _, repo, _, revision, name = self.path.split("/")
        path = self.server.root / repo / name
        self.server.served.append(name)
        tag = hashlib.sha256(path.read_bytes()).hexdigest()
        self._send(path.read_bytes(), {"ETag": f'"{tag}"', "X-Repo-Commit": revision})

    def _send(self, content: bytes, headers: dict[str, str] | None = None, *, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""


def _describe(path: Path) -> dict[str, object]:
    content = path.read_bytes()
    told: dict[str, object] = {"type": "file", "path": path.name, "size": len(content), "oid": "0" * 40}
    if path.suffix in (".bin", ".pt", ".model"):
        told["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return told


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoopbackHub]:
    write_published(tmp_path / "hub")
    (tmp_path / "hub" / OWN / "mm_projector.bin").write_text("not needed")
    with LoopbackHub(tmp_path / "hub") as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_download_fetches_what_the_import_needs_and_no_more(hub: LoopbackHub, tmp_path: Path) -> None:
    download_published(tmp_path / "got", edition=TINY, endpoint=hub.endpoint)

    for repo in (TINY.own, TINY.base):
        found = {path.name for path in (tmp_path / "got" / repo.folder).iterdir() if path.name != ".cache"}
        assert found == {file.name for file in repo.files}
    assert "mm_projector.bin" not in hub.served
    import_published(tmp_path / "got", tmp_path / "model", edition=TINY)
    assert "model.safetensors" in verify(tmp_path / "model")


def test_download_leaves_the_sums_that_the_import_checks(hub: LoopbackHub, tmp_path: Path) -> None:
    download_published(tmp_path / "got", edition=TINY, endpoint=hub.endpoint)
    assert len((tmp_path / "got" / SUMS_FILE).read_text().splitlines()) == 10

    (tmp_path / "got" / OWN / "LICENSE").write_text("You may do anything.")

    with pytest.raises(BadCheckpoint, match=f"{OWN}/LICENSE is sha256"):
        import_published(tmp_path / "got", tmp_path / "model", edition=TINY)


def test_file_that_differs_from_the_hub_is_named(hub: LoopbackHub, tmp_path: Path) -> None:
    download_published(tmp_path / "got", edition=TINY, endpoint=hub.endpoint)
    path = tmp_path / "got" / BASE / "tokenizer.model"
    times = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # else the hub's client would notice

    with pytest.raises(BadCheckpoint, match=rf"{BASE}/tokenizer\.model is not what the hub holds"):
        download_published(tmp_path / "got", edition=TINY, endpoint=hub.endpoint)


def test_file_that_the_hub_lacks_is_named(hub: LoopbackHub, tmp_path: Path) -> None:
    (hub.root / OWN / "LICENSE").unlink()
    with pytest.raises(BadCheckpoint, match="microsoft/llava-rad has no LICENSE at dcdbc6caf680"):
        download_published(tmp_path / "got", edition=TINY, endpoint=hub.endpoint)


def test_hub_that_refuses_is_one_line(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.is_closed = True
    with pytest.raises(PeerUnreachable, match=r"^microsoft/llava-rad cannot be fetched \(\w+\): the same command"):
        download_published(tmp_path / "got", edition=TINY, endpoint=hub.endpoint)


def test_folder_that_cannot_be_written_is_named_and_no_network(hub: LoopbackHub, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageFull, match=r"file/got cannot be written: Not a directory"):
        download_published(tmp_path / "file" / "got", edition=TINY, endpoint=hub.endpoint)

    (tmp_path / "got" / SUMS_FILE).mkdir(parents=True)
    with pytest.raises(StorageFull, match=r"got cannot be written: Is a directory"):
        download_published(tmp_path / "got", edition=TINY, endpoint=hub.endpoint)
