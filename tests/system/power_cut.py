"""What a power cut would have left of a folder, by the journal of power_cut_shim.c.

The worst that POSIX allows: of a file what was written before its last fsync began, of a folder the names as of its
own last fsync, and nothing of what came later; or, harder to guard against, any part of it, in any order. The fsync of
a file says nothing of its name. What a process maps into memory is not seen: of SQLite the -shm file.
"""

import os
import random
import struct
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple

from house import require

_SHIM = Path(__file__).with_name("power_cut_shim.c")
_HEAD = struct.Struct("<IIQQ")
_BLOCK_BYTES = 4096  # what a disk writes as a whole
_LEFT_OUT = "-shm"

Names = dict[str, "Node"]


class Record(NamedTuple):
    """One operation; its payload is what was written, or two paths."""

    operation: str
    inode: int
    offset: int
    payload: bytes
    end: int  # where it ends in the journal


@dataclass(eq=False)
class File:
    """Its durable content, and what was written since, in order."""

    content: bytearray = field(default_factory=bytearray)
    changes: list[tuple[int, bytes | None]] = field(default_factory=list)  # offset and bytes, or a length and None
    kept: int = 0  # changes that are durable

    def keep(self, until: int) -> None:
        """Make the first so many changes durable, counted from the beginning."""
        while self.kept < until:
            _apply(self.content, *self.changes.pop(0))
            self.kept += 1

    def remains(self, chance: random.Random | None) -> bytes:
        """What a cut leaves: of what is not durable nothing, or by chance some blocks."""
        left = bytearray(self.content)
        for change in self.changes if chance else ():
            for block in _blocks(*change):
                if chance and chance.random() < 0.5:
                    _apply(left, *block)
        return bytes(left)


@dataclass(eq=False)
class Folder:
    """Its durable names, those that a process sees, and the changes between: each is done as a whole or not at all."""

    names: Names = field(default_factory=dict)
    seen: Names = field(default_factory=dict)
    changes: list[dict[str, "Node | None"]] = field(default_factory=list)
    kept: int = 0

    def change(self, names: dict[str, "Node | None"]) -> None:
        self.changes.append(names)
        _rename(self.seen, names)

    def keep(self, until: int) -> None:
        while self.kept < until:
            _rename(self.names, self.changes.pop(0))
            self.kept += 1

    def remains(self, chance: random.Random | None) -> Names:
        left = dict(self.names)
        for change in self.changes if chance else ():
            if chance and chance.random() < 0.5:
                _rename(left, change)
        return left


Node = File | Folder


