"""Benchmarks that anyone can run: `python -m tests.benchmarks.raw_data --help`."""
