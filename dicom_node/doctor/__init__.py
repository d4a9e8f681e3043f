"""`dicom-node doctor`: what an administrator would check by hand, and for each fault the fix."""
