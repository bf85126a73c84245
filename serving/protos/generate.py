"""Generates the `_pb2` modules beside the `.proto` files: `python -m serving.protos.generate`."""

import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent

# What protoc writes, and what stands there instead: see serving/protos/pool.py.
DEFAULT_POOL = "DESCRIPTOR = _descriptor_pool.Default().AddSerializedFile("
OWN_POOL = "DESCRIPTOR = _descriptor_pool.AddSerializedFile("
POOL_IMPORT = "from google.protobuf import descriptor_pool as _descriptor_pool\n"
OWN_POOL_IMPORT = "from serving.protos.pool import POOL as _descriptor_pool\n"
# protoc writes `Mapping` without its types, which our strict mypy refuses.
STUB_HEADER = "# mypy: ignore-errors\n"


def generate(destination: Path) -> list[Path]:
    """Compiles every `.proto` file of this package.

    Args:
        destination: The folder that receives `serving/protos/*_pb2.py` and `*_pb2.pyi`.

    Returns:
        The files written.

    Raises:
        RuntimeError: protoc refused a file (it says why on standard error), or writes code of a form unknown here.
    """
    protos = sorted(str(path.relative_to(ROOT)) for path in FOLDER.glob("*.proto"))
    well_known = resources.files("grpc_tools") / "_proto"
    options = [f"-I{ROOT}", f"-I{well_known}", f"--python_out={destination}", f"--pyi_out={destination}"]
    # In a process of its own: the compiler is native code that crashes beside TensorFlow's copy of protobuf.
    if subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options, *protos], check=False).returncode != 0:
        raise RuntimeError("protoc refused a .proto file: its message is above. Mend the file and run again.")
    folder = destination / "serving" / "protos"
    for module in folder.glob("*_pb2.py"):
        module.write_text(use_own_pool(module.read_text(encoding="utf-8"), module.name), encoding="utf-8")
    for stub in folder.glob("*_pb2.pyi"):
        stub.write_text(STUB_HEADER + stub.read_text(encoding="utf-8"), encoding="utf-8")
    return sorted(folder.glob("*_pb2.py*"))


def use_own_pool(source: str, name: str) -> str:
    """Lets a generated module register in our pool instead of protobuf's default one.

    Args:
        source: What protoc wrote.
        name: The module's file name, for the error.

    Raises:
        RuntimeError: The code has another form than the one known here.
    """
    for old in (DEFAULT_POOL, POOL_IMPORT):
        if source.count(old) != 1:
            raise RuntimeError(
                f"Expected {old!r} once in what protoc wrote. Received: {source.count(old)} times in {name}. "
                "The form of generated code has changed: adapt serving/protos/generate.py."
            )
    return source.replace(DEFAULT_POOL, OWN_POOL).replace(POOL_IMPORT, OWN_POOL_IMPORT)


def main() -> int:
    """Writes the modules into the source tree and removes those without a `.proto` file."""
    with tempfile.TemporaryDirectory() as scratch:
        written = {path.name: path.read_bytes() for path in generate(Path(scratch))}
    for stale in {path.name for path in FOLDER.glob("*_pb2.py*")} - written.keys():
        (FOLDER / stale).unlink()
    for name, content in written.items():
        (FOLDER / name).write_bytes(content)
    sys.stdout.write(f"{len(written)} files written to {FOLDER}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
