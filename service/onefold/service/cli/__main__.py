"""``python -m onefold.service.cli``: the same as ``onefold``."""

from onefold.service.cli import main

main()
