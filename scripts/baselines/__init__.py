"""Recommenders without a language model."""
