"""What pynetdicom's negotiation says too much or too little of when every storage class is taken (PS3.7 annex D)."""

from pydicom.uid import UID, MediaStorageDirectoryStorage
from pynetdicom.acse import ACSE
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

_ABSTRACT_SYNTAX_NOT_SUPPORTED = 0x03  # PS3.8 table 9-18


class Negotiation(ACSE):
    """pynetdicom's, but for the A-ASSOCIATE-AC."""

    def send_accept(self) -> None:
        """Refuse what is neither storage nor a service of ours, and answer the roles of what is."""
        self._refuse_other_services()
        self._answer_roles()
        super().send_accept()

    def _refuse_other_services(self) -> None:
        """pynetdicom takes for storage whatever it does not know, Modality Worklist among it."""
        ours = {each.abstract_syntax for each in self.acceptor.supported_contexts}
        for context_id, context in list(self.assoc._accepted_cx.items()):
            if context.abstract_syntax not in ours and not is_storage(UID(str(context.abstract_syntax))):
                context.result = _ABSTRACT_SYNTAX_NOT_SUPPORTED
                self.assoc._rejected_cx.append(self.assoc._accepted_cx.pop(context_id))

    def _answer_roles(self) -> None:
        """pynetdicom drops them, except those of storage: who may report a commitment is told so (PS3.7 D.3.3.4)."""
        accepted = {each.abstract_syntax for each in self.assoc._accepted_cx.values()}
        for context in self.acceptor.supported_contexts:
            proposed = self.requestor.role_selection.get(UID(str(context.abstract_syntax)))
            if proposed is None or context.scu_role is None or context.abstract_syntax not in accepted:
                continue
            answer = SCP_SCU_RoleSelectionNegotiation()
            answer.sop_class_uid = proposed.sop_class_uid
            answer.scu_role = bool(proposed.scu_role and context.scu_role)
            answer.scp_role = bool(proposed.scp_role and context.scp_role)
            self.acceptor.add_negotiation_item(answer)


def negotiate_by_these_rules(event: Event) -> None:
    """EVT_REQUESTED."""
    event.assoc.acse = Negotiation(event.assoc)


def is_storage(sop_class: UID) -> bool:
    """Whether objects of the class are stored by C-STORE; a private or future one may be."""
    if not sop_class.type or not sop_class.name:  # two that are retired have no name
        return True
    is_named_so = sop_class.type == "SOP Class" and "Storage" in sop_class.name and "Commitment" not in sop_class.name
    return is_named_so and sop_class != MediaStorageDirectoryStorage
