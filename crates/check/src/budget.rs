//! How long a judge may run and how much it may keep. It asks before it is too late, and ends in "unknown".

/// What stops a judge: a clock that is asked from outside, and a meter of bytes that it keeps itself.
pub struct Budget<'a> {
    stop: &'a dyn Fn() -> bool,
    bytes: u64,
    most_bytes: u64,
    steps: u32,
    spent: Option<Spent>,
}

/// Which budget was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// The caller's `stop` said so: its time is over, or its user left.
    Time,
    /// The next piece of memory would have been too much.
    Memory,
}

/// `stop` is asked once in so many steps: a step is below a microsecond, a look at a clock is not free.
const STEPS_A_LOOK: u32 = 1024;

impl<'a> Budget<'a> {
    /// A budget of `most_bytes` bytes that ends when `stop` says so.
    pub fn new(stop: &'a dyn Fn() -> bool, most_bytes: u64) -> Self {
        Self { stop, bytes: 0, most_bytes, steps: 0, spent: None }
    }

    /// A budget for a piece of the work that keeps nothing: the same clock, and the memory that is left.
    pub fn part(&self) -> Self {
        Self::new(self.stop, self.left())
    }

    /// What says that it is time to stop, for a budget that ends sooner.
    pub(crate) fn clock(&self) -> &'a dyn Fn() -> bool {
        self.stop
    }

    /// The bytes that may still be taken.
    pub fn left(&self) -> u64 {
        self.most_bytes.saturating_sub(self.bytes)
    }

    /// Counts one small step. Once an error, always the same error.
    pub fn step(&mut self) -> Result<(), Spent> {
        self.steps += 1;
        if self.steps >= STEPS_A_LOOK {
            self.steps = 0;
            if (self.stop)() {
                self.spent.get_or_insert(Spent::Time);
            }
        }
        self.spent.map_or(Ok(()), Err)
    }

    /// Asks at once: for steps that are large.
    pub fn look(&mut self) -> Result<(), Spent> {
        self.steps = STEPS_A_LOOK;
        self.step()
    }

    /// Says before it is taken that so much memory will be.
    pub fn take(&mut self, bytes: u64) -> Result<(), Spent> {
        if self.bytes.saturating_add(bytes) > self.most_bytes {
            self.spent.get_or_insert(Spent::Memory);
        } else {
            self.bytes += bytes;
        }
        self.spent.map_or(Ok(()), Err)
    }

    /// Says that so much was given back.
    pub fn give(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// The bytes that are taken now.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Claim: what was spent stays spent: a clock that says no more that it is time, and memory that is given back, change nothing.
    #[test]
    fn once_an_error_always_the_same() {
        let late = Cell::new(true);
        let stop = || late.get();
        let mut budget = Budget::new(&stop, 100);
        assert_eq!(budget.look(), Err(Spent::Time));
        late.set(false);
        assert_eq!([budget.look(), budget.step(), budget.take(1), budget.take(1_000)], [Err(Spent::Time); 4]);

        let mut budget = Budget::new(&stop, 100);
        assert_eq!((budget.take(60), budget.left()), (Ok(()), 40));
        assert_eq!(budget.take(41), Err(Spent::Memory));
        budget.give(60);
        assert_eq!([budget.take(1), budget.step(), budget.look()], [Err(Spent::Memory); 3]);
        late.set(true);
        assert_eq!(budget.look(), Err(Spent::Memory));
    }
}
