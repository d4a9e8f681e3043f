"""The DICOM conformance statement (PS3.2) and HL7 profile: prose of `statement.md`, facts of the code's own tables."""
