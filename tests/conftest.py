"""What all tests share: shapes are checked, nothing is written into the project, NOT RUN is listed.

A test that cannot run on a machine is skipped with a reason that begins with NOT RUN; the reasons
stand at the end of pytest's report. Tests that are marked `slow` are left out of `make check`.
"""

import os
from collections.abc import Callable
from pathlib import Path

# Most tests use one core. Of two processes side by side neither gains by threads of its own, and
# numpy and torch read this when they are first imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

install_import_hook(["lookups", "tools"], "beartype.beartype")  # before anything imports lookups

import hypothesis  # noqa: E402
import pytest  # noqa: E402

hypothesis.settings.register_profile("lookups", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("lookups")

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test needs the hub, and none should wait for it
for room in ("ARTIFACTS", "DATA", "MODELS"):
    os.environ.pop(f"LOOKUPS_{room}", None)


@pytest.fixture
def artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scratch folder in which all runs of one test keep their stages."""
    folder = tmp_path / "artifacts"
    monkeypatch.setenv("LOOKUPS_ARTIFACTS", str(folder))
    return folder


@pytest.fixture
def call(capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str, str]]:
    """Call `lookups` with arguments; return exit code, stdout and stderr."""
    from lookups.run import cli

    def called(*arguments: str) -> tuple[int, str, str]:
        try:
            cli.main(lambda: cli.app(arguments))
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return called


def pytest_terminal_summary(terminalreporter) -> None:
    """List what was NOT RUN, each reason once."""
    skipped = [report.longrepr for report in terminalreporter.stats.get("skipped", [])]
    reasons = {one[2].removeprefix("Skipped: ") for one in skipped if isinstance(one, tuple)}
    if not_run := sorted(reason for reason in reasons if reason.startswith("NOT RUN")):
        terminalreporter.section("not run on this machine")
        for reason in not_run:
            terminalreporter.write_line(reason)
