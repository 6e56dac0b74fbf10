//! How far the windows of a connection, and of all connections of a process, may grow beyond the size to which they
//! are born.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Bytes to lend, within those of a larger budget if there is one. Shared.
#[derive(Debug)]
pub struct Budget {
    left: AtomicUsize,
    within: Option<Arc<Budget>>,
}

impl Budget {
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { left: bytes.into(), within: None })
    }

    /// A part of this budget, of at most `bytes`.
    pub fn part(self: &Arc<Self>, bytes: usize) -> Arc<Self> {
        Arc::new(Self { left: bytes.into(), within: Some(self.clone()) })
    }

    /// What may still be lent.
    pub fn left(&self) -> usize {
        let left = self.left.load(Relaxed);
        self.within.as_ref().map_or(left, |within| left.min(within.left()))
    }

    fn take(&self, bytes: usize) -> bool {
        // Nothing else is read or written on the strength of this number.
        if self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes)).is_err() {
            return false;
        }
        let taken = self.within.as_ref().is_none_or(|within| within.take(bytes));
        if !taken {
            self.left.fetch_add(bytes, Relaxed);
        }
        taken
    }

    fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Relaxed);
        if let Some(within) = &self.within {
            within.give_back(bytes);
        }
    }
}

/// What somebody holds of a budget; given back when dropped.
#[derive(Debug)]
pub struct Lease {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Lease {
    pub fn nothing_of(budget: Arc<Budget>) -> Self {
        Self { budget, bytes: 0 }
    }

    /// What is held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the budget still has.
    pub fn left(&self) -> usize {
        self.budget.left()
    }

    /// Takes all of `bytes` or nothing of it, and says which.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let granted = self.budget.take(bytes);
        if granted {
            self.bytes += bytes;
        }
        granted
    }

    /// Gives `bytes` back, or all that is held if that is less.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.give_back(bytes);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lent_comes_out_of_both_budgets_and_goes_back_to_both() {
        let process = Budget::new(100);
        let (one, other) = (process.part(80), process.part(80));
        let mut lease = Lease::nothing_of(one.clone());
        assert!(lease.grow(80) && !lease.grow(1));
        let mut second = Lease::nothing_of(other.clone());
        assert!(!second.grow(21), "there are 20 left in all");
        assert_eq!(other.left(), 20);
        assert!(second.grow(20));
        lease.shrink(30);
        assert_eq!((one.left(), process.left()), (30, 30));
        drop((lease, second));
        assert_eq!((one.left(), other.left(), process.left()), (80, 80, 100));
    }
}
