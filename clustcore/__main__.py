"""`python -m clustcore COMMAND`: see `clustcore.cli.commands`."""

from __future__ import annotations

import sys

from clustcore.cli.commands import entry

if __name__ == "__main__":
    sys.exit(entry())
