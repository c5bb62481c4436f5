"""What fine-tuning and decoding cost, by plain formulas from a few constants. All are rough.

Seconds and operations are those of one GPU or of some CPU cores, bytes those of memory or disk.
"""

from __future__ import annotations

from typing import NamedTuple

from scripts.backbones.settings import BackboneSource
from scripts.decode.settings import Constrained, Decoder
from scripts.finetune.settings import Training

#: Tokens of a usual prompt without its titles, which run once for a step; of a title in it; of an
#: answer. Counted in MovieLens and in three Amazon sets of 2015 to 2018: 69; 7 to 14; 7 to 16.
PROMPT_TOKENS = 70
TITLE_TOKENS = 14
ANSWER_TOKENS = 15
#: Items of a usual history as a share of the longest, where no preparation says it: in these Amazon
#: sets 0.4 to 0.6. And tokens of the longest 64 examples, which are one step: 1.5 to 1.6 times
#: those of a usual example with the longest history.
HISTORY_SHARE = 0.6
LONGEST_STEP = 1.6
#: Operations a second that training reaches: a recent GPU in bf16 (an H100 reached 1e14 to 3e14
#: with 16 to 64 examples of Qwen2-0.5B's shape), and one CPU core in fp32 (7e10).
GPU_OPERATIONS = 1e14
CORE_OPERATIONS = 5e10
#: Nominal dense bf16 operations a second by a part of the GPU's name, the first that fits (NVIDIA's
#: data sheets, without sparsity), and the share of them that training reaches at most.
NOMINAL = {
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H200": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "A10G": 70e12,
    "RTX 3090": 71e12,
    "RTX 4090": 165e12,
    "L4": 121e12,
}
NOMINAL_SHARE = 0.35
#: What is counted with where no GPU is found.
USUAL_GPU = "an H100"
#: Seconds that a GPU takes to start the kernels of a decoding step, which outweigh what they
#: compute: an H100 took 0.006 s for a model of 4 layers and 0.0035 s for the search, these have 24.
STEP_SECONDS = 0.04
#: Decoding steps of a batch, whose longest text is about twice as long as a usual one; and passes
#: that they take on a GPU behind a trie, where chains of titles are run ahead: 6.5 for a batch of
#: movies and 13 of games (docs/decoding.md). A beam's tokens are run all the same.
STEPS = 2 * ANSWER_TOKENS
TRIE_PASSES = 10
#: Seconds until a job has started Python and loaded its model.
START_SECONDS = 15
#: Bytes per trained parameter: fp32 weight 4, gradient 4, AdamW's moments 8; bf16 keeps a copy, 2.
TRAINED_BYTES = {"fp32": 16, "bf16": 18}
#: The same where all of them are kept in bf16.
BF16_WEIGHTS_BYTES = 8
#: Bytes per frozen parameter under LoRA.
FROZEN_BYTES = {"fp32": 4, "bf16": 6}
#: Activations of a token: at so many parameters so many bytes, growing with this power of their
#: number; fitted to peaks on an H100 of Qwen2-0.5B's and Qwen2.5-1.5B's shapes in bf16.
ACTIVATIONS = (0.5e9, 1.8e6, 0.4)
#: Share of a GPU's memory that is left to what is counted.
USABLE_MEMORY = 0.95
#: Bytes per number in the precision that a model is saved or downloaded in.
NUMBER_BYTES = {"fp32": 4, "bf16": 2}
#: Checkpoints that lie beside a model while it trains: the best, the last and one being written.
CHECKPOINTS = 3
#: Share of a backbone that its adapters come to, for each rank: 0.0008 of 1.5e9 parameters, 0.0023
#: of 1.35e8.
ADAPTER_SHARE = 0.002
#: Bytes on disk of a title in a list, and of an example's metrics.
LISTED_BYTES = 8
METRICS_BYTES = 40


class Speed(NamedTuple):
    """How fast something works; where it was measured, this replaces operations and steps."""

    operations: float
    """A second."""
    step: float = 0.0
    """Seconds of a pass in decoding, whatever it computes."""
    token: float | None = None
    """Seconds of a token in training."""
    decoded: dict[str, float] = {}
    """Seconds of a decoded example, by the kind of decoder."""


def gpu_speed(name: str) -> Speed:
    """The speed of a GPU by its name; one that is not known counts as an H100."""
    rate = nominal_rate(name) or nominal_rate(USUAL_GPU)
    return Speed(min(GPU_OPERATIONS, NOMINAL_SHARE * rate), STEP_SECONDS)


