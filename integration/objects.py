"""What a PACS can be sent of a draft. A new kind of object is one more line here."""

from collections.abc import Callable, Mapping

from dicom_node.peers import DicomDestination
from dicom_node.states import DeliveryKind
from integration.destinations import Encoded
from integration.document import ReportDocument
from integration.structured_report import encode_sr

Encode = Callable[[ReportDocument, DicomDestination], Encoded]

# Each encodes for one destination and passes the object's own gate. All raise InvalidOutput.
ENCODERS: Mapping[DeliveryKind, Encode] = {
    DeliveryKind.SR: lambda document, _: encode_sr(document),
}
