//! What can be decided at which cost: the table of `--explain`.

use crate::report::say;

/// A row: what, which level, what must be, by what, at which cost, and whether the answer is complete.
const ROWS: [[&str; 6]; 17] = [
    ["register", "linearizable", "values written once", "zones (Gibbons, Korach 1997)", "n log n", "yes"],
    [
        "cas-register",
        "linearizable",
        "new values once, no failed cas",
        "zones over chains of cas",
        "n log n",
        "yes",
    ],
    ["queue", "linearizable", "values once", "intervals (arXiv 2509.17795)", "n log n", "yes"],
    ["multiset", "linearizable", "values once", "intervals (arXiv 2509.17795)", "n", "yes"],
    ["stack", "linearizable", "values once", "intervals (arXiv 2509.17795)", "n^2", "yes"],
    [
        "set, priority-queue",
        "linearizable",
        "values once",
        "decrease and conquer (arXiv 2410.04581)",
        "n log n",
        "yes",
    ],
    ["any", "linearizable", "-", "Wing-Gong-Lowe search with windows", "NP-complete", "or unknown"],
    ["any", "sequential", "-", "search over positions; k sessions: n^k", "NP-complete", "or unknown"],
    [
        "register, kv",
        "causal, causal-convergence",
        "values once",
        "bad patterns (arXiv 1611.00580)",
        "n k",
        "yes",
    ],
    [
        "register, kv",
        "causal-memory, pram",
        "values once",
        "the same, a fixpoint a session",
        "polynomial",
        "yes",
    ],
    [
        "register, kv",
        "session guarantees",
        "values once",
        "order of writes (Terry et al. 1994)",
        "n log n",
        "yes",
    ],
    ["register, kv", "convergence", "values once", "comparison of the last reads", "n", "yes"],
    ["register, kv", "causal levels", "values repeat", "none here", "NP-complete", "unsupported"],
    ["queue, set, counter, ...", "causal levels", "-", "none known", "unknown", "unsupported"],
    ["register", "staleness in seconds", "values once", "zones, shifted", "n log n log t", "yes"],
    ["register", "staleness in versions", "order by `version`", "counting", "n log n", "yes"],
    [
        "register",
        "staleness in versions",
        "no order given",
        "bounds from both sides",
        "n log n",
        "[least, most]",
    ],
];

const HEAD: [&str; 6] = ["model", "level", "if", "by", "cost", "complete"];

/// Prints the table.
pub(super) fn print() {
    let all = || std::iter::once(&HEAD).chain(&ROWS);
    let widths: Vec<usize> =
        (0..HEAD.len()).map(|column| all().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    for row in all() {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        say(cells.join("  ").trim_end());
    }
    say("");
    say(
        "n operations, k sessions. The algorithm is chosen by looking at the history; the verdict names it. NP-complete",
    );
    say(
        "ones end in `unknown` when --time or --memory is spent. Only linearizability is decided key by key.",
    );
}
