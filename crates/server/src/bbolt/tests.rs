mod written;

use super::*;

/// Taken by Debian's etcdctl 3.4 from an etcd with some keys, a lease, deletions and a compaction at 8.
const SNAPSHOT: &[u8] = include_bytes!("../../tests/etcd-3.4.snap");

fn store() -> Bytes {
    Bytes::from_static(&SNAPSHOT[..SNAPSHOT.len() - 32])
}

#[test]
fn what_etcd_kept_is_read() {
    let Kept { foreign, header, .. } = read(&store()).unwrap();
    assert_eq!(header, None);
    assert_eq!((foreign.revision, foreign.compacted, foreign.leases.len()), (14, 8, 1));
    assert_eq!(foreign.leases[0].1, 600);
    let told: Vec<String> = foreign
        .versions
        .iter()
        .map(|v| {
            let key = String::from_utf8_lossy(&v.key);
            let value = v.pair.as_ref().map_or("-".into(), |pair| String::from_utf8_lossy(&pair.value));
            format!("{}.{} {key}={value}", v.revision, v.sub)
        })
        .collect();
    let newer = ["9.0 leased=x", "10.0 k3=new", "11.0 k4=newer", "12.0 k5=-", "13.0 t1=a", "13.1 t2=b"];
    assert!(newer.iter().all(|version| told.contains(&(*version).to_string())), "{told:?}");
    assert!(
        told.contains(&"7.0 k1=again".to_string()) && !told.contains(&"2.0 k1=v1".to_string()),
        "{told:?}"
    );
}

/// Seed 9: whatever is harmed, it is read or refused, and ends.
#[test]
fn no_bytes_are_a_panic() {
    let mut rng = quorate_base::Rng::new(9);
    let good = store();
    let (mut read_well, mut refused) = (0, 0);
    for _ in 0..3_000 {
        let mut bytes = good.to_vec();
        for _ in 0..rng.between(1, 3) {
            let at = rng.below(bytes.len() as u64) as usize;
            let end = (at + rng.between(1, 8) as usize).min(bytes.len());
            let byte = *rng.pick(&[0, 0xff, rng_byte(at)]);
            bytes[at..end].fill(byte);
        }
        if rng.chance(1, 10) {
            bytes.truncate(rng.below(bytes.len() as u64) as usize);
        }
        match read(&bytes.into()) {
            Ok(_) => read_well += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(read_well > 100 && refused > 100, "{read_well} read, {refused} refused");
}

fn rng_byte(at: usize) -> u8 {
    (at as u8).wrapping_mul(37)
}
