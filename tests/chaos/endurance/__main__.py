"""`python -m tests.chaos.endurance`: see harness.py."""

import sys

from tests.chaos import program

if __name__ == "__main__":
    sys.exit(program.run("tests.chaos.endurance.harness"))
