"""The steps of the study, in one folder (room) each; data flows from the first to the last."""

import gc

# Imports leave no garbage, but looking for it would take a sixth of their time: a step looks from
# its start on, see `command.run`.
gc.set_threshold(100_000)
