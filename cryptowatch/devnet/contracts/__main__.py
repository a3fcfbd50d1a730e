"""`scripts/contracts [--check]`: compiles every contract of the package, or tells which artifacts are not of it.

Needs Vyper, which only developers have.
"""

import json
import sys
from pathlib import Path

from vyper.compiler import compile_code

from cryptowatch.devnet.ethereum.artifacts import FOLDERS


def compiled(source: Path) -> str:
    """The artifact's text; the compiler's version and the EVM's are in the source's pragmas."""
    outputs = ["abi", "bytecode", "bytecode_runtime"]
    built = compile_code(source.read_text(encoding="utf-8"), source, output_formats=outputs)
    artifact = {
        "contract": source.stem,
        "abi": built["abi"],
        "bytecode": built["bytecode"],
        # Without the immutable values, which the deployment appends.
        "runtime": built["bytecode_runtime"],
    }
    return json.dumps(artifact, indent=1) + "\n"


def main(words: list[str]) -> int:
    """The exit code."""
    different = []
    for source in sorted(path for folder in FOLDERS for path in folder.glob("*.vy")):
        artifact, text = source.with_suffix(".json"), compiled(source)
        if artifact.exists() and artifact.read_text(encoding="utf-8") == text:
            continue
        different.append(source.stem)
        if "--check" not in words:
            artifact.write_text(text, encoding="utf-8")
            print("compiled", source.stem)
    if different and "--check" in words:
        print("not compiled from their source, run scripts/contracts:", ", ".join(different))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
