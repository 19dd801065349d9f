"""Names for neurons and attention heads, as they stand in every table (see the notation page).

`L9.N5` is neuron 5 of the MLP in layer 9, counted from 0; `L9.N5-` is the same neuron with its sign
turned, for gated MLPs; `L7.H4` is head 4 of layer 7. Order tables by the numbers, not as text.
"""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple


class Neuron(NamedTuple):
    """One MLP neuron, or (sign -1) the direction opposite to it."""

    layer: int
    index: int
    sign: Literal[1, -1] = 1

    def __str__(self) -> str:
        return f"L{self.layer}.N{self.index}{'-' if self.sign < 0 else ''}"

    @classmethod
    def parse(cls, name: str) -> "Neuron":
        """Read `L9.N5` or `L9.N5-`; a ValueError if the text has another form."""
        match = re.fullmatch(r"L(\d+)\.N(\d+)(-?)", name.strip())
        if match is None:
            raise ValueError(f"{name!r} names no neuron; write layer and index as in 'L9.N5'")
        return cls(int(match[1]), int(match[2]), -1 if match[3] else 1)


class Head(NamedTuple):
    """One attention head."""

    layer: int
    index: int

    def __str__(self) -> str:
        return f"L{self.layer}.H{self.index}"

    @classmethod
    def parse(cls, name: str) -> "Head":
        """Read `L7.H4`; a ValueError if the text has another form."""
        match = re.fullmatch(r"L(\d+)\.H(\d+)", name.strip())
        if match is None:
            raise ValueError(f"{name!r} names no head; write layer and index as in 'L7.H4'")
        return cls(int(match[1]), int(match[2]))


Pair = tuple[str, str]  # a neuron's name and a head's
Heads, Neurons = Sequence[Head], Sequence[Neuron]
Units = Sequence[Head | Neuron]
