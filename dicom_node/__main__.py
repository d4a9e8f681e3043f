"""`python -m dicom_node`, the same as `dicom-node`."""

from dicom_node.entry import main

main()
