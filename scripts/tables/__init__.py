"""One module per table: tidy CSV to CSV, Markdown and LaTeX."""
