"""Execute one chapter with papermill in a kernel of this Python, and tell its failure in words.

The chapter runs into a temporary file; only a finished one is handed out. Nothing of the user's
Jupyter or IPython set-up takes part, so that a chapter's outputs depend on the project alone.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from nbformat import NotebookNode

from lookups import errors
from lookups.errors import ChapterError, LookupsError
from lookups.run.notebooks import KERNEL, as_text, cleaned

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # waiting threads that spin slow down everything else
    "LOOKUPS_VIEWS": "linked",
    "PYTHONHASHSEED": "0",
    "PYTHONWARNINGS": "ignore",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
RECORD_THREADS = "2"
"""Threads of the default run: how sums are split decides their last digit, and what is committed
should not depend on how many processors a machine has."""

START_TIMEOUT = 300
"""Seconds a kernel may take to start: on a machine busy with something else a minute is too few."""


class Executed(NamedTuple):
    """A chapter executed to its end."""

    notebook: NotebookNode
    seconds: float


@contextmanager
def kernel_environment(*, record: bool = False) -> Iterator[None]:
    """Set this process's environment so that kernels started inside are alike everywhere.

    `record` also fixes the number of threads, unless OMP_NUM_THREADS is set.
    """
    former = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="lookups-kernel-") as folder:
        kernel = Path(folder) / "kernels" / KERNEL["name"]
        kernel.mkdir(parents=True)
        command = [sys.executable, "-m", "ipykernel_launcher", "--log-level=CRITICAL"]
        command += ["-f", "{connection_file}"]
        (kernel / "kernel.json").write_text(json.dumps({"argv": command} | KERNEL), "utf-8")
        others = [path for path in [os.environ.get("JUPYTER_PATH")] if path]
        os.environ.update(ENVIRONMENT)
        os.environ["JUPYTER_PATH"] = os.pathsep.join([folder, *others])
        os.environ["IPYTHONDIR"] = str(Path(folder) / "ipython")
        if record:
            os.environ.setdefault("OMP_NUM_THREADS", RECORD_THREADS)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(former)


def execute(notebook: NotebookNode, name: str, *, folder: Path, keep_failed: Path) -> Executed:
    """Execute a chapter in `folder` and return it cleaned.

    On failure the notebook so far, its traceback in it, is left at `keep_failed`.

    Raises:
        ChapterError: a cell raised, or the kernel died or did not start.
    """
    import papermill  # most of a second to import
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    keep_failed.parent.mkdir(parents=True, exist_ok=True)
    keep_failed.unlink(missing_ok=True)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="lookups-chapter-") as scratch:
        source, target = Path(scratch, f"{name}.ipynb"), Path(scratch, f"{name}.out.ipynb")
        source.write_text(as_text(notebook), "utf-8")
        try:
            done = papermill.execute_notebook(
                source,
                target,
                kernel_name=KERNEL["name"],
                cwd=folder,
                progress_bar=_progress(name),
                log_output=False,
                start_timeout=START_TIMEOUT,
            )
        except PapermillExecutionError as error:
            _keep(target, keep_failed)
            raise ChapterError(_in_words(name, error, keep_failed)) from None
        except (DeadKernelError, CellTimeoutError) as error:
            _keep(target, keep_failed)
            raise ChapterError(
                f"{name}: the Python that ran it ended abruptly ({type(error).__name__}); most "
                f"often memory ran out: close other programs or ask for fewer documents in the run "
                f"file. The notebook so far: {keep_failed}"
            ) from None
        except RuntimeError as error:  # so jupyter_client tells that no kernel answers
            raise ChapterError(
                f"{name}: no Python started to run it ({error}); try again when the machine is "
                f"less busy, and see that `{sys.executable} -m ipykernel_launcher --version` works"
            ) from None
    return Executed(cleaned(done), time.perf_counter() - start)


def _progress(name: str) -> dict | bool:
    """A bar of cells on a terminal, nothing in a log."""
    if not sys.stderr.isatty():
        return False
    return {"desc": f"      {name}", "leave": False}


def _keep(partial: Path, place: Path) -> None:
    if partial.is_file():
        place.write_bytes(partial.read_bytes())


def _in_words(name: str, error, place: Path) -> str:
    """One readable sentence: an error of the project speaks for itself, others give their name."""
    kind = getattr(errors, error.ename, None)
    ours = isinstance(kind, type) and issubclass(kind, LookupsError)
    lines = str(error.evalue).strip().splitlines() or ["no message"]
    if ours:
        return f"{name}: {' '.join(lines)}\n(the notebook so far: {place})"
    return (
        f"{name}: cell [{error.exec_count}] raised {error.ename}: {lines[0]}; "
        f"the traceback is in the notebook so far: {place}"
    )
