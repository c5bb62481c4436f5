"""One module per figure: its function takes the analysis of its name, the labels, and the options
of its entry in `outputs.py`; it returns a `Drawing`."""
