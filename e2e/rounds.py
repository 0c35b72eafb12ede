#!/usr/bin/env python3
"""Rounds of kill, pause, partition (one-way among them), bad and slow disk, power loss, hand-over and change of members.

Each round is one fault of `quorate verify`, seen to have had an effect, on real nodes under real clients that are judged:
nothing lost, nothing twice (register, set, ids, bank, append), the watch contract kept (watch), leases neither short nor for
ever (lease), locks exclusive where fenced (lock-fenced). Rounds come in slices, each a run of its own with its own cluster,
in turns of three and five nodes. A slice that held is written down in the state directory, and not run again: the command can be
interrupted and repeated. One that did not hold keeps its report, and ends the command with 1.

    e2e/rounds.py --rounds 500 --binary target/faults/release/quorate --state target/rounds

The binary needs the feature `faults`: no other loses what was not flushed. A seed gives the same plan, not the same run.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys

# What is broken; the clock is not, since leases are as long as it says.
NEMESES = ["kill", "pause", "partition", "disk", "power-loss", "members", "transfer"]
# What clients do, slice by slice: all of it at once is more than a small machine runs.
WORKLOADS = [
    ["register", "set", "watch", "lock-fenced"],
    ["bank", "append", "ids", "watch", "lock-fenced"],
    ["register", "lease", "watch", "lock-fenced"],
]
# What must have been among the rounds once they are many, by the nemesis and words of its faults.
KINDS = {
    "a node killed": ("kill", ""),
    "a node or a client paused": ("pause", ""),
    "a one-way partition": ("partition", "one way"),
    "a slow disk": ("disk", "ms more"),
    "a disk that fails or is full": ("disk", ": a sync fails|: no room"),
    "power loss": ("power-loss", ""),
    "power loss of all nodes at once": ("power-loss", "all nodes"),
    "a member replaced": ("members", ""),
    "a learner promoted": ("members", "learner"),
    "a leader handed over": ("transfer", ""),
}
MANY = 200


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--binary", required=True, help="quorate, built with the feature faults")
    parser.add_argument("--state", required=True, metavar="DIR", help="what has held so far, and reports of what has not")
    parser.add_argument("--seed", type=int, default=1, help="of the first slice; the next have the next")
    parser.add_argument("--time", default="150s", help="of a slice: about 25 rounds")
    parser.add_argument("--clients", type=int, default=3, help="of each workload")
    parser.add_argument("--rate", type=int, default=15, help="operations a second and client")
    return parser.parse_args()


def is_kind(fault, kind):
    nemesis, words = KINDS[kind]
    return fault["nemesis"] == nemesis and any(word in fault["what"] for word in words.split("|"))


def run_slice(options, number):
    """One run; its summary, and its exit code."""
    report = os.path.join(options.state, f"slice-{number}")
    shutil.rmtree(report, ignore_errors=True)
    command = [options.binary, "verify", "--workload", ",".join(WORKLOADS[number % len(WORKLOADS)]),
               "--nemesis", ",".join(NEMESES), "--nodes", "5" if number % 2 else "3", "--time", options.time,
               "--seed", str(options.seed + number), "--clients", str(options.clients), "--rate", str(options.rate),
               "--report", report]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        with open(os.path.join(report, "summary.json"), encoding="utf-8") as file:
            summary = json.load(file)
    except (OSError, ValueError):
        summary = None
    if said.returncode != 0 or summary is None:
        print(said.stdout + said.stderr, file=sys.stderr)
        print(f"rounds: slice {number} did not hold (exit code {said.returncode}); its report is in {report}; the same "
              f"plan again: {' '.join(command[:-2])}", file=sys.stderr)
        sys.exit(1)
    shutil.rmtree(report, ignore_errors=True)
    return summary


def told(summary):
    """What of a slice is written down."""
    seen = [fault for fault in summary["faults"] if fault["effect"] > 0]
    return {
        "rounds": len(seen),
        "kinds": {kind: sum(is_kind(fault, kind) for fault in seen) for kind in KINDS},
        "operations": sum(tally["ok"] for tally in summary["tallies"].values()),
        "leaders": summary["leader_changes"],
    }


def main():
    options = arguments()
    options.binary, options.state = os.path.abspath(options.binary), os.path.abspath(options.state)
    os.makedirs(options.state, exist_ok=True)
    book = os.path.join(options.state, "held.json")
    held = []
    if os.path.exists(book):
        with open(book, encoding="utf-8") as file:
            held = json.load(file)
    while sum(each["rounds"] for each in held) < options.rounds:
        held.append(told(run_slice(options, len(held))))
        with open(book + ".new", "w", encoding="utf-8") as file:
            json.dump(held, file, indent=1)
        os.replace(book + ".new", book)
        done = sum(each["rounds"] for each in held)
        print(f"rounds: slice {len(held) - 1} held: {held[-1]['rounds']} rounds, {held[-1]['operations']} operations "
              f"confirmed, {held[-1]['leaders']} changes of leaders; {done} of {options.rounds} rounds so far", flush=True)
    rounds = sum(each["rounds"] for each in held)
    kinds = {kind: sum(each["kinds"][kind] for each in held) for kind in KINDS}
    print(f"rounds: {rounds} rounds in {len(held)} slices held: " + ", ".join(f"{n} x {kind}" for kind, n in kinds.items()))
    never = [kind for kind, count in kinds.items() if count == 0]
    if rounds >= MANY and never:
        print(f"rounds: FAILED: never among them: {', '.join(never)}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
