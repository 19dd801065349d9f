"""What nbval compares in this project, as a pytest plugin: -p nbval_rules.

Never compared: images (the numbers drawn stand in a table beside each figure), and stderr, which a
chapter's record does not hold because other machines warn of other things.
"""

from nbval.plugin import IPyNbFile

NEVER_COMPARED = (
    "stderr",
    "image/png",
    "image/svg+xml",
    "application/papermill.record/image/png",
    "application/papermill.record/image/svg+xml",
)


def pytest_itemcollected(item) -> None:
    if isinstance(item.parent, IPyNbFile) and "stderr" not in item.parent.skip_compare:
        item.parent.skip_compare += NEVER_COMPARED
