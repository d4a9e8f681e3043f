"""Where the program begins: a question that is asked all the time is answered before the rest is loaded."""

import os
import sys

from dicom_node.probe import ask


def main() -> None:
    """`dicom-node`."""
    if sys.argv[1:2] != ["model"]:  # which makes what other accounts read; in all else are patients
        os.umask(os.umask(0o077) | 0o027)
    match sys.argv[1:]:
        case ["health", role] if answer := ask(role):
            print(answer.words)
            sys.exit(0 if answer.is_well else 1)
    from dicom_node.cli import main as run_command

    run_command()
