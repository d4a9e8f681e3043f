"""What goes with the published weights wherever they go: who may use them and for what."""

NOTICE_FILE, LICENCE_FILE = "NOTICE", "LICENSE"
# One line, for the log.
RESEARCH_ONLY = (
    "LLaVA-Rad's weights: Microsoft Research License, non-commercial research only, not to be distributed, not for "
    "clinical care or clinical decisions. Also subject to the terms of Llama 2, Vicuna and GPT-4."
)
NOTICE = """\
This folder holds LLaVA-Rad ({own}) merged into {base}.
It was made by `dicom-node model import` from files that its operator obtained, after the operator had accepted the
research-only terms.

- LLaVA-Rad is licensed under the Microsoft Research License Terms (file LICENSE). They allow non-commercial,
  non-revenue research only. Do not distribute, publish, share or lend this folder, and offer no stand-alone hosted
  service with it. It comes as it is, without any warranty.
- LLaVA-Rad is not for clinical care and not for any clinical decision making.
- Vicuna is a fine-tuned Llama 2. Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta
  Platforms, Inc. All Rights Reserved.
- Parts of the training text were made with GPT-4 and are subject to OpenAI's terms.
"""
