//! What the hub keeps in order, so that it need not go through all watches, against a walk through all of them.

use super::*;

impl Hub {
    /// Fails where the two differ.
    pub(super) fn check(&self) {
        let mut timetable = BTreeSet::new();
        for (&number, stream) in &self.streams {
            stream.check(self.view.revision(), self.ring_from);
            for (&id, watch) in &stream.watches {
                let Some(progress) = &watch.progress else { continue };
                assert!(progress.looked <= progress.due, "it would be told too late");
                timetable.insert((progress.looked, (number, id)));
            }
        }
        assert_eq!(self.timetable.at, timetable);
        assert_eq!(self.caught_bytes, self.caught.values().map(|(_, bytes)| bytes).sum::<usize>());
        let catching = |stream| self.streams.get(stream).and_then(|stream| stream.catching.as_ref());
        for (number, stream) in &self.wanted {
            assert!(catching(stream).is_some_and(|c| c.number == *number && c.batch.is_none()));
        }
        for (number, (stream, _)) in &self.caught {
            assert!(catching(stream).is_some_and(|c| c.number == *number && c.batch.is_some()));
        }
    }
}

impl Stream {
    fn check(&self, revision: Revision, ring_from: Revision) {
        let mut begins = 0;
        for (&id, watch) in &self.watches {
            let catches_up = self.catching.as_ref().is_some_and(|catching| catching.id == id);
            let read = self.catching.as_ref().is_some_and(|catching| catching.batch.is_some());
            match (self.ready.contains(&id), self.behind.contains(&id), catches_up) {
                (false, false, false) => assert!(watch.next <= revision + 1 || watch.start > revision),
                (true, false, false) => assert!(watch.next <= revision),
                (false, true, false) => assert!(watch.next < ring_from),
                (ready, false, true) => assert!(ready == read && watch.next < ring_from),
                mixed => panic!("ready, behind and catching up: {mixed:?}"),
            }
            if watch.start > revision {
                begins += 1;
                assert!(self.beginning.contains(&(watch.start, id)));
            }
            assert!(watch.progress.is_some() || !self.due.contains(&id));
        }
        assert_eq!(self.beginning.range((revision + 1, i64::MIN)..).count(), begins);
        let known = |id| self.watches.contains_key(id);
        assert!(self.beginning.iter().all(|(_, id)| known(id)));
        assert!([&self.ready, &self.behind, &self.due].into_iter().flatten().all(known));
        assert!(self.catching.as_ref().is_none_or(|catching| known(&catching.id)));
    }
}
