from pathlib import Path

import pytest

from serving.protos import generate


def test_the_modules_in_the_tree_are_those_that_the_proto_files_give(tmp_path: Path) -> None:
    written = {path.name: path.read_text() for path in generate.generate(tmp_path)}
    in_tree = {path.name: path.read_text() for path in generate.FOLDER.glob("*_pb2.py*")}
    assert written.keys() == in_tree.keys()
    for name, content in written.items():
        assert in_tree[name] == content, f"{name} is stale: run python -m serving.protos.generate"


def test_no_module_registers_in_the_default_pool() -> None:
    for module in generate.FOLDER.glob("*_pb2.py"):
        assert "descriptor_pool.Default()" not in module.read_text(), module


def test_generated_code_of_another_form_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"Received: 0 times in model_pb2\.py.*adapt serving/protos/generate\.py"):
        generate.use_own_pool("import nothing", "model_pb2.py")
