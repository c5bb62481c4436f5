"""Per-example measurements: ranking metrics and the effect of the history on each token."""
