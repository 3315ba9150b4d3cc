"""Looking again before something is called wrong: what is being written may be seen in part."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

LOOKS: Final = 6
FIRST_PAUSE_S: Final = 0.02


def looks() -> Iterator[None]:
    """Each look that is worth taking, the first at once, the others after pauses that double: what is still the same
    after the last one is not about to be written."""
    for look in range(LOOKS):
        time.sleep(FIRST_PAUSE_S * 2**look if look else 0.0)
        yield
