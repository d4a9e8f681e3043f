"""The commands of `dicom-node`, by what they are for. `cli` puts them together."""
