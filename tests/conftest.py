"""What all tests share: shapes are checked, nothing is written into the project, NOT RUN is listed.

A test that cannot run on a machine is skipped with a reason that begins with NOT RUN; the reasons
stand at the end of pytest's report.
"""

import os
from pathlib import Path

from jaxtyping import install_import_hook

install_import_hook("lookups", "beartype.beartype")  # before anything imports lookups

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


def pytest_terminal_summary(terminalreporter) -> None:
    """List what was NOT RUN, each reason once."""
    reasons = sorted(
        {
            report.longrepr[2].removeprefix("Skipped: ")
            for report in terminalreporter.stats.get("skipped", [])
            if isinstance(report.longrepr, tuple)
        }
    )
    not_run = [reason for reason in reasons if reason.startswith("NOT RUN")]
    if not_run:
        terminalreporter.section("not run on this machine")
        for reason in not_run:
            terminalreporter.write_line(reason)
