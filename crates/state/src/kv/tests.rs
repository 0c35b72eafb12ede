use crate::testing;
use quorate_base::NodeId;
use quorate_faulty::FaultyDisk;
use quorate_storage::journal::Identity;
use quorate_storage::memory::MemoryStore;
use quorate_storage::state::StateStore;
use std::sync::Arc;

fn stores(seed: u64) -> Vec<Box<dyn StateStore>> {
    (1..=3)
        .map(|node| {
            let identity = Identity { cluster: 1, node: NodeId(node) };
            let disk = Arc::new(FaultyDisk::new(seed + node));
            Box::new(MemoryStore::new(disk, "state", identity)) as Box<dyn StateStore>
        })
        .collect()
}

#[test]
fn the_machine_is_the_model_over_the_memory_form() {
    let mut done = testing::Done::default();
    for seed in 0..60 {
        done.add(testing::check(&mut stores(seed), seed, 2_000));
    }
    assert!(done.least() > 50, "{done:?}");
}
