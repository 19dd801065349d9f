"""Forked kernels are like any other: a chapter cannot tell."""

import os

import nbformat
import papermill
import pytest
from lookups.run.execute import _imported, chapters_of
from lookups.run.kernels import ForkedKernels, forking
from lookups.run.notebooks import KERNEL, START_TIMEOUT, kernel_environment
from lookups.settings import read_run

SEEN = """
import os, signal, sys
import pandas as pd
kernel = [each for each in sys.argv if not each.endswith(".json")]
shown = pd.get_option("display.max_columns"), pd.get_option("display.width")
out = sys.path, kernel[1:], dict(os.environ), os.getcwd(), __name__, sys.flags.hash_randomization
(*out, shown, os.read(0, 1), signal.getsignal(signal.SIGCHLD))
"""
OWN = ("JPY_PARENT_PID", "JPY_SESSION_NAME", "_")  # of every kernel


def seen(tmp_path) -> tuple[str, str]:
    clean = f"[os.environ.pop(name, None) for name in {OWN!r}]"
    drawn = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"
    cells = [nbformat.v4.new_code_cell(SEEN.replace("out =", f"{clean}\nout ="))]
    cells.append(nbformat.v4.new_code_cell(drawn))
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
    options = {"kernel_manager_class": ForkedKernels, "progress_bar": False}
    done = papermill.execute_notebook(notebook, tmp_path / "done.ipynb", cwd=tmp_path, **options)
    seen, *_, picture = [one for cell in done.cells for one in cell.outputs]
    return seen.data["text/plain"], picture.data["image/png"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
def test_a_forked_kernel_sees_what_another_sees(tmp_path):
    with kernel_environment():
        usual = seen(tmp_path)
        chapters = _imported(chapters_of(read_run("planted")))
        with forking([*chapters, "no_such_module"], patience=START_TIMEOUT):
            forked = seen(tmp_path)
            assert ForkedKernels.source.poll() is None  # it was made by this one
    assert forked == usual
    assert ForkedKernels.source is None
