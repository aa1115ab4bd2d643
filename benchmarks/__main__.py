"""Runs benchmarks: `python -m benchmarks [--quick] [NAME…]`, which is `make bench`.

Prints a table, writes `build/bench.json`, exits 1 when a bound is broken.
"""

import argparse
import dataclasses
import importlib
import json
import pathlib
import platform
import sys

from benchmarks.result import Result

HERE = pathlib.Path(__file__).parent
OUTPUT = HERE.parent / "build" / "bench.json"


def names() -> list[str]:
    """All benchmarks, by the part of their module's name after `bench_`."""
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def run(name: str, *, quick: bool) -> list[Result]:
    """Run one benchmark and print its table."""
    module = importlib.import_module(f"benchmarks.bench_{name}")
    sys.stdout.write(f"\n{(module.__doc__ or name).strip().splitlines()[0]}\n")
    results: list[Result] = module.measure(quick=quick)
    for result in results:
        verdict = "" if not result.bound else f"  {result.bound}: {'holds' if result.holds else 'BROKEN'}"
        sys.stdout.write(f"  {result.name:<60}{result.value:>12,.4g} {result.unit}{verdict}\n")
    sys.stdout.flush()
    return results


def main() -> int:
    """Run what was asked for; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *names()], help=f"one of: {', '.join(names())}")
    parser.add_argument("--quick", action="store_true", help="small numbers: whether it runs, not how fast")
    arguments = parser.parse_args()
    answers = {name: run(name, quick=arguments.quick) for name in arguments.names or names()}
    OUTPUT.parent.mkdir(exist_ok=True)
    document = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "quick": arguments.quick,
        "benchmarks": {name: [{**dataclasses.asdict(r), "holds": r.holds} for r in results] for name, results in answers.items()},
    }
    OUTPUT.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return 0 if all(result.holds for results in answers.values() for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
