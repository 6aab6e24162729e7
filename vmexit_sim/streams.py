"""Random streams, one for each named purpose.

A stream belongs to (root seed, replication, purpose): ``SeedSequence((root, replication,
crc32(purpose)))``. Adding a component moves no other component's draws; serial and parallel runs
are identical; two policies meet the same guest, draw for draw (common random numbers).
"""

from __future__ import annotations

from binascii import crc32
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Streams:
    """The random streams of one replication.

    Attributes:
        root: the root seed, the only number a user has to keep to repeat a study.
        replication: 0, 1, 2, …: independent repetitions of the same experiment.
    """

    root: int
    replication: int = 0

    def named(self, *purpose: object) -> np.random.Generator:
        """A fresh generator for a purpose, named by the parts joined with "/".

        Asking twice gives two generators at the start of the same stream.
        """
        name = "/".join(str(part) for part in purpose)
        seed = np.random.SeedSequence((self.root, self.replication, crc32(name.encode())))
        return np.random.Generator(np.random.PCG64DXSM(seed))
