//! How fast the simulator is: cluster seconds and events a second of one core.
//!
//! What is measured: a steady load of puts and reads by eight clients on three nodes, under the faults that each seed draws, with every
//! invariant checked after every event, every answer judged, and the final judgement. Printed is the median over the seeds; time is
//! processor time of the thread, where the system tells it.
//!
//!     cargo run --release -p quorate-sim --example speed -- [SEEDS] [SECONDS] [RATE] [NODES]

use quorate_base::time::Duration;
use quorate_sim::{Load, Plan};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let number = |at: usize, or: u64| numbers.get(at).copied().unwrap_or(or);
    let (seeds, span, rate, nodes) = (number(0, 20), number(1, 300), number(2, 100), number(3, 3));
    let mut ratios = Vec::new();
    let mut rates = Vec::new();
    let (mut answered, mut events) = (0, 0);
    for seed in 0..seeds.max(1) {
        let load = Some(Load { rate, bytes: 256, nodes });
        let plan =
            Plan { load, clients: 8, span: Duration::from_secs(span), members: false, ..Plan::of(seed) };
        let began = worked();
        let outcome = plan.run();
        let took = worked().saturating_sub(began).as_secs_f64().max(1e-9);
        if let Some(violation) = &outcome.violation {
            println!("seed {seed}: {violation}");
        }
        ratios.push(outcome.simulated.as_secs_f64() / took);
        rates.push(outcome.events as f64 / took);
        (answered, events) = (answered + outcome.answered, events + outcome.events);
    }
    let median = |of: &mut Vec<f64>| {
        of.sort_by(f64::total_cmp);
        of[of.len() / 2]
    };
    println!(
        "{nodes} nodes, {rate} operations/s of 256 B, {seeds} seeds of {span} s: {:.0} cluster seconds and {:.0} events a core \
         second (medians); {events} events, {answered} operations answered",
        median(&mut ratios),
        median(&mut rates)
    );
}

/// The processor time that this thread has had; zero where the system does not tell.
#[allow(clippy::disallowed_methods, reason = "it measures the simulator, and is no part of it")]
fn worked() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(
        text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default(),
    )
}
