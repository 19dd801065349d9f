"""What does giving freed memory back cost? The same scan in two processes; one keeps it."""

import subprocess
import sys

import lookups.model
from _side_by_side import record, setting, timed
from lookups.scan import scan

STRONGEST = 20


def main() -> None:
    """Measure one way in this process, if it is told which, or both in two others."""
    if sys.argv[1:2] == ["--usual"]:
        del sys.argv[1]
        lookups.model.keep_freed_memory = lambda: False
    elif sys.argv[1:2] == ["--kept"]:
        del sys.argv[1]
    else:
        return both()
    found, _ = setting(__doc__, documents=500)
    seconds, kept = timed(
        found.model, lambda: scan(found.model, found.documents, found.layers, strongest=STRONGEST)
    )
    print(seconds, float(kept.strongest.activation.double().sum()))


def both() -> None:
    found, _ = setting(__doc__, documents=500)
    measured = {}
    for way in ("--usual", "--kept"):
        command = [sys.executable, __file__, way, *sys.argv[1:]]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        measured[way] = [float(number) for number in printed.split()]
    (usual, first), (kept, second) = measured.values()
    record(
        "memory",
        found,
        f"{len(found.documents)} texts",
        naive=usual,
        fast=kept,
        agreement="the same" if first == second else f"sums {first:.6g} and {second:.6g}",
    )


if __name__ == "__main__":
    main()
