"""Execute one chapter with papermill in a kernel of this Python, and tell its failure in words.

Nothing of the user's Jupyter or IPython set-up takes part, so that a chapter's outputs depend on
the project alone.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nbformat import NotebookNode

from lookups import errors
from lookups.errors import ChapterError, LookupsError
from lookups.run.notebooks import KERNEL, cleaned

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


def execute(
    notebook: NotebookNode, parameters: dict[str, str], *, folder: Path, unfinished: Path
) -> NotebookNode:
    """Execute a chapter in `folder` with papermill's parameters, and return it cleaned.

    Until it has come to its end, the notebook so far is at `unfinished`; on failure it stays there.

    Raises:
        ChapterError: a cell raised, or the kernel died or did not start.
    """
    import papermill  # most of a second to import
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    unfinished.parent.mkdir(parents=True, exist_ok=True)
    try:
        done = papermill.execute_notebook(
            notebook,
            unfinished,
            parameters,
            kernel_name=KERNEL["name"],
            cwd=folder,
            progress_bar=sys.stderr.isatty() and {"leave": False},
            log_output=False,
            start_timeout=START_TIMEOUT,
        )
    except (PapermillExecutionError, DeadKernelError, CellTimeoutError) as error:
        raise ChapterError(_in_words(error, unfinished)) from None
    except RuntimeError as error:  # so jupyter_client tells that no kernel answers
        raise ChapterError(
            f"no Python started to run it ({error}); try again when the machine is less busy, and "
            f"see that `{sys.executable} -m ipykernel_launcher --version` works"
        ) from None
    unfinished.unlink()
    return cleaned(done)


def _in_words(error: Exception, place: Path) -> str:
    """One readable sentence: an error of the project speaks for itself, others give their name."""
    if not hasattr(error, "ename"):
        return (
            f"the Python that ran it ended abruptly ({type(error).__name__}); most often memory "
            "ran out: close other programs or ask for fewer documents in the run file. The "
            f"notebook so far: {place}"
        )
    kind = getattr(errors, error.ename, None)
    lines = str(error.evalue).strip().splitlines() or ["no message"]
    if isinstance(kind, type) and issubclass(kind, LookupsError):
        return f"{' '.join(lines)}\n(the notebook so far: {place})"
    return (
        f"cell [{error.exec_count}] raised {error.ename}: {lines[0]}; the traceback is in the "
        f"notebook so far: {place}"
    )
