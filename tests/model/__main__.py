"""Print what is explored: ``python -m tests.model [--without RULE]``."""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor

from tests.model.rules import ROOMS, RULES, run, title


def main() -> int:
    """Explore and print; 1 if something is not as it must be."""
    parser = argparse.ArgumentParser(description="The rules of arrival, slots and empty, explored.")
    parser.add_argument("--without", metavar="RULE", choices=list(RULES), help=", ".join(RULES))
    if rule := parser.parse_args().without:
        world, room, says = RULES[rule]
        found = run(world, room, frozenset({rule}))
        print(f"Without '{rule}' ({says}).\nIn {world}: {title(world, room)}.\n")
        print("\n".join(f"{number:3}. {label}" for number, label in enumerate(found.trace, 1)))
        print(f"\n{found.harm or 'No harm was found'} ({found.states} states explored).")
        return int(not found.harm)
    tasks = [(world, room, frozenset()) for world, rooms in ROOMS.items() for room in rooms]
    tasks += [(world, room, frozenset({rule})) for rule, (world, room, _) in RULES.items()]
    bad = 0
    print(f"{'all rules on, or without one':78} {'states':>7}  result")
    with ProcessPoolExecutor() as pool:
        results = pool.map(run, *zip(*tasks, strict=True))
        for (world, room, off), found in zip(tasks, results, strict=True):
            rule = next(iter(off), "")
            what = f"without {rule}: {RULES[rule][2]}" if rule else f"{world}: {title(world, room)}"
            harm = f"{found.harm} ({len(found.trace)} steps)" if found.harm else "holds"
            bad += bool(found.harm) != bool(rule)
            print(f"{what[:78]:78} {found.states:7}  {harm}", flush=True)
    print(f"{bad} not as it must be." if bad else "As it must be.")
    return min(bad, 1)


if __name__ == "__main__":
    raise SystemExit(main())
