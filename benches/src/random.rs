//! Numbers that are the same on every machine and in every run.

/// SplitMix64: small, fast, and good enough for data that only has to look real.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// So many random bits, 1 to 64.
    pub(crate) fn bits(&mut self, bits: u32) -> u64 {
        self.next() >> (64 - bits)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // The bias is one in 2^64 / end: nothing that matters here.
        self.next() % end
    }

    /// From 0 to 1, without 1.
    pub(crate) fn unit(&mut self) -> f64 {
        self.bits(53) as f64 / (1u64 << 53) as f64
    }

    /// About normal, with mean 0 and deviation 1: the sum of twelve, which needs no function that differs between platforms.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len() as u64) as usize]
    }
}
