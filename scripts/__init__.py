"""The steps of the study, one folder (room) per stage; data flows from the first to the last."""
