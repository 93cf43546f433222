"""Pack autograder.zip as Gradescope wants it: setup.sh and run_autograder at its top, the suite below, no solutions."""

import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parent.parent


def pack(target):
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in (HERE / "setup.sh", HERE / "run_autograder"):
            archive.write(path, path.name)
        for path in sorted(HERE.parent.glob("*.py")):
            archive.write(path, path.relative_to(PROJECT))


if __name__ == "__main__":
    pack(sys.argv[1])
    print(f"{sys.argv[1]}: upload it as the autograder of a programming assignment")
