//! Pages of which not everything passes.

use super::*;

/// Claim: a page of which nothing passes the filter still says where the next one begins, so that what passes is found however few items are
/// looked at in one go, in either direction, and also where it is only counted.
#[test]
fn a_page_of_which_nothing_passes_goes_on() {
    let mut run = Run::new(13);
    run.command(What::Create(Box::new(definition("t"))), EPOCH).unwrap();
    for q in 0..20 {
        let (key, what) = (("p".into(), q), Doing::Set(q));
        let ops = vec![Asked { table: "t".into(), key, condition: Held::Always, what }.op()];
        run.command(What::Execute(Execute { atomic: false, token: None, ops }), EPOCH).unwrap();
    }
    let view = run.replicas[0].kv().view();
    let value = |n: AttributeValue| Operand::Value(n);
    let wanted = Condition::Compare(Comparator::Eq, Operand::Path(Path::attribute("v")), value(n(17)));
    for (limit, backward, count) in [(1, false, false), (3, true, false), (7, false, true), (50, true, true)]
    {
        let (mut found, mut scanned, mut start) = (0, 0, None);
        loop {
            let first = all_of("t", None, KeysAsked::All(None));
            let filter = Some(wanted.clone());
            let asked = Page { filter, limit: Some(limit), backward, count, start: start.take(), ..first };
            let paged = page(&view, asked).unwrap();
            assert_eq!(paged.items.len(), if count { 0 } else { paged.count });
            (found, scanned) = (found + paged.count, scanned + paged.scanned);
            match paged.last {
                Some(last) => start = Some(last),
                None => break,
            }
        }
        assert_eq!((found, scanned), (1, 20), "{limit} at a time, backward: {backward}");
    }
}
