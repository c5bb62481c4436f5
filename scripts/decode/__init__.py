"""From a language model to a ranking over the catalogue."""