class Disk:
    """A folder as of before its processes start, all of it durable; then `follow` what they did.

    is_deaf_to: a kind of node whose fsync is taken for nothing, to see that a test can fail.
    """

    def __init__(self, folder: Path, *, is_deaf_to: type[Node] | tuple[type[Node], ...] = ()) -> None:
        self._folder = folder
        self._is_deaf_to = is_deaf_to
        self._nodes: dict[int, Node] = {}
        self._marks: dict[int, int] = {}  # by sync: until which change it makes durable
        self._root = self._scan(folder)

    def follow(self, records: Iterable[Record]) -> None:
        for each in records:
            self._DO[each.operation](self, each.inode, each.offset, each.payload)

    def cut(self, into: Path, chance: random.Random | None = None) -> None:
        """Write what is left into an empty folder."""
        _lay_out(self._root, into, chance)

    def now(self) -> dict[str, bytes]:
        """All files as their processes see them, by path: what is there, if the journal is complete."""
        return dict(_seen(self._root, ""))

    def _scan(self, path: Path) -> Node:
        if path.is_dir():
            names = {each.name: self._scan(each) for each in path.iterdir()}
            node: Node = Folder(names, dict(names))
        else:
            node = File(bytearray(path.read_bytes()))
        self._nodes[path.stat().st_ino] = node
        return node

    def _create(self, inode: int, _: int, payload: bytes) -> None:
        self._add(inode, payload, File())

    def _mkdir(self, inode: int, _: int, payload: bytes) -> None:
        self._add(inode, payload, Folder())

    def _add(self, inode: int, payload: bytes, node: Node) -> None:
        path = _paths(payload)[0]
        if path:
            folder, name = self._place(path)
            if folder.seen.get(name) is not None and folder.seen[name] is self._nodes.get(inode):
                return  # two were first
            folder.change({name: node})
        self._nodes[inode] = node

    def _write(self, inode: int, offset: int, payload: bytes) -> None:
        self._file(inode).changes.append((offset, payload))

    def _truncate(self, inode: int, offset: int, _: bytes) -> None:
        self._file(inode).changes.append((offset, None))

    def _begin_sync(self, inode: int, sync: int, _: bytes) -> None:
        node = self._nodes[inode]
        self._marks[sync] = node.kept + len(node.changes)

    def _end_sync(self, inode: int, sync: int, _: bytes) -> None:
        node, until = self._nodes[inode], self._marks.pop(sync)
        if not isinstance(node, self._is_deaf_to):
            node.keep(until)

    def _sync_all(self, _: int, __: int, ___: bytes) -> None:
        for node in self._nodes.values():
            node.keep(node.kept + len(node.changes))

    def _move(self, _: int, __: int, payload: bytes) -> None:
        old, new = map(self._place, _paths(payload))
        node = old[0].seen[old[1]]
        if old[0] is new[0]:
            old[0].change({old[1]: None, new[1]: node})
        else:
            new[0].change({new[1]: node})
            old[0].change({old[1]: None})

    def _link(self, inode: int, _: int, payload: bytes) -> None:
        folder, name = self._place(_paths(payload)[1])
        folder.change({name: self._nodes[inode]})

    def _unlink(self, _: int, __: int, payload: bytes) -> None:
        folder, name = self._place(_paths(payload)[0])
        folder.change({name: None})

    _DO: ClassVar = {
        "C": _create, "K": _mkdir, "W": _write, "T": _truncate, "B": _begin_sync, "E": _end_sync, "S": _sync_all,
        "R": _move, "L": _link, "U": _unlink,
    }  # fmt: skip

    def _file(self, inode: int) -> File:
        node = self._nodes[inode]
        assert isinstance(node, File)
        return node

    def _place(self, path: str) -> tuple[Folder, str]:
        """The folder that a process sees at the path, and the name in it."""
        *folders, name = Path(path).relative_to(self._folder).parts
        node = self._root
        for each in folders:
            assert isinstance(node, Folder)
            node = node.seen[each]
        assert isinstance(node, Folder)
        return node, name


def build_shim(folder: Path) -> Path:
    require("cc")
    built = folder / "power_cut_shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(built), str(_SHIM), "-ldl"], check=True)
    return built


def watched(shim: Path, folder: Path, journal: Path) -> dict[str, str]:
    """The environment of a process whose writes to the folder are journalled."""
    return {
        **os.environ,
        "LD_PRELOAD": str(shim),
        "POWER_CUT_FOLDER": str(folder),
        "POWER_CUT_JOURNAL": str(journal),
    }


def read_journal(journal: bytes) -> Iterator[Record]:
    """A kill may leave half a record at the end."""
    at = 0
    while at + _HEAD.size <= len(journal):
        operation, length, inode, offset = _HEAD.unpack_from(journal, at)
        at += _HEAD.size + length
        if at > len(journal):
            return
        yield Record(chr(operation), inode, offset, journal[at - length : at], at)


def _paths(payload: bytes) -> list[str]:
    return os.fsdecode(payload).split("\0")[:2]


def _apply(content: bytearray, offset: int, written: bytes | None) -> None:
    end = offset + len(written or b"")
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if written is None:
        del content[offset:]
    else:
        content[offset:end] = written


def _blocks(offset: int, written: bytes | None) -> Iterator[tuple[int, bytes | None]]:
    if written is None:
        yield offset, None
        return
    end = offset + len(written)
    while offset < end:
        until = min(end, (offset // _BLOCK_BYTES + 1) * _BLOCK_BYTES)
        yield offset, written[len(written) - (end - offset) : len(written) - (end - until)]
        offset = until


def _rename(names: Names, change: dict[str, Node | None]) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _lay_out(node: Node, path: Path, chance: random.Random | None) -> None:
    if isinstance(node, File):
        path.write_bytes(node.remains(chance))
        return
    path.mkdir(exist_ok=True)
    for name, each in node.remains(chance).items():
        if not name.endswith(_LEFT_OUT):
            _lay_out(each, path / name, chance)


def _seen(node: Node, path: str) -> Iterator[tuple[str, bytes]]:
    if isinstance(node, File):
        content = bytearray(node.content)
        for change in node.changes:
            _apply(content, *change)
        yield path, bytes(content)
        return
    for name, each in node.seen.items():
        if not name.endswith(_LEFT_OUT):
            yield from _seen(each, f"{path}/{name}".lstrip("/"))
