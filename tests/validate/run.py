"""`make validate`: every kind of object and message, of every published film and character-set file, before every
validator. Writes deploy/validation.md; ends with 1 where a validator has anything against one that is not accepted.

It takes half an hour on two cores. `--folder` keeps what was made.
"""

import argparse
import sys
import tempfile
from pathlib import Path

_TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(_TESTS), str(_TESTS / "integration")]

from checking import validate  # noqa: E402  found by the line above
from samples import FOLDERS, drafts, refusal_on_arrival, sources  # noqa: E402
from table import write_table  # noqa: E402
from validators import missing  # noqa: E402

_PAGE = _TESTS.parent / "deploy" / "validation.md"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--folder", type=Path)
    paths = sources(*FOLDERS)
    if absent := missing() or ([] if paths else ["../shared/data"]):
        sys.exit(f"not there: {', '.join(absent)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.parse_args().folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        refused = {path.name: words for path in paths if (words := refusal_on_arrival(path))}
        taken = [path for path in paths if path.name not in refused]
        verdicts = validate((draft for path in taken for draft in drafts(path, folder)), folder)
    _PAGE.write_text(write_table(verdicts, len(taken), refused), encoding="utf-8")
    print(f"wrote {_PAGE}")
    opposed = [message for verdict in verdicts.values() for message in verdict.opposed]
    for each in opposed:
        print(f"{each.tool} {each.severity} {each.file.name}: {each.words}")
    sys.exit(bool(opposed))


if __name__ == "__main__":
    main()
