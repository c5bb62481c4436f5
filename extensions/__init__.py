"""Code of your own, see docs/extending.md. Updates of the project leave it alone."""
