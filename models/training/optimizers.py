"""The optimizer with its schedule, clipping and weight decay."""

from typing import Any

import keras

from models.training.config import TrainingConfig


def build_optimizer(config: TrainingConfig, steps_per_epoch: int) -> Any:
    """The optimizer that `config` asks for.

    Weight decay is decoupled from the gradient (Loshchilov and Hutter 2019, arXiv 1711.05101) for every optimizer, and
    leaves biases and batch normalisation alone. Clipping is by the norm of all gradients together (Pascanu et al. 2013,
    arXiv 1211.5063), so that their direction is kept.

    Args:
        config: Which optimizer, and its options.
        steps_per_epoch: Batches in one epoch; the schedule counts steps.
    """
    common: dict[str, Any] = {
        "learning_rate": learning_rate(config, steps_per_epoch),
        "weight_decay": config.decay or None,
        "global_clipnorm": config.clip_norm,
    }
    builders = {
        "sgd": lambda: keras.optimizers.SGD(momentum=config.momentum, nesterov=config.momentum > 0, **common),
        "adam": lambda: keras.optimizers.Adam(**common),
        "adamw": lambda: keras.optimizers.AdamW(**{**common, "weight_decay": config.decay}),
        "lion": lambda: keras.optimizers.Lion(**common),
    }
    optimizer = builders[config.optimizer]()
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def learning_rate(config: TrainingConfig, steps_per_epoch: int) -> Any:
    """A number, or a schedule: linear warm-up to the peak, then constant or down to 0 along half a cosine.

    Cosine: Loshchilov and Hutter 2017 (arXiv 1608.03983, eq. 5) without restarts; warm-up: Goyal et al. 2017 (arXiv
    1706.02677, section 2.2).
    """
    warmup_steps = min(round(config.warmup_epochs * steps_per_epoch), config.epochs * steps_per_epoch - 1)
    peak = config.peak_learning_rate
    if config.schedule == "constant" and warmup_steps == 0:
        return peak
    return keras.optimizers.schedules.CosineDecay(
        # Step s of w has (s + 1) / (w + 1) of the peak: starting at 0 would waste the first step.
        initial_learning_rate=peak / (warmup_steps + 1) if warmup_steps else peak,
        decay_steps=config.epochs * steps_per_epoch - warmup_steps,
        alpha=1.0 if config.schedule == "constant" else 0.0,  # the share of the peak at which the cosine ends
        warmup_target=peak if warmup_steps else None,
        warmup_steps=warmup_steps,
    )
