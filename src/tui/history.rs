//! The last so many values of a figure, for sparklines and charts.

use std::collections::VecDeque;

/// Values kept: ten minutes at one a second, and more than any terminal is wide.
const KEPT: usize = 600;

/// The last values, the oldest first.
#[derive(Clone, Debug)]
pub struct History<T>(VecDeque<T>);

impl<T> Default for History<T> {
    fn default() -> Self {
        History(VecDeque::new())
    }
}

impl<T> History<T> {
    /// Adds the newest; the oldest goes where there are too many.
    pub fn push(&mut self, value: T) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// The newest `count`, the oldest first.
    pub fn last(&self, count: usize) -> impl Iterator<Item = &T> {
        self.0.iter().skip(self.0.len().saturating_sub(count))
    }

    /// The newest.
    pub fn newest(&self) -> Option<&T> {
        self.0.back()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go() {
        let mut history = History::default();
        (0..KEPT + 5).for_each(|value| history.push(value));
        assert_eq!(history.len(), KEPT);
        assert_eq!(history.newest(), Some(&(KEPT + 4)));
        assert_eq!(history.last(2).copied().collect::<Vec<_>>(), [KEPT + 3, KEPT + 4]);
    }
}
