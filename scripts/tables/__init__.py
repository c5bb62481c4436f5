"""One module per table: its function takes analyses by name, as they are read from their CSV, the
labels, and the options of its entry in `outputs.py`; it returns a `Table`."""
