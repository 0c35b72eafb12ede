mod written;

use super::*;

/// Taken by Debian's etcdctl 3.4 from an etcd with some keys, a lease, deletions and a compaction at 8.
const SNAPSHOT: &[u8] = include_bytes!("../../tests/etcd-3.4.snap");

fn store() -> Bytes {
    Bytes::from_static(&SNAPSHOT[..SNAPSHOT.len() - 32])
}

type Beside = Vec<(Bytes, Bytes)>;

/// All of a store, with its versions and what stands beside them.
fn read_all(file: &Bytes) -> Read<(Kept, Vec<ForeignVersion>, Beside)> {
    let (mut versions, mut beside) = (Vec::new(), Vec::new());
    let kept = read(&Source::Bytes(file.clone()), &mut |part| {
        match part {
            ForeignPart::Version(version) => versions.push(version),
            ForeignPart::Beside(key, value) => beside.push((key, value)),
        }
        Ok(())
    })?;
    assert_eq!(kept.versions, versions.len() as u64);
    Ok((kept, versions, beside))
}

#[test]
fn what_etcd_kept_is_read() {
    let (Kept { foreign, header, .. }, versions, _) = read_all(&store()).unwrap();
    assert_eq!(header, None);
    assert_eq!((foreign.revision, foreign.compacted, foreign.leases.len()), (14, 8, 1));
    assert_eq!(foreign.leases[0].1, 600);
    let told: Vec<String> = versions
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
        match read_all(&bytes.into()) {
            Ok(_) => read_well += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(read_well > 100 && refused > 100, "{read_well} read, {refused} refused");
}

/// Claim: read from a file piece by piece it is what it is in memory, values that are longer than what is held of a page among it; a page
/// that is in two places, and one that is cut off, are errors.
#[test]
fn a_file_is_read_as_its_bytes_are() {
    let pairs: Vec<(Vec<u8>, Vec<u8>)> = (2..400_i64)
        .map(|n| {
            let (mut key, long) = (n.to_be_bytes().to_vec(), if n % 50 == 0 { 70_000 } else { 90 });
            key.extend(b"_\0\0\0\0\0\0\0\0");
            let (name, value) = (format!("k{n}").into(), vec![n as u8; long].into());
            let pair = Pair { key: name, create_revision: n, mod_revision: n, version: 1, value, lease: 0 };
            (key, pair.encode_to_vec())
        })
        .collect();
    let file = written::file_of("key", &pairs).1;
    let path = std::env::temp_dir().join(format!("quorate-pages-{}", std::process::id()));
    std::fs::write(&path, &file).unwrap();
    let mut versions = Vec::new();
    let source = Source::File(File::open(&path).unwrap(), file.len() as u64);
    let kept = read(&source, &mut |part| {
        versions.push(part);
        Ok(())
    });
    std::fs::remove_file(&path).unwrap();
    assert_eq!((kept.unwrap().foreign.revision, versions.len()), (399, 398));
    let expected = read_all(&file).unwrap().1.into_iter().map(ForeignPart::Version);
    assert!(versions.into_iter().eq(expected));
    let cut = file.len() - 70_000;
    let error = read_all(&file.slice(..cut)).unwrap_err();
    assert!(error.what.contains("beyond the end"), "{error:?}");
    // The last child of the branch, which is the last page but the root bucket's, becomes the first once more.
    let (mut twice, branch) = (file.to_vec(), file.len() - 2 * 4096);
    assert_eq!(twice[branch + 8], BRANCH as u8);
    let last = branch + PAGE_HEADER + (usize::from(twice[branch + 10]) - 1) * ELEMENT + 8;
    twice.copy_within(branch + PAGE_HEADER + 8..branch + PAGE_HEADER + 16, last);
    let error = read_all(&twice.into()).unwrap_err();
    assert!(error.what.contains("two places"), "{error:?}");
}

fn rng_byte(at: usize) -> u8 {
    (at as u8).wrapping_mul(37)
}
