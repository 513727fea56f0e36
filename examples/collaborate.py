"""Workers solve a problem together, and one worker alone, at the same budgets of sequential forwards.

Runs as it is, on a CPU, with the demo model; it is too small to reason, so take a larger one to see the method work:

    python examples/collaborate.py --model Qwen/Qwen3-8B --workers 2 --budgets 256 512 1024
"""

from __future__ import annotations

import argparse

import hogwild

PROBLEM = "Calculate 10 + 7 and 30 + 2. Then add the two results."


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("problem", nargs="?", default=PROBLEM)
    parser.add_argument("--model", default="demo", help='"demo", a Hugging Face id, or a local folder')
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--budgets", type=int, nargs="+", default=[16, 32], metavar="FORWARDS")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    engine = hogwild.Engine.from_pretrained(options.model)
    methods = ["sequential", f"hogwild:{options.workers}"]
    runs = [
        engine.method(method, options.problem, budgets=options.budgets, seed=options.seed)
        for method in methods
    ]

    # Both at once, in shared forwards. Every event comes with the run that it belongs to.
    for run, event in engine.run(runs):
        if event.type == "step":
            print(f"{event.worker} [{event.index}] {event.text}\n")
        elif event.type == "answer":
            print(f"{run.name}: {event.worker} answers {event.text} after {run.forwards} forwards\n")

    print(f"{'forwards':>10}" + "".join(f"{method:>24}" for method in methods))
    for answers in zip(*(run.answers for run in runs), strict=True):
        cells = (f"{a.answer} ({'given' if a.given else 'asked for'})" for a in answers)
        print(f"{answers[0].budget:>10}" + "".join(f"{cell:>24}" for cell in cells))


if __name__ == "__main__":
    main()