def nominal_rate(name: str) -> float | None:
    """Nominal dense bf16 operations a second of a GPU by its name, where it is known."""
    return next((rate for part, rate in NOMINAL.items() if part in name), None)


def own_tokens(items: float, training: Training) -> float:
    """Tokens of an example with that many items in its history, its answer included, without what
    all prompts have in common."""
    return min(TITLE_TOKENS * items, training.max_tokens - PROMPT_TOKENS) + ANSWER_TOKENS


def training_seconds(
    parameters: float, training: Training, examples: int, items: float, both: bool, speed: Speed
) -> float:
    """Seconds of a fine-tuning on so many examples with usual histories of so many items, on one
    device of this speed: 6 operations a parameter and token. All epochs count; `both` adds the
    branch without history, which costs the answers."""
    tokens = own_tokens(items, training) + ANSWER_TOKENS * both
    tokens += PROMPT_TOKENS / training.batch_size
    each = 6 * parameters / speed.operations if speed.token is None else speed.token
    return examples * tokens * training.epochs * each / training.processes


def decoding_seconds(
    parameters: float, decoder: Decoder, examples: int, prompt: float, speed: Speed
) -> float:
    """Seconds of decoding examples with prompts of so many tokens: a pass over the prompt and over
    every beam in each step, and what a batch's passes take at least."""
    if (measured := speed.decoded.get(decoder.kind)) is not None:
        return examples * measured
    tokens = prompt + STEPS * decoder.beams
    passes = TRIE_PASSES if isinstance(decoder, Constrained) else STEPS
    least = passes * speed.step / decoder.batch_size
    return examples * (passes_seconds(parameters, tokens, speed) + least)


def passes_seconds(parameters: float, tokens: float, speed: Speed) -> float:
    """Seconds of passes over so many tokens, without steps: 2 operations a parameter and token."""
    return 2 * parameters * tokens / speed.operations


def trained_parameters(source: BackboneSource, training: Training) -> float:
    """Parameters that training changes, 0 where the backbone's number is not known."""
    share = ADAPTER_SHARE * training.lora.rank if training.lora else 1.0
    return share * source.parameters


def saved_bytes(source: BackboneSource, training: Training, on_gpu: bool) -> float:
    """Bytes of a fine-tuned model on disk: adapters, and all that is trained on a CPU, in fp32."""
    half = training.weights == "bf16" or (on_gpu and not training.lora)
    number = NUMBER_BYTES[training.precision if half else "fp32"]
    return number * trained_parameters(source, training)


def checkpoint_bytes(source: BackboneSource, training: Training) -> float:
    """Bytes of what lies beside a model while it trains: weights and AdamW's two moments."""
    number = NUMBER_BYTES[training.weights]
    return CHECKPOINTS * 3 * number * trained_parameters(source, training)


class Memory(NamedTuple):
    """GPU memory of a fine-tuning."""

    weights: float
    """Bytes of weights, gradients and AdamW's moments, adapters and frozen weights included."""
    per_parameter: int
    """Bytes per parameter, without those of adapters."""
    token_bytes: float
    """Bytes of activations per token."""
    tokens: int
    """Tokens that go through the model at a time, in the step of the longest examples."""

    @property
    def total(self) -> float:
        """Bytes in all."""
        return self.weights + self.token_bytes * self.tokens


def training_memory(source: BackboneSource, training: Training, items: int) -> Memory:
    """GPU memory of a fine-tuning on histories of at most so many items, with its peak in CFT."""
    per_parameter = TRAINED_BYTES[training.precision]
    if training.weights == "bf16":
        per_parameter = BF16_WEIGHTS_BYTES
    weights = per_parameter * trained_parameters(source, training)
    if training.lora:
        per_parameter = FROZEN_BYTES[training.precision]
        weights += per_parameter * source.parameters
    # A part of the step with its histories, and the whole step without them.
    share = training.batch_size // training.processes
    longest = min(LONGEST_STEP * own_tokens(items, training), training.max_tokens)
    tokens = min(training.micro_batch_size, share) * longest + PROMPT_TOKENS
    tokens += share * ANSWER_TOKENS
    reference, token_bytes, power = ACTIVATIONS
    token_bytes *= (source.parameters / reference) ** power
    token_bytes *= 2 if training.precision == "fp32" else 1
    return Memory(weights, per_parameter, token_bytes, round(tokens))
