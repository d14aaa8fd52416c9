"""`python -m trailing` is the command."""

import sys

from trailing.cli import main

if __name__ == "__main__":
    sys.exit(main())
