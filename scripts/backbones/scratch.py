"""Make a small Llama from nothing: tokenizer, random weights and, if asked, a warm start."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)

from scripts.backbones.load import neutral_generation_config
from scripts.backbones.settings import Scratch, WarmStart
from scripts.command import InputError, run
from scripts.contracts import EXAMPLES
from scripts.data.prepared import training_sequences
from scripts.data.settings import Prompt
from scripts.device import Device, torch_device
from scripts.examples import read_titles, subsample
from scripts.files import atomic, checksums, read_table, write_json
from scripts.prompts import answers_of, prompt_limit, prompt_text, quoted, token_ids
from scripts.provenance import provenance

logger = logging.getLogger(__name__)

END = "<|endoftext|>"
PAD = "<|pad|>"
#: Training examples whose prompts the tokenizer is trained on.
TOKENIZER_EXAMPLES = 5000


def make_scratch(
    train: Path,
    catalogue: Path,
    prompt: Prompt,
    settings: Scratch,
    output: Path,
    device: Device = "auto",
) -> None:
    """Make the scratch backbone of a data set; it sees the training split alone.

    Args:
        train: training examples.
        catalogue: the data set's catalogue.
        prompt: the data set's sentences.
        settings: shape of the model and its warm start.
        output: model folder.
        device: where the warm start runs.
    """
    set_seed(settings.seed)
    place = torch_device(device)
    examples = read_table(train, EXAMPLES)
    titles = read_titles(catalogue)
    tokenizer = train_tokenizer(examples, titles, prompt, settings.vocabulary)
    # A title that no prompt can hold is found before the warm start.
    answers, context = answers_of(tokenizer, titles), settings.max_tokens
    prompt_limit(tokenizer, prompt, titles, answers, max_tokens=context, context=context)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=settings.hidden_size,
            intermediate_size=4 * settings.hidden_size,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            num_key_value_heads=settings.heads,
            max_position_embeddings=settings.max_tokens,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.generation_config = neutral_generation_config(tokenizer)
    if settings.warm_start is not None:
        sequences = [quoted(title) for title in dict.fromkeys(titles)]
        if settings.warm_start.texts == "sequences":
            sequences = title_sequences(examples, titles)
        blocks = token_blocks(sequences, tokenizer, settings.warm_start.block_size)
        if not len(blocks):
            raise InputError(
                f"{train}: too few titles to fill one block of {settings.warm_start.block_size} "
                "tokens; lower source.warm_start.block_size"
            )
        warm_start(model, blocks, settings.warm_start, settings.seed, place)
    with atomic(output) as partial:
        model.cpu().save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        # Rules track this file alone: it changes with any other.
        record = {"settings": settings.model_dump(), "files": checksums(partial)}
        write_json(record | provenance(place), partial / "backbone.json")


def train_tokenizer(
    examples: pd.DataFrame, titles: list[str], prompt: Prompt, vocabulary: int
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on prompts and answers of training examples."""

    def texts() -> Iterator[str]:
        for example in subsample(examples, TOKENIZER_EXAMPLES, 0).itertuples(index=False):
            history = [titles[item] for item in example.history]
            yield prompt_text(prompt, history) + quoted(titles[example.target])
        yield prompt_text(prompt, [])

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD)


def title_sequences(examples: pd.DataFrame, titles: list[str]) -> list[str]:
    """Each user's training sequence in words, see `training_sequences`."""
    items, starts, _ = training_sequences(examples)
    return [", ".join(quoted(titles[item]) for item in own) for own in np.split(items, starts[1:])]


def token_blocks(
    sequences: list[str], tokenizer: PreTrainedTokenizerFast, size: int
) -> torch.Tensor:
    """The sequences one after the other, each with eos, cut into (n, size) int64 blocks."""
    ids = [
        token
        for sequence in token_ids(tokenizer, sequences)
        for token in [*sequence, tokenizer.eos_token_id]
    ]
    count = len(ids) // size
    return torch.tensor(ids[: count * size]).reshape(count, size)


def warm_start(
    model: LlamaForCausalLM,
    blocks: torch.Tensor,
    settings: WarmStart,
    seed: int,
    device: torch.device,
) -> None:
    """Train the model on the blocks as a language model, in place."""
    logger.info("Warm start: %d blocks, %d epochs", len(blocks), settings.epochs)
    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            seed=seed,
            use_cpu=device.type == "cpu",
            learning_rate=settings.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=20,
            per_device_train_batch_size=settings.batch_size,
            num_train_epochs=settings.epochs,
            save_strategy="no",
            logging_steps=100,
            report_to="none",
        )
        data = [{"input_ids": block, "labels": block} for block in blocks]
        Trainer(model=model, args=arguments, train_dataset=data).train()


if __name__ == "__main__":
    run(make_scratch, exclusive=True)
