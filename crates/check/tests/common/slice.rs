//! A part of a test that takes long: `ORACLE_SLICE=3/20` is the fourth of twenty parts; without it all is asked for.

/// Which part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice {
    nth: u64,
    of: u64,
}

impl Slice {
    /// One of so many parts, from 0.
    pub(crate) fn new(nth: u64, of: u64) -> Self {
        assert!(nth < of, "{nth}/{of} is no slice: they are counted from 0");
        Self { nth, of }
    }

    /// The part that the environment asks for.
    pub(crate) fn asked() -> Self {
        let Ok(text) = std::env::var("ORACLE_SLICE") else { return Self::new(0, 1) };
        let numbers = text.split_once('/').and_then(|(nth, of)| Some((nth.parse().ok()?, of.parse().ok()?)));
        let (nth, of) = numbers.unwrap_or_else(|| panic!("ORACLE_SLICE={text} is not like 3/20"));
        Self::new(nth, of)
    }

    /// True for every so-manieth of the numbers from 0.
    pub(crate) fn takes(self, number: u64) -> bool {
        number % self.of == self.nth
    }

    /// Its part of so many.
    pub(crate) fn range(self, count: u64) -> std::ops::Range<u64> {
        count * self.nth / self.of..count * (self.nth + 1) / self.of
    }

    /// Its part of so many, and what its chance comes from: each part has its own.
    #[allow(dead_code, reason = "each test binary uses its part")]
    pub(crate) fn of_random(self, seed: u64, count: u32) -> (u64, u32) {
        let range = self.range(count.into());
        (seed + (self.nth << 32), (range.end - range.start) as u32)
    }
}
