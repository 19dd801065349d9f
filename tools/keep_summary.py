"""Keep what a run found in all, the stage `summary`, with the book's sources.

    python tools/keep_summary.py smollm2-paper     after: lookups run smollm2-paper

writes notebooks/records/smollm2-paper.summary.csv. The last chapter of a run sets it beside its own
summary where the other is called like it with `-paper` behind: one run under each protocol. So the
book shows both, and `make book` executes only one of them.
"""

import json
import sys

from lookups.errors import LookupsError
from lookups.paths import write_whole
from lookups.run.store import load, manifest
from lookups.settings import RECORDS, read_run


def main(arguments: list[str]) -> str:
    """Write the summary of a run as CSV; return a line that says what was done.

    Raises:
        LookupsError: no run is named, or it has no summary that is up to date.
    """
    if len(arguments) != 1:
        raise LookupsError("write: python tools/keep_summary.py RUN")
    settings = read_run(arguments[0])
    table, about = load(settings, "summary"), manifest(settings, "summary")
    head = (
        f"# {settings.title}: what the run {settings.id} found, by its stage summary. Made by\n"
        f"# lookups run {settings.id} && python tools/keep_summary.py {settings.id}\n"
        f"# {json.dumps(about['parameters'])}\n"
    )
    path = RECORDS / f"{settings.id}.summary.csv"
    write_whole(path, head + table.to_csv(index=False, lineterminator="\n"))
    return f"{path}: now run chapter 15 again, of the run that it is set beside"


if __name__ == "__main__":
    try:
        sys.stdout.write(main(sys.argv[1:]) + "\n")
    except LookupsError as error:
        sys.exit(str(error))
