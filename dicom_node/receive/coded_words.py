"""The words that DICOM has for body parts and views, also of codes, and which of them mean a chest radiograph."""

# (0008,0060). DR is no defined term of PS3.3 C.7.3.1.1.1, but in use.
RADIOGRAPHY_MODALITIES = frozenset({"CR", "DX", "DR"})
# (0018,0015). CHEST and LUNG are terms of PS3.16 Annex L; senders also write the region's Latin and Romance names.
CHEST_WORDS = frozenset({"CHEST", "THORAX", "TORAX", "LUNG"})

# PS3.16 CID 4009 (DX anatomy). SRT and SNM3 share the codes that begin with a letter.
BODY_PART_OF_CODE = {
    "51185008": "CHEST",  # SCT
    "816094009": "CHEST",  # SCT, since 2020
    "T-D3000": "CHEST",  # SRT
    "39607008": "LUNG",  # SCT
    "T-28000": "LUNG",  # SRT
}
# PS3.16 CID 4010 (DX view), as the defined terms of (0018,5101) in PS3.3 C.8.1.2 where there is one.
VIEW_OF_CODE = {
    "272479007": "PA",  # SCT
    "R-10214": "PA",  # SRT
    "R-40888": "PA",  # SRT
    "399348003": "AP",  # SCT
    "R-10206": "AP",  # SRT
    "399033003": "FRONTAL",  # SCT
    "R-10202": "FRONTAL",  # SRT
    "399173006": "LL",  # SCT, left lateral
    "R-10236": "LL",  # SRT
    "399198007": "RL",  # SCT, right lateral
    "R-10232": "RL",  # SRT
    "399067008": "LATERAL",  # SCT
    "272478004": "LATERAL",  # SCT
    "R-102CD": "LATERAL",  # SRT
}
