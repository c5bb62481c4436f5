"""From per-example measurements to the numbers of the paper, as tidy CSV."""
