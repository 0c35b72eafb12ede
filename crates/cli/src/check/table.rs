//! What can be decided at which cost: the table of `--explain`.

use crate::report::say;

/// A line a row: model, level, what must be, by what, at which cost, and whether the answer is complete.
const TABLE: &str = "\
model | level | if | by | cost | complete
register | linearizable | values written once | zones (Gibbons, Korach 1997) | n log n | yes
cas-register | linearizable | new values once, no failed cas | zones over chains of cas | n log n | yes
kv | linearizable | values once, no append, no failed cas | the same | n log n | yes
queue | linearizable | taken values added once | pairs of values (cf. arXiv 2509.17795) | n log n | yes
multiset | linearizable | taken values added once | times of presence (cf. 2509.17795) | n log n | yes
stack | linearizable | taken values added once | from the bottom up (cf. 2509.17795) | n depth | yes
priority-queue | linearizable | taken values added once | from the smallest (cf. 2410.04581) | n log n | yes
set | linearizable | no read of all members | each value alone | n | yes
set | linearizable | only adds and reads of all | by growth | n log n | yes
counter | linearizable | all add the same amount | matching of slots | n log n | yes
any | linearizable | - | Wing-Gong-Lowe search with windows | NP-complete | or unknown
any | sequential | - | search over positions; k sessions: n^k | NP-complete | or unknown
register, kv | causal, causal-convergence | values once | bad patterns (arXiv 1611.00580) | n k | yes
register, kv | causal-memory, pram | values once | the same, a fixpoint a session | polynomial | yes
register, kv | session guarantees | values once | each session an order of writes (Terry et al. 1994) | n log n | yes
register, kv | convergence | - | comparison of the last reads | n | yes
register, kv | the others of sessions | values repeat | choice of the write of each read | NP-complete | or not refuted
queue, set, counter, ... | causal levels | - | none known | unknown | unsupported
register | staleness in seconds | values once | zones, shifted | n log n log t | yes
register | staleness in versions | order by `version` | counting | n log n | yes
register | staleness in versions | no order given | bounds from both sides | n log n | [least, most]";

/// Prints the table.
pub(super) fn print() {
    let rows: Vec<Vec<&str>> = TABLE.lines().map(|line| line.split(" | ").collect()).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.len()).max();
    for row in &rows {
        let cells =
            row.iter().enumerate().map(|(column, cell)| format!("{cell:0$}", width(column).unwrap_or(0)));
        say(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    say("");
    say(
        "n operations, k sessions. The algorithm is chosen by looking at the history; the verdict names it. NP-complete",
    );
    say(
        "ones end in `unknown` when --time or --memory is spent. Only linearizability is decided key by key.",
    );
}
