"""`python -m cairnfile`: the command `cairn`."""

import signal
import sys

from ._cairnfile import run_command


def main() -> int:
    # Like any command: interrupted at once, and silent when nobody reads on.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    return run_command(["cairn", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
