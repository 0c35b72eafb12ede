//! Small numbers for the values of a part, to be places in vectors.

use crate::table::Table;
use crate::value::Value;

/// From values to numbers below [`room`](Self::room).
pub(crate) enum Numbers {
    /// The values lie close to each other, as those of a history's only part do: they are counted from the first.
    Dense { from: usize, room: usize },
    /// They are strewn among the values of other parts.
    Strewn { numbers: Table<Value, u32>, room: usize },
}

impl Numbers {
    /// For these values.
    pub(crate) fn new(values: impl Iterator<Item = Value> + Clone) -> Self {
        let (mut from, mut to, mut count) = (usize::MAX, 0, 0);
        for value in values.clone() {
            (from, to, count) = (from.min(value.index()), to.max(value.index()), count + 1);
        }
        if count == 0 {
            return Self::Dense { from: 0, room: 0 };
        }
        if to - from < 4 * count + 64 {
            return Self::Dense { from, room: to - from + 1 };
        }
        let mut numbers = Table::default();
        let mut room = 0;
        for value in values {
            let number = *numbers.or_insert_with(value, || room as u32) as usize;
            room += usize::from(number == room);
        }
        Self::Strewn { numbers, room }
    }

    /// The number of one of them.
    pub(crate) fn of(&self, value: Value) -> usize {
        match self {
            Self::Dense { from, .. } => value.index() - *from,
            Self::Strewn { numbers, .. } => numbers.get(&value).map_or(0, |&number| number as usize),
        }
    }

    /// All numbers are below.
    pub(crate) fn room(&self) -> usize {
        match self {
            Self::Dense { room, .. } | Self::Strewn { room, .. } => *room,
        }
    }
}
