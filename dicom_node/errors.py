"""The exception tree. Its shape is the retry policy: whoever raises chooses, the three catchers obey.

NodeError
├── Transient            the same work may succeed later: try again
│   ├── StorageFull      disk, database or queue cannot take more
│   ├── StorageAway      what is stored cannot be read now
│   ├── PeerUnreachable  no connection, no answer in time, or an answer that cannot be read
│   ├── PeerBusy         the peer says "later"
│   └── EngineLost       the model's process died, hung or ran out of memory
│       └── EngineAway   it was lost, and cannot be loaded now
├── Permanent            the same work will fail again: a person is needed
│   ├── InvalidHeader    a DICOM header that cannot be used
│   │   └── OutsideStudy  it names no study or no series
│   ├── UndecodablePixels
│   ├── PeerRejected     the peer says "no"
│   ├── OrderConflict    image and order name different patients
│   ├── CaseClosed       the RIS has the final report, or a newer draft: nothing more is sent
│   ├── NothingToTell    a draft has none of what a delivery asks for: it is not sent
│   ├── BadRules         the rules' file is not as it must be
│   ├── InvalidOutput    an SR or ORU that failed its own gate; it never leaves
│   └── BadCheckpoint    model files that are missing, damaged or of another model
└── IllegalMove          a move that is not in the lifecycle table: a bug, never caught
"""


class NodeError(Exception):
    """Root of everything this program raises on purpose. Messages name rows and values, never persons."""


class Transient(NodeError):
    """The same work may succeed later."""


class StorageFull(Transient):
    """Disk, database or queue cannot take more."""


class StorageAway(Transient):
    """What is stored cannot be read now."""


class PeerUnreachable(Transient):
    """No connection, no answer in time, or an answer that cannot be read."""


class PeerBusy(Transient):
    """The peer answered and asked to try later."""


class EngineLost(Transient):
    """The model's process died, hung or ran out of memory."""


class EngineAway(EngineLost):
    """The model was lost and cannot be loaded now: no study is to blame for that."""


class Permanent(NodeError):
    """The same work will fail again; a person is needed."""


class InvalidHeader(Permanent):
    """A DICOM header that cannot be used."""


class OutsideStudy(InvalidHeader):
    """A DICOM header that names no study or no series."""


class UndecodablePixels(Permanent):
    """Pixel data that no decoder reads, or that is not one grey-scale frame."""


class PeerRejected(Permanent):
    """The peer answered and refused for good."""


class OrderConflict(Permanent):
    """An image and the order of its accession number or study name different patients."""


class CaseClosed(Permanent):
    """Nobody wants a draft any more: the RIS has the final report, a newer draft exists, or it was withdrawn."""


class NothingToTell(Permanent):
    """A draft has none of what a delivery asks for; the delivery is cancelled, which is no fault."""


class BadRules(Permanent):
    """The rules' file cannot be read, or is not as it must be."""


class InvalidOutput(Permanent):
    """An object or message of ours that failed its own gate; it is never sent."""


class BadCheckpoint(Permanent):
    """Model files that are missing, damaged or of another model."""


class IllegalMove(NodeError):
    """A state change that is not in the lifecycle table."""
