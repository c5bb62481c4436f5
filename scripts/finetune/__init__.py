"""Counterfactual fine-tuning: the objective, the batches and the training."""
