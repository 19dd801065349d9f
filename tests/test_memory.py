"""Keeping freed memory: asked for without harm, and it does keep it."""

import subprocess
import sys

from lookups.memory import keep_freed_memory

FAULTS = """
import resource
import numpy as np
from lookups.memory import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def again():
    before = faults()
    for _ in range(20):
        np.ones(4_000_000)
    return faults() - before

usual = again()
print(keep_freed_memory(), usual, again())
"""


def test_freed_memory_is_not_given_back_and_asked_for_anew():
    made = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    told, before, after = made.stdout.split()
    if told == "True":  # glibc
        assert int(after) < int(before) / 5


def test_where_there_is_no_such_library_nothing_happens(monkeypatch):
    monkeypatch.setattr("lookups.memory.ctypes.CDLL", lambda name: object())
    assert keep_freed_memory() is False
