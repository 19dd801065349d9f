"""Ten times as many documents take no more memory, measured on whole processes."""

import subprocess
import sys
from pathlib import Path

import pytest
from lookups.paths import PROJECT

sys.path.insert(0, str(PROJECT / "benchmarks"))
from corpus_memory import measured_apart


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="NOT RUN: peak memory is read from /proc (Linux)"
)
def test_memory_while_scanning_does_not_grow_with_the_number_of_documents():
    few, many = (measured_apart("files", n) for n in (20_000, 200_000))
    assert (few["documents"], many["documents"]) == (20_000, 200_000)
    assert many["peak"] <= 1.10 * few["peak"]
    assert few["peak"] > few["before"], "the scan is what is measured"


def test_a_measurement_that_fails_says_why():
    with pytest.raises((RuntimeError, subprocess.SubprocessError), match="measuring -1 documents"):
        measured_apart("files", -1)
