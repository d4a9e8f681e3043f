"""HL7 messages as a RIS sends them, of the patient CANARY^PHI."""

PATIENT_ID, ACCESSION = "CANARY-ID", "CANARY-ACC"


def message(kind: str, *segments: str, control_id: str = "C1", **header: str) -> bytes:
    """MSH and the segments, UTF-8. header: MSH fields by their number, `f18="8859/1"`."""
    fields = {
        3: "RIS",
        4: "HOSP",
        5: "CXRNODE",
        6: "RAD",
        7: "20260301110000",
        9: kind,
        10: control_id,
        11: "P",
        12: "2.5.1",
    }
    fields |= {int(name[1:]): value for name, value in header.items()}
    msh = "|".join(["MSH", "^~\\&", *(fields.get(number, "") for number in range(3, max(fields) + 1))])
    return "".join(f"{segment}\r" for segment in (msh, *segments)).encode()


def order(
    *,
    kind: str = "ORM^O01",
    control: str = "NW",
    control_id: str = "C1",
    patient: str = f"{PATIENT_ID}^^^HOSP^MR",
    placer: str = "PLC1^RIS",
    filler: str = "FIL1^RIS",
    accession: str = ACCESSION,
    study: str = "",
    reason: str = "Cough, fever",
    priority: str = "R",
    **header: str,
) -> bytes:
    return message(
        kind,
        f"PID|1||{patient}||CANARY^PHI||19700101|O",
        "PV1|1|O",
        f"ORC|{control}|{placer}|{filler}||SC",
        f"TQ1|1||||||||{priority}",
        f"OBR|1|{placer}|{filler}|36643-5^XR Chest 2 Views^LN||||||||||||||{accession}|RP1|SPS1||||DX|||||||^{reason}",
        *([f"ZDS|{study}^RIS^Application^DICOM"] if study else []),
        control_id=control_id,
        **header,
    )


def final(
    *,
    status: str = "F",
    control_id: str = "R1",
    patient: str = f"{PATIENT_ID}^^^HOSP^MR",
    accession: str = ACCESSION,
    placer: str = "",
    findings: str = "Small effusion.~~No pneumothorax.",
    **header: str,
) -> bytes:
    return message(
        "ORU^R01^ORU_R01",
        f"PID|1||{patient}||CANARY^PHI",
        f"OBR|1|{placer}||36643-5^XR Chest^LN||||||||||||||{accession}|||||||{status}",
        f"OBX|1|TX|36643-5&GDT^XR Chest^LN|1|{findings}||||||F",
        "OBX|2|FT|36643-5&IMP^XR Chest^LN|1|Effusion.\\.br\\Nothing else.||||||F",
        control_id=control_id,
        **header,
    )


def merge(*, prior: str, surviving: str, event: str = "A40", control_id: str = "M1") -> bytes:
    return message(
        f"ADT^{event}", "EVN|A40|20260301", f"PID|1||{surviving}||CANARY^PHI", f"MRG|{prior}", control_id=control_id
    )


def update(*, patient: str = f"{PATIENT_ID}^^^HOSP^MR", event: str = "A08", control_id: str = "U1") -> bytes:
    return message(f"ADT^{event}", "EVN|A08|20260301", f"PID|1||{patient}||CANARY^PHI", control_id=control_id)


def fields_of(answer: bytes | None, segment: str = "MSA") -> list[str]:
    """The fields of the first segment of that name, from its name on; empty where it has none."""
    lines = (answer or b"").decode("latin-1").split("\r")
    return next((line.split("|") for line in lines if line.startswith(segment)), [])


def code_of(answer: bytes | None) -> str:
    """MSA-1, with the condition of ERR-3 where there is one: `AA`, `AE 101`. Empty: no answer."""
    if answer is None:
        return ""
    condition = fields_of(answer, "ERR")[3:4]
    return " ".join([fields_of(answer)[1], *(each.split("^")[0] for each in condition)])
