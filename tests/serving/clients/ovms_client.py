"""Asks servers with OpenVINO's ovmsclient, unmodified; prints what came as JSON.

Run by the interpreter of the clients' environment with a REST and a gRPC address for each server.
"""

import json
import sys
from typing import Any

import numpy as np
from ovmsclient import make_grpc_client, make_http_client
from ovmsclient.tfs_compat.base.errors import ModelServerError

X = np.array([[1, 2, 3, 4], [0, 0, -1, 1]], np.float32)


def ask(client: Any) -> dict[str, Any]:
    """Status, metadata and predictions: of the newest version, of one, and of a model that nobody serves."""
    answers = {
        "status": client.get_model_status("dense"),
        "status 1": client.get_model_status("dense", 1),
        "metadata": client.get_model_metadata("dense"),
        "predict": client.predict({"x": X}, "dense").tolist(),
        "predict 1": client.predict({"x": X}, "dense", 1).tolist(),
        "texts": [
            one if isinstance(one, str) else one.decode() for one in client.predict({"text": ["a", "bc"]}, "echo")
        ],
    }
    for name, version in (("nobody", 0), ("dense", 3)):
        try:
            client.predict({"x": X}, name, version)
        except ModelServerError as error:
            answers[f"{name} {version}"] = str(error)
    return answers


if __name__ == "__main__":
    servers = zip(sys.argv[1::2], sys.argv[2::2], strict=True)
    answers = [{"http": ask(make_http_client(http)), "grpc": ask(make_grpc_client(grpc))} for http, grpc in servers]
    json.dump(answers, sys.stdout)
