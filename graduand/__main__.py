"""`python -m graduand` is the `graduand` command."""

import sys

from graduand.gateway.cli import main

if __name__ == "__main__":
    sys.exit(main())
