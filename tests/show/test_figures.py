"""Figures: the same numbers give the same file, with nothing of the machine in it."""

from io import BytesIO

import matplotlib.pyplot as plt
from lookups.show.figures import COLOURS, house_style


def drawn() -> bytes:
    house_style()
    figure, axes = plt.subplots()
    axes.plot([0, 1, 2], [2, 1, 3], label="neurons")
    axes.set(xlabel="position (tokens)", ylabel="activation")
    axes.legend()
    file = BytesIO()
    figure.savefig(file, metadata={"Software": None})
    plt.close(figure)
    return file.getvalue()


@plt.rc_context()
def test_the_same_numbers_give_the_same_file_on_a_white_ground():
    first = drawn()
    assert first == drawn()
    assert b"Software" not in first
    assert plt.rcParams["savefig.facecolor"] == "white"
    assert plt.rcParams["axes.prop_cycle"].by_key()["color"][0] == COLOURS["blue"]
