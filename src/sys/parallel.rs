//! Work on many things side by side.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// What `work` makes of each number below `count`, in their order. There are as many threads as processors, but no more
/// than `at_most`; each has a state of its own, which `state` makes.
pub fn map<S, R: Send>(
    count: usize,
    at_most: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> R + Sync,
) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(at_most).min(count);
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(count)));
    let worker = || {
        let mut state = state();
        while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < count) {
            let one = work(&mut state, number);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((number, one));
        }
    };
    thread::scope(|scope| {
        (1..threads).for_each(|_| drop(scope.spawn(worker)));
        worker();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, one)| one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_stand_in_the_order_of_the_numbers() {
        let slow_first = |seen: &mut usize, number: usize| {
            *seen += 1;
            thread::sleep(std::time::Duration::from_millis(5 * (3 - number as u64 % 4)));
            number * number
        };
        assert_eq!(map(9, usize::MAX, || 0, slow_first), [0, 1, 4, 9, 16, 25, 36, 49, 64]);
        assert_eq!(map(0, usize::MAX, || 0, slow_first), [0; 0]);
        assert_eq!(map(1, 0, || 0, slow_first), [0]);
    }
}
