"""Fetching the published files from the Hugging Face hub: pinned revisions, compared with the hub's own digests."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.hf_api import RepoFile

from dicom_node.errors import BadCheckpoint, PeerUnreachable, StorageFull
from workers.llavarad.edition import LLAVA_RAD, SUMS_FILE, Edition, Repository, digest
from workers.llavarad.folder import reading

_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EIO}


def download_published(dest: Path, *, edition: Edition = LLAVA_RAD, endpoint: str | None = None) -> None:
    """Fill `dest` with one sub-folder a repository, showing progress; a second call goes on where the first ended.

    Raises PeerUnreachable, StorageFull, StorageAway naming a file that cannot be read, or BadCheckpoint naming one that
    is not what the hub holds.
    """
    hub = HfApi(endpoint=endpoint)
    sums: dict[str, str] = {}
    for repo in (edition.own, edition.base):
        with _faults(repo, dest):
            expected = _fetch(hub, repo, dest / repo.folder)
        with reading(dest):
            sums |= _compare(repo, dest, expected)
    lines = "".join(f"{found}  {path}\n" for path, found in sums.items())
    with _faults(edition.base, dest):
        (dest / SUMS_FILE).write_text(lines, encoding="utf-8")


def _fetch(hub: HfApi, repo: Repository, folder: Path) -> list[RepoFile]:
    names = [file.name for file in repo.files]
    hub.snapshot_download(repo.hub_id, revision=repo.revision, local_dir=folder, allow_patterns=names)
    found = hub.get_paths_info(repo.hub_id, names, revision=repo.revision)
    return [file for file in found if isinstance(file, RepoFile)]


def _compare(repo: Repository, dest: Path, expected: list[RepoFile]) -> dict[str, str]:
    on_hub = {file.path: file for file in expected}
    sums = {}
    for name in (file.name for file in repo.files):
        path = dest / repo.folder / name
        if name not in on_hub or not path.is_file():
            raise BadCheckpoint(f"{repo.hub_id} has no {name} at {repo.revision[:12]}")
        found, lfs = digest(path), on_hub[name].lfs
        if path.stat().st_size != on_hub[name].size or (lfs is not None and lfs.sha256 != found):
            raise BadCheckpoint(f"{repo.folder}/{name} is not what the hub holds: delete it and download again")
        sums[f"{repo.folder}/{name}"] = found
    return sums


@contextmanager
def _faults(repo: Repository, dest: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the hub's client raises classes of whichever HTTP library it was built with
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"no room for {repo.hub_id}: the same command goes on when there is") from error
        if isinstance(error, OSError) and error.errno in _UNWRITABLE:
            raise StorageFull(f"{dest} cannot be written: {error.strerror}") from error
        raise PeerUnreachable(
            f"{repo.hub_id} cannot be fetched ({type(error).__name__}): the same command goes on where this one ended"
        ) from error
