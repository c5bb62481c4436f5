"""One module per analysis: its function makes a tidy table; `outputs.py` says what it reads."""
