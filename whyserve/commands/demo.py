"""`whyserve demo`."""

from pathlib import Path

import click

from whyserve.command import Command
from whyserve.output import progress

EXAMPLES = ("whyserve demo", "whyserve demo --keep-serving")


@click.command("demo", cls=Command, examples=EXAMPLES)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Everything it makes lies here.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the training set.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the training.")
@click.option("--keep-serving", is_flag=True, help="Leave the server up until Ctrl-C.")
def command(*, out: Path, epochs: int | None, seed: int, keep_serving: bool) -> None:
    """See all of it work on real data, in about a minute.

    Trains a convolutional network on scikit-learn's handwritten digits, exports and verifies a bundle, starts the
    server, asks it over REST and gRPC for predictions and their reasons, draws them and stops the server.
    """
    from whyserve.demo import EPOCHS, Demo

    Demo(out, say=progress, epochs=epochs or EPOCHS, seed=seed).run(keep_serving=keep_serving)
