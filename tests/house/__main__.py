"""`make house`: how the code is laid out, counted. Fails where a limit is passed; `--write` renews ARCHITECTURE.md's table."""

import argparse
import sys
from pathlib import Path

from tests.house import size
from tests.house.drawing import PAGE
from tests.house.imports import PACKAGES, ROOT, House
from tests.house.limits import broken

BEGIN, END = "<!-- made by `make house ARGS=--write` -->\n", "\n<!-- end -->"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.house", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the table of files and lines into ARCHITECTURE.md")
    arguments = parser.parse_args()
    house = House.read()
    for package in PACKAGES:
        names = house.root_modules(package)
        print(f"root modules of {package + '/':12} {len(names):2}  {' '.join(names)}")
    print(f"circles of files            {len(house.circles()):2}  {house.circles() or ''}")
    print(f"mutual pairs of packages    {len(house.mutual()):2}  {house.mutual() or ''}")
    print(f"upward imports              {len(house.upward()):2}  {house.upward() or ''}")
    print(f"modules, imports            {len(house.modules)}, {len(house.arrows)}\n")
    table = size.table()
    print(table)
    if arguments.write:
        write(PAGE, table)
        print(f"written to {PAGE.relative_to(ROOT)}")
    faults = broken(house)
    print(*faults, sep="\n", file=sys.stderr, end="\n" if faults else "")
    return 1 if faults else 0


def write(page: Path, table: str) -> None:
    """Put the table in the place of the one that stands in the page."""
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    page.write_text(before + BEGIN + table + END + rest.partition(END)[2], "utf-8")


if __name__ == "__main__":
    sys.exit(main())
