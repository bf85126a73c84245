"""Prints the messages and the service of tritonclient's gRPC protocol as JSON, by full name."""

import json
import sys
from typing import Any

from tritonclient.grpc import model_config_pb2, service_pb2


def fields(message: Any) -> dict[str, Any]:
    """A message's fields, and those of the messages inside it."""
    facts = {
        field.name: [
            field.number,
            field.type,
            field.is_repeated,
            field.containing_oneof and field.containing_oneof.name,
        ]
        for field in message.fields
    }
    nested = {name: each for inner in message.nested_types for name, each in fields(inner).items()}
    return {message.full_name: facts, **nested}


def facts(*modules: Any) -> dict[str, Any]:
    """Everything that goes over the wire."""
    found: dict[str, Any] = {"messages": {}, "enums": {}, "methods": {}}
    for module in modules:
        for message in module.DESCRIPTOR.message_types_by_name.values():
            found["messages"] |= fields(message)
        for enum in module.DESCRIPTOR.enum_types_by_name.values():
            found["enums"][enum.full_name] = {value.name: value.number for value in enum.values}
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                types = method.input_type.full_name, method.output_type.full_name
                found["methods"][method.full_name] = [*types, method.client_streaming, method.server_streaming]
    return found


if __name__ == "__main__":
    json.dump(facts(service_pb2, model_config_pb2), sys.stdout)
