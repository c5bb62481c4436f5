"""An analysis as a command: `python -m scripts.analyse accuracy --metrics … --output a.csv`."""

from __future__ import annotations

import sys
from functools import partial

from scripts.command import run, step_of
from scripts.files import write_csv

if __name__ == "__main__":
    run(step_of("scripts.analyse", sys.argv[1:2]), partial(write_csv, sealed=True), sys.argv[2:])
