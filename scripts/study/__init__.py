"""The study itself: its configuration, its cells and what a run of it will need."""
