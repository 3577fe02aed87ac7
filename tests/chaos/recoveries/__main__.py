"""`python -m tests.chaos.recoveries`: see harness.py."""

import sys

from tests.chaos import program

if __name__ == "__main__":
    sys.exit(program.run("tests.chaos.recoveries.harness"))
