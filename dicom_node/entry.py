"""Where the program begins: a question that is asked all the time is answered before the rest is loaded."""

import sys

from dicom_node.probe import ask


def main() -> None:
    """`dicom-node`."""
    match sys.argv[1:]:
        case ["health", role] if answer := ask(role):
            print(answer.words)
            sys.exit(0 if answer.is_well else 1)
    from dicom_node.cli import main as run_command

    run_command()
