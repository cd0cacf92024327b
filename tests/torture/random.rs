//! Numbers that a seed determines: SplitMix64, which is enough to choose a sample.

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX);
        usize::try_from(self.next() % end).unwrap_or(0)
    }

    /// These in another order.
    pub fn shuffle<T>(&mut self, these: &mut [T]) {
        for end in (2..=these.len()).rev() {
            these.swap(end - 1, self.below(end));
        }
    }

    /// So many of these, in their order.
    pub fn sample<T>(&mut self, mut from: Vec<T>, count: usize) -> Vec<T> {
        while from.len() > count {
            from.remove(self.below(from.len()));
        }
        from
    }
}
