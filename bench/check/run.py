"""Judges the same histories with `quorate-check` and with Porcupine, and prints what each took.

Both run in process, reading not counted, on one thread; see README.md for what the numbers mean. Exit code 1: the two said
different things of one history.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# Porcupine may use so much, and then counts as not having ended.
MOST_MIB = 8192


def build(target, folder):
    subprocess.run(["cargo", "build", "--release", "--quiet", "--locked", "-p", "quorate-check", "--examples"],
                   cwd=ROOT, check=True)
    # Copies: a later build changes nothing under a run.
    return [shutil.copy(target / "release" / "examples" / name, folder) for name in ("generate", "measure")]


def porcupine(folder):
    """The program, or why there is none."""
    program = folder / "porcupine"
    try:
        done = subprocess.run(["go", "build", "-o", program, "."], cwd=HERE / "porcupine", capture_output=True, text=True)
    except OSError as error:
        return None, f"no Go: {error.strerror}"
    if done.returncode != 0:
        return None, "its module cannot be had: " + done.stderr.strip().splitlines()[-1]
    return program, ""


def told(command, files, seconds):
    """By file: microseconds and verdict. And the most memory in KiB."""
    limit = f"ulimit -v {MOST_MIB * 1024 * 2}; exec \"$@\""
    try:
        done = subprocess.run(["bash", "-c", limit, "bash", *map(str, command), *map(str, files)], capture_output=True,
                              text=True, timeout=len(files) * (seconds + 60) + 600)
        lines = done.stdout.splitlines()
    except subprocess.TimeoutExpired as error:
        lines = (error.stdout or b"").decode().splitlines()
    found, most = {}, 0
    for line in lines:
        words = line.split()
        if words[:1] == ["most_kib"]:
            most = int(words[1])
        elif len(words) == 3:
            found[words[0]] = (float(words[1]), words[2])
    return found, most


class Pair:
    def __init__(self, measure, porcupine, seconds):
        self.measure, self.porcupine, self.seconds, self.different = measure, porcupine, seconds, 0

    def run(self, title, files, rounds):
        files = [str(file) for file in files]
        ours, our_most = told([self.measure, rounds, self.seconds, MOST_MIB], files, self.seconds)
        print(f"{title}: {len(files)} files", flush=True)
        self.line("quorate", ours, our_most)
        if self.porcupine is None:
            return
        theirs, their_most = {}, 0
        # One process each, so that one that runs out of memory ends alone.
        for file in files:
            found, most = told([self.porcupine, rounds, self.seconds], [file], self.seconds)
            theirs |= found or {file: (self.seconds * 1e6, "died")}
            their_most = max(their_most, most)
        self.line("porcupine", theirs, their_most)
        both = [file for file in files if ours[file][1] != "unknown" and theirs[file][1] in ("holds", "violated")]
        for file in both:
            if ours[file][1] != theirs[file][1]:
                self.different += 1
                print(f"  DIFFERENT: {file}: quorate {ours[file][1]}, porcupine {theirs[file][1]}")
        if both:
            ratios = sorted(theirs[file][0] / ours[file][0] for file in both)
            total = sum(theirs[file][0] for file in both) / sum(ours[file][0] for file in both)
            print(f"  of the {len(both)} that both decided: sum {total:.1f}x, least {ratios[0]:.1f}x, "
                  f"median {ratios[len(ratios) // 2]:.1f}x")
        alone = sum(ours[file][1] != "unknown" and theirs[file][1] not in ("holds", "violated") for file in files)
        print(f"  decided by quorate alone: {alone}")
        if our_most and their_most:
            print(f"  most memory: porcupine {their_most / our_most:.1f}x")

    def line(self, name, found, most):
        times = sorted(time for time, _ in found.values()) or [0]
        words = [word for _, word in found.values()]
        verdicts = ", ".join(f"{words.count(word)} {word}" for word in sorted(set(words)))
        print(f"  {name:<10} sum {sum(times) / 1e3:.1f} ms, slowest {times[-1] / 1e3:.1f} ms, {most / 1024:.0f} MiB; "
              f"{verdicts}", flush=True)


def generated(generate, folder, name, seeds, operations, clients, values, info, bad=False):
    files = []
    for seed in seeds:
        path = folder / f"{name}-{seed}.log"
        words = [generate, seed, operations, clients, values, info] + (["bad"] if bad else [])
        with open(path, "w") as out:
            subprocess.run([str(word) for word in words], stdout=out, check=True)
        files.append(path)
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--etcd", type=pathlib.Path, help="a folder of recorded runs of a compare-and-set register")
    parser.add_argument("--rounds", type=int, default=11, help="the median of so many is taken")
    parser.add_argument("--seconds", type=int, default=60, help="a search may take so long")
    parser.add_argument("--quick", action="store_true", help="compare verdicts on small histories only")
    args = parser.parse_args()
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        generate, measure = build(target, folder)
        program, why = porcupine(folder)
        if program is None:
            print(f"Porcupine does not take part: {why}")
        pair = Pair(measure, program, args.seconds)
        if args.etcd:
            pair.run("recorded runs", sorted(args.etcd.glob("*.log")), args.rounds)
        for bad in (False, True):
            small = generated(generate, folder, f"small-{bad}", range(1, 41), 60, 6, 3, 60, bad)
            pair.run(f"60 operations, 6 clients, 3 values, 6 % lost{', one wrong' if bad else ''}", small, 3)
        if not args.quick:
            def make(name, seeds, *shape):
                return generated(generate, folder, name, seeds, *shape)
            pair.run("10,000 operations, 8 clients, 50 values, nothing lost",
                     make("10k-8", range(1, 6), 10_000, 8, 50, 0), min(args.rounds, 3))
            pair.run("10,000 operations, 32 clients, 1000 values, nothing lost",
                     make("10k-32", range(1, 6), 10_000, 32, 1000, 0), min(args.rounds, 3))
            pair.run("10,000 operations, 32 clients, 5 values, 1 % lost",
                     make("hard", range(1, 23), 10_000, 32, 5, 10), 1)
            pair.run("100,000 operations, 8 clients, 50 values, nothing lost",
                     make("100k-8", range(1, 3), 100_000, 8, 50, 0), 1)
            pair.run("100,000 operations, 32 clients, 5 values, 1 % lost",
                     make("100k", range(1, 2), 100_000, 32, 5, 10), 1)
        sys.exit(1 if pair.different else 0)


if __name__ == "__main__":
    main()
