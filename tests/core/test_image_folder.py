"""A disk of images that is not mounted is no empty one."""

import shutil
import threading

import pytest
from rows import all_of, receive

from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import StorageAway
from dicom_node.image_folder import open_store
from dicom_node.models import Instance
from dicom_node.receive.intake import Receiver
from integration import relay
from workers import run as worker

WORDS = "instances is empty, and rows name images in it: mount its disk, or restore a backup"


def unmount(settings: Settings) -> None:
    """What stays below a disk that is not there."""
    shutil.rmtree(settings.instances_dir)
    settings.instances_dir.mkdir()


def test_nobody_goes_on_below_a_disk_that_is_not_mounted(settings: Settings, sqlite_sessions: Sessions) -> None:
    """Nor makes folders there, by which the next start would take it for the disk."""
    with sqlite_sessions.begin() as session:
        receive(session, open_store(settings, sqlite_sessions))
    engine = sqlite_sessions.kw["bind"]
    unmount(settings)
    for _ in range(2):
        with pytest.raises(StorageAway, match=WORDS):
            Receiver.of(settings, engine, utc_now)
        for role in (relay, worker):
            with pytest.raises(StorageAway, match=WORDS):
                role.run(settings, threading.Event())
    assert list(settings.instances_dir.iterdir()) == []
    (settings.instances_dir / "00").mkdir()  # a person has said that they are lost
    assert not open_store(settings, sqlite_sessions).holds(all_of(sqlite_sessions, Instance)[0].path)


def test_where_all_images_were_removed_an_empty_folder_is_none_that_is_missed(
    settings: Settings, sqlite_sessions: Sessions
) -> None:
    with sqlite_sessions.begin() as session:
        instance = receive(session, open_store(settings, sqlite_sessions))
        instance.removed_at, instance.path = utc_now(), ""
    unmount(settings)
    assert open_store(settings, sqlite_sessions).root == settings.instances_dir
