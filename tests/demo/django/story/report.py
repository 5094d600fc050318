"""Checks that are counted, and tables that can be read."""

import textwrap

WIDTH = 110


class Report:
    """Prints the story and keeps the score."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed: list[str] = []

    def check(self, what: str, found, expected) -> None:
        """One expectation; a failure is printed with both values and the story goes on."""
        if found == expected:
            self.passed += 1
            print(f"  ok      {what}")
        else:
            self.failed.append(what)
            print(f"  FAILED  {what}\n          expected {expected!r}\n          found    {found!r}")

    def chapter(self, title: str) -> None:
        print(f"\n== {title}")

    def table(self, heads: list[str], rows: list[tuple]) -> None:
        """Plain columns; the last one is wrapped to keep the line within WIDTH."""
        cells = [[str("" if cell is None else cell) for cell in row] for row in rows]
        widths = [max(len(row[i]) for row in [heads, *cells]) for i in range(len(heads) - 1)]
        rest = WIDTH - 2 - sum(width + 2 for width in widths)
        for row in [heads, ["-" * width for width in widths] + ["-" * len(heads[-1])], *cells]:
            for n, line in enumerate(textwrap.wrap(row[-1], rest) or [""]):
                lead = row[:-1] if n == 0 else [""] * len(widths)
                print("  " + "".join(f"{cell:<{width}}  " for cell, width in zip(lead, widths, strict=True)) + line)

    def close(self) -> int:
        """The last line and the exit status."""
        print()
        for what in self.failed:
            print(f"FAILED  {what}")
        print(f"{self.passed} checks passed" + (f", {len(self.failed)} failed" if self.failed else ""))
        return 1 if self.failed else 0
