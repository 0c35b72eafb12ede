#!/usr/bin/env python3
"""Is the budget of `quorate check` kept? Histories that are hard to judge, under limits of time and memory.

    bench/check/budget.py target/release/quorate [SECONDS] [MIB]

Each run must end as "unknown" (or with its verdict), within 5 % of its time, and with no more memory than its limit and what the
program takes for the same history under the smallest limit. Prints a line a run; exit code 1 if a limit was not kept."""
import os
import random
import subprocess
import sys
import tempfile
import time

# What the system may add to a run that is over, in seconds: a process ends, memory is given back.
END = 0.1


def rounds(put, get, width, count, values, seed):
    """Rounds of operations that are all concurrent, of few values; at last something that was never there is taken."""
    rng, lines = random.Random(seed), []
    for _ in range(count):
        asked = [(p, put, str(rng.randrange(values))) for p in range(width // 2)]
        asked += [(p, get, "nil") for p in range(width // 2, width)]
        given = [value for _, f, value in asked if f == put]
        rng.shuffle(asked)
        rng.shuffle(given)
        lines += [f"{p} :invoke :{f} {value}" for p, f, value in asked]
        rng.shuffle(asked)
        lines += [f"{p} :ok :{f} {value if f == put else given.pop()}" for p, f, value in asked]
    return "\n".join(lines + [f"0 :invoke :{get} nil", f"0 :ok :{get} 9"])


def sums(width):
    """Concurrent additions of different amounts, and a sum that they do not give."""
    lines = [f"{p} :invoke :add {2 << p}" for p in range(width)] + [f"{width} :invoke :read nil", f"{width} :ok :read 1"]
    return "\n".join(lines + [f"{p} :ok :add {2 << p}" for p in range(width)])


CASES = [
    ("queue", rounds("enqueue", "dequeue", 30, 66, 3, 1), ["--model", "queue"]),
    ("stack", rounds("push", "pop", 30, 66, 3, 1), ["--model", "stack"]),
    ("counter", sums(40), ["--model", "counter"]),
    ("queue, sequential", rounds("enqueue", "dequeue", 30, 66, 3, 2), ["--model", "queue", "--level", "sequential"]),
    ("register, sequential", rounds("write", "read", 40, 100, 4, 1), ["--model", "register", "--level", "sequential"]),
    ("register, all levels", rounds("write", "read", 40, 100, 4, 1), ["--model", "register", "--level", "all"]),
]


def run(binary, file, args):
    """Exit code, seconds, the most memory in MiB, the first line."""
    began = time.time()
    child = subprocess.Popen([binary, "check", file, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    return os.waitstatus_to_exitcode(status), time.time() - began, used.ru_maxrss / 1024, (said.splitlines() or [""])[0]


def main():
    binary = sys.argv[1]
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 3.0
    mib = int(sys.argv[3]) if len(sys.argv) > 3 else 256
    kept = True
    with tempfile.TemporaryDirectory() as folder:
        for name, text, args in CASES:
            file = os.path.join(folder, "history.log")
            with open(file, "w") as out:
                out.write(text + "\n")
            _, _, base, _ = run(binary, file, [*args, "--memory", "1", "--time", "60"])
            code, took, _, said = run(binary, file, [*args, "--memory", "100000", "--time", str(seconds)])
            fine = code != 2 or took <= seconds * 1.05 + END
            print(f"{name:22} time {seconds:5.1f} s: exit {code}, {took:6.2f} s{'' if fine else '  NOT KEPT'}  {said[-60:]}")
            kept &= fine
            code, took, most, said = run(binary, file, [*args, "--memory", str(mib), "--time", "120"])
            fine = most - base <= mib * 1.05
            print(f"{name:22} memory {mib} MiB: exit {code}, {most - base:6.1f} MiB beside {base:.1f}, {took:.1f} s"
                  f"{'' if fine else '  NOT KEPT'}  {said[-60:]}", flush=True)
            kept &= fine
    sys.exit(0 if kept else 1)


main()
