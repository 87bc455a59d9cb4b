"""``python -m pyclnf``."""

import sys

from pyclnf.cli import main

if __name__ == "__main__":
    sys.exit(main())
