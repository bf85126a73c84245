"""`whyserve predict`."""

import click

from whyserve.asking import Question, asked, percent, question_options, readings, where
from whyserve.command import Command
from whyserve.output import json_option, print_json, print_table

EXAMPLES = (
    "whyserve predict digits --input digit.png --pixel-max 16",
    "whyserve predict digits --input examples.npz --url grpc://localhost:8500",
    "whyserve predict digits --input rows.csv --bundle models_repo/digits/1 --json",
)


@click.command("predict", cls=Command, examples=EXAMPLES)
@question_options
@json_option
def command(question: Question, as_json: bool) -> None:
    """Ask a model for predictions: a running server, or with --bundle a bundle without one.

    NAME is the model's name on the server.
    """
    with asked(question) as (client, description, examples):
        answer = client.predict(examples.inputs)
        if as_json:
            return print_json({"model": answer.model, "version": answer.version, "outputs": answer.outputs})
        rows = [
            (number, reading.label, percent(reading.probability), examples.labels[number] if examples.labels else None)
            for number, reading in enumerate(readings(answer, description.class_labels))
        ]
        print_table(where(client, answer), [">#", "prediction", ">probability", "true"], rows)
    return None
