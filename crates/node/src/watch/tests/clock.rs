//! Progress by the clock.

use super::*;

/// Claim: events say what a promise would, so that who was told some is promised nothing for a period, whether they came before it was due or
/// when it was; and then it is.
#[test]
fn who_was_told_events_is_promised_nothing_for_a_period() {
    for when_due in [false, true] {
        let hub = hub(1 << 20, &Past { revision: 1, ..Past::default() });
        let mut s = Hub::open_stream(&hub, Box::new(|| {}));
        s.request(WatchRequest::Create(WatchCreate {
            range: range("a", ""),
            progress_notify: true,
            ..WatchCreate::default()
        }));
        assert!(s.poll().is_some_and(|m| m.created) && s.poll().is_none());
        let tick = |periods: f64| lock(&hub).tick(Instant::ZERO + AT_LAST.mul_f64(periods));
        tick(if when_due { 1.0 } else { 0.5 });
        let event = event("a", 2, false);
        lock(&hub).publish(Arc::new(Past { revision: 2, ..Past::default() }), vec![event]);
        let all = |s: &mut Box<dyn WatchStream>| -> Vec<_> {
            std::iter::from_fn(|| s.poll()).map(|m| (m.events.len(), m.revision)).collect()
        };
        assert_eq!(all(&mut s), [(1, 2)]);
        tick(1.0);
        assert_eq!(all(&mut s), []);
        tick(2.0);
        assert_eq!(all(&mut s), [(0, 2)]);
    }
}
