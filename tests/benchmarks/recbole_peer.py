"""RecBole's side of `tests.benchmarks.recbole`, run by the Python of RecBole's own environment.

Takes the arguments of `train_and_test` as JSON, and prints what it returns as the last line.
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile
import time
from typing import Any

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed


def train_and_test(
    folder: str, dataset: str, model: str, threads: int, options: dict[str, Any]
) -> dict[str, Any]:
    """Train one model with early stopping and measure it, with RecBole's defaults but for options.

    Args:
        folder: where the folder `dataset` lies, with its files of the three splits.
        dataset: name of the folder and of the files.
        model: RecBole's name.
        threads: of torch.
        options: RecBole's settings.

    Returns:
        Metrics, and the wall and CPU seconds of every training epoch.
    """
    torch.set_num_threads(threads)
    # RecBole 1.2.1 was made for a torch that loads whole objects; the file is its own checkpoint.
    torch.load = functools.partial(torch.load, weights_only=False)
    fixed = {
        "data_path": folder,
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {"inter": ["user_id", "item_id_list", "item_id"]},
        "alias_of_item_id": ["item_id_list"],
        "train_neg_sample_args": None,
        "eval_args": {"split": None, "order": "TO", "mode": "full", "group_by": "user"},
        "metrics": ["Hit", "NDCG"],
        "topk": [10],
        "valid_metric": "NDCG@10",
        "metric_decimal_place": 6,
        "eval_batch_size": 4096,
        "checkpoint_dir": tempfile.mkdtemp(dir=folder),
        "show_progress": False,
        "use_gpu": False,
        "worker": 0,
    }
    config = Config(model=model, dataset=dataset, config_dict=fixed | options)
    init_seed(config["seed"], config["reproducibility"])
    train, valid, test = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], config["reproducibility"])
    network = get_model(model)(config, train._dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)

    epochs: list[tuple[float, float]] = []
    one_epoch = trainer._train_epoch

    def timed(*args: Any, **kwargs: Any) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        loss = one_epoch(*args, **kwargs)
        epochs.append((time.perf_counter() - wall, time.process_time() - cpu))
        return loss

    def tell(epoch: int, score: float) -> None:
        print(f"epoch {epoch + 1}: NDCG@10 {score:.4f}", file=sys.stderr, flush=True)

    trainer._train_epoch = timed
    best, _ = trainer.fit(train, valid, verbose=False, callback_fn=tell)
    found = trainer.evaluate(test, load_best_model=True)
    return {
        "validation": float(best),
        "hr": float(found["hit@10"]),
        "ndcg": float(found["ndcg@10"]),
        "epochs": epochs,
    }


if __name__ == "__main__":
    # RecBole reads the command line, too.
    arguments = sys.argv.pop()
    print(json.dumps(train_and_test(**json.loads(arguments))))
