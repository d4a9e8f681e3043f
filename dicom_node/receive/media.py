"""Files that may be DICOM: those in a folder, in a ZIP, or that a DICOMDIR lists (PS3.10 8)."""

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, NoReturn, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo, is_zipfile

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from dicom_node.errors import InvalidHeader, Permanent
from dicom_node.pydicom_faults import PARSE_ERRORS, silence_pydicom
from dicom_node.receive.recognition import HEAD_BYTES, is_dicomdir

LONGEST_MEMBER_BYTES = 4 * 1024**3  # no element is longer (PS3.5 7.1.1), and no radiograph comes near
MOST_RATIO = 200  # expanded to compressed; real images reach 20
SMALL_BYTES = 16 * 1024**2  # a member that expands to less may be as empty as it likes
_ENCRYPTED = 0x1  # ZIP application note 4.4.4, bit 0
_MOST_DICOMDIR_BYTES = 64 * 1024**2
# What zipfile raises on an archive that is damaged or was made to be.
_ZIP_ERRORS = (BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, ValueError)
_DIRECTORY_RECORD_SEQUENCE, _REFERENCED_FILE_ID = 0x00041220, 0x00041500


class Unreadable(Permanent):
    """A file that cannot be read, or is not read for a reason."""


@dataclass(frozen=True)
class MediaFile:
    """A file that may be DICOM."""

    name: str  # relative to where it was found; for the operator's eyes, never for logs
    open: Callable[[], BinaryIO]

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Its content, from the beginning each time. Raises Unreadable, within the block too."""
        try:
            with self.open() as content:
                yield content
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror or type(error).__name__}") from error
        except _ZIP_ERRORS as error:
            raise Unreadable(f"cannot be read: damaged in the ZIP ({type(error).__name__})") from error


@contextmanager
def opened_media(path: Path) -> Iterator[list[MediaFile]]:
    """The files of a folder, a ZIP or a DICOMDIR, or the one file. Raises Permanent if it is none of these."""
    with ExitStack() as stack:
        try:
            files = list(_files(path, stack))
        except (OSError, *_ZIP_ERRORS) as error:
            words = f"{path} cannot be read ({type(error).__name__}), expected a folder, ZIP or DICOMDIR"
            raise Permanent(words) from error
        yield files


def _files(path: Path, stack: ExitStack) -> Iterator[MediaFile]:
    if path.is_dir():
        return _in_folder(path)
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if is_dicomdir(head):
        return _listed_by(path)
    if is_zipfile(path):
        archive = stack.enter_context(ZipFile(path))
        if sum(info.compress_size for info in archive.infolist()) > path.stat().st_size:
            raise Permanent(f"{path}: its members overlap, expected a ZIP that is no bomb")
        # Not `is_dir`, which fails on a name that is empty.
        members = [info for info in archive.infolist() if not info.filename.endswith("/")]
        return (_member(archive, info) for info in members)
    return iter([MediaFile(path.name, partial(_open, path))])


def _in_folder(root: Path) -> Iterator[MediaFile]:
    """Regular files, links to such too; links to folders are not followed: they may lead in a circle."""
    unreadable: list[OSError] = []
    for folder, folders, names in os.walk(root, onerror=unreadable.append):
        folders.sort()
        for path in (Path(folder) / name for name in sorted(names)):
            if os.path.isfile(path) or not os.path.exists(
                path
            ):  # a link that leads nowhere is told of, a pipe would never end
                yield MediaFile(str(path.relative_to(root)), partial(_open, path))
    for error in unreadable:
        yield MediaFile(f"{os.path.relpath(error.filename, root)}/", partial(_fail, error))


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _fail(error: Exception) -> NoReturn:
    raise error


def _member(archive: ZipFile, info: ZipInfo) -> MediaFile:
    return MediaFile(info.filename or "(a member without a name)", partial(_open_member, archive, info))


def _open_member(archive: ZipFile, info: ZipInfo) -> BinaryIO:
    """Raises Unreadable for what may be a bomb. zipfile itself reads no more than the size that was looked at here."""
    if info.flag_bits & _ENCRYPTED:
        raise Unreadable("encrypted in the ZIP")
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):  # others expand without any bound
        raise Unreadable(f"compressed in the ZIP by method {info.compress_type}, expected deflate")
    if info.file_size > LONGEST_MEMBER_BYTES:
        raise Unreadable(f"expands to {info.file_size} bytes, expected at most {LONGEST_MEMBER_BYTES}")
    if info.file_size > max(SMALL_BYTES, info.compress_size * MOST_RATIO):
        raise Unreadable(f"expands to more than {MOST_RATIO} times its size in the ZIP")
    return cast(BinaryIO, archive.open(info))


def _listed_by(dicomdir: Path) -> Iterator[MediaFile]:
    """Whatever a record names, wherever the record is linked from: links are what is broken most often."""
    if dicomdir.stat().st_size > _MOST_DICOMDIR_BYTES:
        raise Permanent(f"{dicomdir} is longer than {_MOST_DICOMDIR_BYTES} bytes, expected a DICOMDIR")
    seen = set()
    for record in _records(dicomdir):
        name = _file_id(record)
        if name and name not in seen:
            seen.add(name)
            yield MediaFile("/".join(name), partial(_open_below, dicomdir.parent, name))


def _records(dicomdir: Path) -> list[Dataset]:
    """Raises InvalidHeader where the file is damaged: part of it would be files that nobody misses."""
    silence_pydicom()
    try:
        ds = dcmread(dicomdir, specific_tags=[_DIRECTORY_RECORD_SEQUENCE])
        element = ds.get_item(_DIRECTORY_RECORD_SEQUENCE)
        if isinstance(element, RawDataElement) and len(element.value or b"") < element.length:
            raise InvalidHeader(f"{dicomdir} is cut short, expected a DICOMDIR")
        return list(ds[_DIRECTORY_RECORD_SEQUENCE].value or ()) if element is not None else []
    except PARSE_ERRORS as error:
        raise InvalidHeader(f"{dicomdir} cannot be parsed ({type(error).__name__}), expected a DICOMDIR") from error


def _file_id(record: Dataset) -> tuple[str, ...]:
    """(0004,1500) Referenced File ID, one component for each level (PS3.10 8.2); empty where a record has none."""
    value = record.get_item(_REFERENCED_FILE_ID).value if _REFERENCED_FILE_ID in record else b""
    text = value.decode("latin-1") if isinstance(value, bytes) else ""
    return tuple(component for each in text.split("\\") if (component := each.strip("\0 ")))


def _open_below(root: Path, components: tuple[str, ...]) -> BinaryIO:
    """Raises Unreadable for whatever is not a file below the root."""
    path = root
    for component in components:
        path /= _entry(path, component)
    if not path.resolve().is_relative_to(root.resolve()):
        raise Unreadable("lies outside the DICOMDIR's folder")
    if not path.is_file():
        raise Unreadable("listed in the DICOMDIR, and not there")
    return path.open("rb")


def _entry(folder: Path, name: str) -> str:
    """The name as it is in the folder: a mounted medium shows File IDs, which are upper case, in lower case too."""
    if name in (".", "..") or "/" in name or "\0" in name:
        raise Unreadable("lies outside the DICOMDIR's folder")
    if (folder / name).exists() or not folder.is_dir():
        return name
    return next((each for each in sorted(os.listdir(folder)) if each.upper() == name.upper()), name)
