"""One module per figure: tidy CSV to PDF, SVG, PNG and the CSV behind the figure."""
