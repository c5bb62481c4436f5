"""Pretrained or scratch language models, made ready to be fine-tuned."""
