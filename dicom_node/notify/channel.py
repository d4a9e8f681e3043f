"""One way to reach somebody, by Apprise. Whatever becomes of it, it holds up nobody, and its address stays secret."""

import logging
import threading

from dicom_node import logs
from dicom_node.peers import Channel

_LONGEST_S = 30.0
# They log addresses, and with them tokens.
_TALKATIVE = ("apprise", "requests", "urllib3")

_log = logs.get("notify")


class Sender:
    """Of one channel. One message at a time: while one hangs, there are no others."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._sending: threading.Thread | None = None

    def send(self, title: str, body: str) -> bool:
        """Whether the service took it, within half a minute."""
        if self._sending is not None and self._sending.is_alive():
            return False
        took: list[bool] = []
        self._sending = threading.Thread(
            target=lambda: took.append(self._send(title, body)), name="notify", daemon=True
        )
        self._sending.start()
        self._sending.join(_LONGEST_S)
        if not took:
            _log.warning("notification_hangs", destination=self.channel.name)
        return bool(took and took[0])

    def _send(self, title: str, body: str) -> bool:
        try:
            return _notify(self.channel.url.get_secret_value(), title, body)
        except Exception as error:  # noqa: BLE001  a plugin's: what it raises must not end the role
            _log.warning("notification_failed", destination=self.channel.name, trace=logs.places(error))
            return False


def _notify(url: str, title: str, body: str) -> bool:
    from apprise import Apprise, AppriseAsset  # a third of a second, and few have channels

    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    apprise = Apprise(asset=AppriseAsset(async_mode=False, secure_logging=True))
    return bool(apprise.add(url) and apprise.notify(title=title, body=body))


def is_understood(url: str) -> bool:
    """Whether Apprise knows what to do with the address."""
    from apprise import Apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    return bool(Apprise().add(url))
