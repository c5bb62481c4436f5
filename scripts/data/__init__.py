"""Raw reviews and metadata to interactions, items and examples."""
