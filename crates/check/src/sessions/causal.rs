//! Causal consistency in its three forms, and pipelined RAM, by bad patterns.
//!
//! After Bouajjani, Enea, Guerraoui, Hamza (arXiv 1611.00580): with values written once, a history is
//!
//! - *causal* (CC) unless causality (session order and who read whose write, closed) has a cycle, a read returned the initial
//!   value though a write of its cell is in its past, or returned a write that another one in its past overwrote;
//! - *causally convergent* (`CCv`) unless it is not causal, or causality together with the conflict order (of two writes of a
//!   cell, the one in the past of a reader of the other comes first) has a cycle;
//! - *causal memory* (CM) unless it is not causal, or for some session the order that its reads force breaks: if a write is
//!   before a read of the session that returned another write of the cell, it is before that other write; until nothing is
//!   added. That is asked of each session's last operation alone, since the order grows along the session.
//!
//! *PRAM* is asked like causal memory, session by session, with session order and the session's own reads in the place of
//! causality. The saturation is complete for the same reason: all constrained reads stand in one session, so a write that is
//! not forced before a read may be put behind all that is.
//!
//! Cost: with n accesses and k sessions, n·k for CC and `CCv`; for CM and PRAM as much for each session and round of its
//! fixpoint. Of all writes of a session to a cell that are in a past, the last one is asked: the others are before it.

use super::cells::{Bad, Cells, What};
use super::order::{Clocks, Edges, Writes};
use crate::budget::{Budget, Spent};

type Answer = Result<Option<Bad>, Spent>;

/// Who read whose write.
fn reads_from(cells: &Cells, session: Option<u32>) -> Edges {
    let reads =
        cells.accesses.iter().enumerate().filter(|(_, access)| session.is_none_or(|it| it == access.session));
    reads
        .filter_map(|(place, access)| match access.what {
            What::Read(Some(write)) => Some((write, place as u32)),
            _ => None,
        })
        .collect()
}

#[allow(clippy::unnecessary_wraps, reason = "it is an answer like the others")]
fn bad(kind: &'static str, chain: Vec<u32>) -> Answer {
    Ok(Some(Bad { kind, chain }))
}

/// Weak causal consistency.
pub fn weak(cells: &Cells, budget: &mut Budget<'_>) -> Answer {
    let clocks = match Clocks::new(cells, &reads_from(cells, None), budget)? {
        Ok(clocks) => clocks,
        Err(cycle) => return bad("cyclic causality", cycle),
    };
    weak_under(cells, &clocks, &Writes::new(cells), budget)
}

fn weak_under(cells: &Cells, clocks: &Clocks<'_>, writes: &Writes, budget: &mut Budget<'_>) -> Answer {
    for (place, access) in cells.accesses.iter().enumerate() {
        let What::Read(from) = access.what else { continue };
        for other in writes.latest_before(cells, clocks, place as u32) {
            budget.step()?;
            match from {
                None => return bad("read of the initial value behind a write", vec![other, place as u32]),
                Some(from) if other != from && clocks.before(from, other) => {
                    return bad("read of an overwritten value", vec![from, other, place as u32]);
                }
                Some(_) => {}
            }
        }
    }
    Ok(None)
}

/// Causal convergence.
pub fn convergence(cells: &Cells, budget: &mut Budget<'_>) -> Answer {
    let mut edges = reads_from(cells, None);
    let clocks = match Clocks::new(cells, &edges, budget)? {
        Ok(clocks) => clocks,
        Err(cycle) => return bad("cyclic causality", cycle),
    };
    let writes = Writes::new(cells);
    if let Some(found) = weak_under(cells, &clocks, &writes, budget)? {
        return Ok(Some(found));
    }
    for (place, access) in cells.accesses.iter().enumerate() {
        let What::Read(Some(from)) = access.what else { continue };
        for other in writes.latest_before(cells, &clocks, place as u32) {
            budget.step()?;
            if other != from && !clocks.before(other, from) {
                edges.push((other, from));
            }
        }
    }
    match Clocks::new(cells, &edges, budget)? {
        Ok(_) => Ok(None),
        Err(cycle) => bad("cyclic order of conflicting writes", cycle),
    }
}

/// Causal memory.
pub fn memory(cells: &Cells, budget: &mut Budget<'_>) -> Answer {
    if let Some(found) = weak(cells, budget)? {
        return Ok(Some(found));
    }
    saturate_all(cells, |_| reads_from(cells, None), budget)
}

/// Pipelined RAM.
pub fn pram(cells: &Cells, budget: &mut Budget<'_>) -> Answer {
    saturate_all(cells, |session| reads_from(cells, Some(session)), budget)
}

/// Convergence and memory: what is not both is not sequential.
pub fn convergence_or_memory(cells: &Cells, budget: &mut Budget<'_>) -> Answer {
    match convergence(cells, budget)? {
        None => saturate_all(cells, |_| reads_from(cells, None), budget),
        found => Ok(found),
    }
}

fn saturate_all(cells: &Cells, base: impl Fn(u32) -> Edges, budget: &mut Budget<'_>) -> Answer {
    let writes = Writes::new(cells);
    for session in 0..cells.sessions() {
        if let Some(found) = saturate(cells, session, base(session), &writes, budget)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Adds what the reads of one session force, until nothing more is forced.
fn saturate(
    cells: &Cells,
    session: u32,
    mut edges: Edges,
    writes: &Writes,
    budget: &mut Budget<'_>,
) -> Answer {
    loop {
        let clocks = match Clocks::new(cells, &edges, budget)? {
            Ok(clocks) => clocks,
            Err(cycle) => return bad("cyclic order of what a session saw", cycle),
        };
        let before = edges.len();
        for place in cells.session(session) {
            let What::Read(from) = cells.accesses[place as usize].what else { continue };
            for other in writes.latest_before(cells, &clocks, place) {
                budget.step()?;
                match from {
                    None => return bad("read of the initial value behind a write", vec![other, place]),
                    Some(from) if other != from && !clocks.before(other, from) => edges.push((other, from)),
                    Some(_) => {}
                }
            }
        }
        if edges.len() == before {
            return Ok(None);
        }
    }
}
