"""A small PACS for demonstration, self-test and tests: answers C-ECHO, keeps what comes by C-STORE.

It is no archive: nothing is indexed, checked or protected. Run it by `python -m integration.simulators.pacs --dir D`.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

from pynetdicom import AE, AllStoragePresentationContexts, build_context, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext

from dicom_node.peers import Tls
from dicom_node.tls import server_context
from dicom_node.uids import is_uid
from integration.simulators.inbox import Inbox
from integration.simulators.standalone import arguments, run_until_terminated

# PS3.4 B.2.3 and PS3.7 annex C
_SUCCESS = 0x0000
_CANNOT_UNDERSTAND = 0xC000
_WARNINGS = frozenset({0x0001, 0x0107, 0x0116, *range(0xB000, 0xC000)})
_VERIFICATION = "1.2.840.10008.1.1"  # PS3.4 A.4
_FAREWELL_S = 0.5  # for each association that is still open at the end
_CONTEXTS = (build_context(_VERIFICATION), *AllStoragePresentationContexts)


@dataclass(frozen=True)
class PacsFault:
    """What the PACS does wrong. Without arguments: nothing."""

    status: int = _SUCCESS  # answers C-STORE with it; keeps the object only for success and warnings
    hang_s: float = 0.0  # keeps the object, and the answer back
    abort: bool = False  # keeps the object, then aborts instead of answering
    rejection: tuple[int, int, int] | None = None  # A-ASSOCIATE-RJ: result, source, reason (PS3.8 9.3.4)


NO_FAULT = PacsFault()


class LoopbackPacs:
    """A PACS that is up while its `with` block runs. `fault` may be changed at any time."""

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ae_title: str = "PACS",
        tls: Tls | None = None,
        contexts: Sequence[PresentationContext] | None = None,
    ) -> None:
        """contexts: what it accepts; by default Verification and all storage SOP classes, uncompressed."""
        self.host = host
        self.port = port  # the real one as soon as it is up
        self.ae_title = ae_title
        self.fault = NO_FAULT
        self.inbox = Inbox(folder, ".dcm")
        self._tls = tls
        self._is_over = threading.Event()
        self._ae = AE(ae_title)
        self._ae.supported_contexts = list(contexts or _CONTEXTS)

    def __enter__(self) -> Self:
        server = self._ae.start_server(
            (self.host, self.port),
            block=False,
            ssl_context=server_context(self._tls) if self._tls else None,
            evt_handlers=[(evt.EVT_REQUESTED, self._on_association), (evt.EVT_C_STORE, self._on_store)],
        )
        if server is None:
            raise RuntimeError("pynetdicom started no server thread")
        self.port = server.server_address[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        # pynetdicom aborts what it finds open, and stumbles when that is closing already.
        for assoc in self._ae.active_associations:
            assoc.join(_FAREWELL_S)
        self._ae.shutdown()

    def _on_association(self, event: evt.Event) -> None:
        if self.fault.rejection:
            result, source, reason = self.fault.rejection
            event.assoc.acse.send_reject(result, source, reason)
            event.assoc.is_rejected = True
            event.assoc.kill()  # returns when the rejection is on its way

    def _on_store(self, event: evt.Event) -> int:
        fault = self.fault
        uid = str(cast(C_STORE, event.request).AffectedSOPInstanceUID)
        if not is_uid(uid):
            return _CANNOT_UNDERSTAND
        self.inbox.note(uid, event.encoded_dataset(include_meta=False))
        if fault.status == _SUCCESS or fault.status in _WARNINGS:
            self.inbox.keep(uid, event.encoded_dataset())
        if fault.abort:
            event.assoc.abort()
        self._is_over.wait(fault.hang_s)
        return fault.status


def main() -> None:
    parser = arguments("A small PACS: C-ECHO and C-STORE into a folder.", default_port=11113)
    parser.add_argument("--ae-title", default="PACS", help="its AE title")
    options = parser.parse_args()
    run_until_terminated(LoopbackPacs(options.dir, host=options.host, port=options.port, ae_title=options.ae_title))


if __name__ == "__main__":
    main()
